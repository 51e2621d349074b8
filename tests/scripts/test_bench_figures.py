"""What the benchmarks count and write: CPU time through kills, the README's table."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
SPENT_S = 0.3
BURN = f"""
import time
while time.process_time() < {SPENT_S}: pass
"""
# Spends CPU time, as much again in a child that it waits for, says so, and stays.
WORKER = f"""
import subprocess, sys
sys.stdin.readline()
{BURN}
subprocess.run([sys.executable, "-c", {BURN!r}])
print("done", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def bench_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))


@contextmanager
def worker() -> Iterator["subprocess.Popen[str]"]:
    """A process that has spent twice SPENT_S, half of it in a child, when it says so."""
    with subprocess.Popen(
        [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def spent(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("begin\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"


def test_cpu_time_counts_children_and_is_kept_when_a_process_is_killed_and_replaced() -> None:
    from accounts import Accounts

    with worker() as first:
        pids = {"service": first.pid}
        accounts = Accounts(lambda: pids).start()
        spent(first)
        accounts._sample()
        first.kill()
    with worker() as second:
        pids["service"] = second.pid
        spent(second)
        accounts.stop()
    # Time is counted in hundredths of a second, and a start takes some of its own.
    assert 4 * SPENT_S - 0.1 <= accounts.cpu_s()["service"] <= 4 * SPENT_S + 10
    assert accounts.memory_mib["service"] > 1


def test_what_was_spent_before_does_not_count() -> None:
    from accounts import Accounts

    with worker() as process:
        spent(process)
        accounts = Accounts(lambda: {"service": process.pid}).start()
        accounts.stop()
    assert accounts.cpu_s()["service"] < SPENT_S


RUN = {
    "messages": 600_000, "native": True, "cpu_us_per_message": 48.6, "floor_us": 40.1,
    "messages_per_s": 16_700.4, "cores_used": 0.81, "post_p95_ms": 72.0, "lost": 0, "doubled": 0,
    "window_observations_per_s": 250_123, "load_average": [0.62, 0.5, 0.4],
}  # fmt: skip


def test_the_table_has_the_newest_run_of_each_kind(tmp_path: Path) -> None:
    import table

    older = {**RUN, "cpu_us_per_message": 202.0}
    runs = [older, {**RUN, "native": False}, {**RUN, "long": True, "kills": {"valkey": 9}}, RUN]
    path = tmp_path / "ingest.jsonl"
    path.write_text("".join(json.dumps(run) + "\n" for run in runs))
    rows = table.table(table.newest(path)).splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == [
        "native",
        "pure Python",
        "native, 9 times kill -9",
    ]
    cells = "600,000 | 49 | 40 µs | 16,700 | 0.81 | 72 ms | 250,123 | – | – | 0, 0 | 0.6"
    assert f"| {cells} |" in rows[0]


def test_the_table_shows_the_parts_that_a_run_had() -> None:
    import table

    parts = {"p256_gateway_us": 96.2, "p256_floor_us": 63.5, "singles_gateway_us": 101.4}
    assert "| 250,123 | 96 (64) | 101 | 0, 0 |" in table.row({**RUN, **parts})
    assert "| – | 96 (64) |" in table.row(
        {k: v for k, v in {**RUN, **parts}.items() if k != "window_observations_per_s"}
    )


def test_a_part_of_the_bench_with_no_messages_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import ingest

    monkeypatch.setenv("BENCH_DEVICES", "2000")
    assert set(ingest.loads()) == {"messages", "windows", "p256", "singles"}
    for name in ("WINDOWS", "P256", "SINGLES"):
        monkeypatch.setenv(f"BENCH_{name}", "0")
    assert set(ingest.loads()) == {"messages"}


def test_the_table_is_put_between_its_marks_and_nothing_else_changes() -> None:
    import table

    text = table.README.read_text()
    new = table.replaced(text, "what is new\n")
    before, _, after = new.partition(table.BEGIN + "what is new\n" + table.END)
    assert text.startswith(before)
    assert text.endswith(after)
