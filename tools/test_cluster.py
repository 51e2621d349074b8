"""`make test-cluster`: the tests of a cluster, each in a pytest of its own, and their figures.

python tools/test_cluster.py [--limit MINUTES] [NAME …]     only these (whole_cluster, …)

A test is a row of TABLE; a file of tests/cluster that has none runs after them. What one prints is
in .corechain/test-cluster/NAME.log. A run of all writes bench/results/cluster.json from what the
tests have measured (support.cluster.record); a run of some, .corechain/test-cluster/cluster.json.
The last lines say what failed, what was interrupted, and what was not run and why. Exit code 0 when
all that can run here passed, 1 when something failed, 2 when nothing failed but the limit left some
out, or nothing ran at all, 130 when it was interrupted.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MEASURED = ROOT / ".corechain" / "test-cluster"
RESULT = ROOT / "bench" / "results" / "cluster.json"
LIMIT_MINUTES = 30.0
"""Of the whole run, more than the rows together. A row that would begin later is not run, and is
named at the end."""
NO_TESTS = 5
"""What pytest says when it has found none."""
FAILED, INCOMPLETE, INTERRUPTED = 1, 2, 130
RESULTS = "passed", "failed", "interrupted", "not run"
"""Of a row."""


@dataclass(frozen=True, slots=True)
class Row:
    """A file of tests. `minutes`: what it takes on two cores at load 5, shown before it begins."""

    path: str
    minutes: float = 2.0
    limit_s: float = 900.0
    """Five times as long and more: a loaded machine is slow, and a test that hangs has to end."""

    @property
    def name(self) -> str:
        return Path(self.path).stem


# First what covers most: on a slow machine the limit leaves out the last. So: where readings may be
# lost or counted twice when a part is killed; then what moves pods; then one server in the way of a
# service; last what only looks on. Containers are left out first: a busy machine needs ten minutes
# for their images, and they have `make test-compose` besides, as Prometheus `make test-prometheus`.
TABLE = (
    Row("tests/cluster/whole_cluster.py", 4.0, 1_500),
    Row("tests/cluster/postgres_failover.py", 2.0),
    Row("tests/cluster/three_brokers.py", 1.0),
    Row("tests/indexer/through_added_shards.py", 1.0),
    Row("tests/cluster/influx_pair.py", 2.5),
    Row("tests/cluster/upgrade_and_back.py", 1.5),
    Row("tests/cluster/kubernetes_processes.py", 2.5, 1_500),
    Row("tests/cluster/kubernetes_rollout.py", 1.0),
    Row("tests/cluster/kubernetes_keda.py", 1.5),
    Row("tests/cluster/kubernetes_cpu.py", 1.0),
    Row("tests/cluster/kubernetes_manifests.py", 0.5),
    Row("tests/indexer/through_redis_cluster.py", 0.5),
    Row("tests/indexer/through_pgbouncer.py", 0.5),
    Row("tests/relayer/relayer_through_pgbouncer.py", 0.5),
    Row("tests/cluster/cluster_status.py", 1.5),
    Row("tests/cluster/reading_traces.py", 1.0),
    Row("tests/cluster/prometheus_rules.py", 1.0),
    Row("tests/cluster/compose_network.py", 4.5, 1_800),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a row. `result`: one of RESULTS; `why` for the last lines."""

    name: str
    result: str
    seconds: float = 0.0
    why: str = ""
    out_of_time: bool = False
    """Not by itself: the limit of all was over."""


def rows(named: Sequence[str], root: Path = ROOT, table: Sequence[Row] = TABLE) -> list[Row]:
    """The table, then files of tests/cluster that nobody has put into it. Raises SystemExit."""
    listed = {row.path for row in table}
    files = sorted((root / "tests" / "cluster").glob("*.py"))
    paths = [str(path.relative_to(root)) for path in files if "\ndef test_" in path.read_text()]
    found = [*table, *(Row(path) for path in paths if path not in listed)]
    unknown = set(named) - {row.name for row in found}
    if unknown:
        known = ", ".join(row.name for row in found)
        raise SystemExit(f"no test is called {', '.join(sorted(unknown))}: there are {known}")
    return [row for row in found if not named or row.name in named]


def pytest_words(row: Row) -> list[str]:
    return ["pytest", "--hypothesis-profile=ci", "-q", "-rs", "-s", row.path]


def run(words: Sequence[str], log: Path, limit_s: float) -> int | None:
    """The exit code; None when it had to be killed. Its servers end with it."""
    with (
        log.open("wb") as output,
        subprocess.Popen(
            words, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        ) as process,
    ):
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()  # after Ctrl-C `with` does not


def outcome(name: str, code: int | None, said: str, seconds: float, limit_s: float) -> Outcome:
    """A test that cannot run here skips itself and says why; one that ran beside it counts."""
    skipped = "; ".join(re.findall(r"^SKIPPED \[\d+\] (.+)$", said, re.MULTILINE))
    if code is None:
        return Outcome(name, "failed", seconds, f"no end within {limit_s:.0f} s")
    if code == 0:
        ran = re.search(r"^\d+ passed", said, re.MULTILINE) is not None
        return Outcome(name, "passed" if ran else "not run", seconds, skipped)
    why = "it has no tests" if code == NO_TESTS else f"pytest ended with {code}"
    return Outcome(name, "failed", seconds, why)


def outcomes(
    chosen: Sequence[Row],
    limit_s: float,
    words: Callable[[Row], list[str]] = pytest_words,
    folder: Path = MEASURED,
) -> Iterator[Outcome]:
    """One row after another, until the limit of all."""
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    for number, row in enumerate(chosen, 1):
        left_s, log = limit_s - (time.monotonic() - began), folder / f"{row.name}.log"
        if left_s <= 0:
            why = f"the limit of {limit_s / 60:g} min was over"
            yield Outcome(row.name, "not run", why=why, out_of_time=True)
            continue
        shown = f"· {row.name} ({number} of {len(chosen)}, about {row.minutes:g} min)"
        print(shown, end=" ", flush=True)
        started, allowed_s = time.monotonic(), min(row.limit_s, left_s)
        code = run(words(row), log, allowed_s)
        said, seconds = log.read_text(errors="replace"), round(time.monotonic() - started, 1)
        done = outcome(row.name, code, said, seconds, allowed_s)
        if code is None and allowed_s < row.limit_s:
            # Not its fault: the run of all was over.
            why = f"cut off: {limit_s / 60:g} min were over"
            done = Outcome(row.name, "not run", seconds, why, out_of_time=True)
        print(f"{done.result}, {seconds:.0f} s", flush=True)
        if done.result == "failed":
            print("\n".join(said.splitlines()[-60:]), flush=True)
        yield done


def measured(since: float, folder: Path = MEASURED) -> dict[str, dict[str, Any]]:
    """Figures of each part that was recorded since then (time.time())."""
    documents = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    # Beside them lies what a run of some has written: of no part, and its time is a text.
    fresh = [one for one in documents if "part" in one and one.get("at", 0) >= int(since)]
    return {one.pop("part"): one for one in fresh}


def failovers(parts: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Seconds until another one led: every figure that is called …failover_s."""
    return {
        f"{part} {name.removesuffix('_s')}".replace("_", " "): seconds
        for part, figures in parts.items()
        for name, seconds in figures.items()
        if name.endswith("failover_s")
    }


def table(parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The figures of all; p95 of the run in which everything was killed."""
    kills: Counter[str] = Counter()
    for figures in parts.values():
        kills.update(figures.get("kills", {}))
    whole = parts.get("whole", {})
    every = list(parts.values())
    return {
        "acknowledged": sum(one.get("acknowledged", 0) for one in every),
        "lost": sum(one.get("lost", 0) for one in every),
        "doubled": sum(one.get("doubled", 0) for one in every),
        "kills": dict(sorted(kills.items())),
        "failovers": failovers(parts),
        **{name: whole.get(name) for name in ("p95_before_ms", "p95_during_ms", "p95_after_ms")},
        "hpa_steps": [step for one in every for step in one.get("hpa_steps", ())],
        "parts": parts,
    }


def commit() -> str:
    """Of the checkout, with a `+` where files were changed; empty where it is none."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=10", "--dirty=+"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def document(found: Sequence[Outcome], began: float, parts: dict[str, Any]) -> dict[str, Any]:
    head = {
        "commit": commit(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
        "seconds": round(time.time() - began),
        "cores": os.cpu_count(),
        "load_average": [round(one, 1) for one in os.getloadavg()],
    }
    tests = {one.name: {"result": one.result, "seconds": one.seconds} for one in found}
    left_out = {one.name: one.why for one in found if not failed(one) and one.why}
    return {**head, "tests": tests, "not_run": left_out, **table(parts)}


def last_words(found: Sequence[Outcome], named: Sequence[str]) -> list[str]:
    """What was not run and why, what was interrupted, what failed, and how many of each."""
    lines = [f"! NOT run: {one.name}: {one.why}" for one in found if one.why and _went_well(one)]
    if named:
        lines.append(f"! NOT run: all but {', '.join(named)}, as was asked")
    lines += [f"INTERRUPTED: {one.name}: {one.why}" for one in found if one.result == "interrupted"]
    lines += [f"FAILED: {one.name}: {one.why}" for one in found if failed(one)]
    counts = Counter(one.result for one in found)
    if not lines and counts["passed"] == len(found):
        lines.append("every test of a cluster was run")
    said = [f"{counts[result]} {result}" for result in RESULTS if counts[result]]
    return [*lines, f"of {len(found)}: {', '.join(said)}"]


def _went_well(one: Outcome) -> bool:
    """What passed has a reason where a part of it was not run."""
    return one.result in ("passed", "not run")


def failed(one: Outcome) -> bool:
    return one.result == "failed"


def with_the_rest(found: Sequence[Outcome], chosen: Sequence[Row], seconds: float) -> list[Outcome]:
    """After an interruption: the row that it met, which ran for `seconds`, and those behind it."""
    rest = [row.name for row in chosen[len(found) :]]
    if not rest:
        return list(found)
    met = Outcome(rest[0], "interrupted", round(seconds, 1), "ended from outside before its end")
    behind = [Outcome(name, "not run", why="the run was interrupted before") for name in rest[1:]]
    return [*found, met, *behind]


def exit_code(found: Sequence[Outcome]) -> int:
    """See the top. What cannot run on this machine is said, and is no fault."""
    if any(one.result == "interrupted" for one in found):
        return INTERRUPTED
    if any(map(failed, found)):
        return FAILED
    nothing_ran = not any(one.result == "passed" for one in found)
    return INCOMPLETE if nothing_ran or any(one.out_of_time for one in found) else 0


def finish(found: Sequence[Outcome], named: list[str], began: float) -> None:
    """Writes the figures, and prints them with the last words."""
    written = document(found, began, measured(began))
    target = MEASURED / "cluster.json" if named else RESULT
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(written, indent=2) + "\n")
    for name, part in written["parts"].items():
        print(name, json.dumps(part))
    print(f"figures: {target.relative_to(ROOT)}, {written['seconds']} s")
    print("\n".join(last_words(found, named)), flush=True)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=float, default=LIMIT_MINUTES, metavar="MINUTES")
    parser.add_argument("names", nargs="*", metavar="NAME")
    chosen_by = parser.parse_args(arguments)
    chosen, found = rows(chosen_by.names), []
    began = last = time.time()
    # Also SIGINT, which a shell without job control has its background ignore.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        for one in outcomes(chosen, chosen_by.limit * 60):
            found.append(one)
            last = time.time()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        found = with_the_rest(found, chosen, time.time() - last)
    finish(found, chosen_by.names, began)
    return exit_code(found)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
