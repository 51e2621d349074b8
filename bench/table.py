"""Writes the README's table of what ingest costs, from bench/results/.

python bench/table.py [--check]
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- make bench-table -->\n", "<!-- end of the table -->\n"
COLUMNS = (
    "run",
    "messages",
    "CPU µs a message",
    "libsecp256k1 alone",
    "messages/s",
    "cores",
    "POST p95",
    "20 a signature: observations/s",
    "P-256: CPU µs in the gateway (OpenSSL alone)",
    "single reports: CPU µs in the gateway",
    "lost, doubled",
    "load of the machine",
)
HEAD = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n"
Run = Mapping[str, Any]


def newest(path: Path) -> list[Run]:
    """The newest run of each kind: with kills or without, native or not, in parts or in one, and by
    what was offered."""
    kinds: dict[tuple[bool, bool, bool, float], Run] = {}
    for line in path.read_text().splitlines():
        run = json.loads(line)
        long, one = run.get("long", False), run.get("one_process", False)
        kinds[long, not run["native"], one, run.get("offered_per_s") or 0.0] = run
    return [kinds[kind] for kind in sorted(kinds)]


def words(run: Run) -> str:
    parts = ["native" if run["native"] else "pure Python"]
    if run.get("one_process"):
        parts.append("one process")
    kills = sum(run.get("kills", {}).values())
    if kills:
        parts.append(f"{kills} times kill -9")
    return ", ".join(parts)


def shown(run: Run, name: str, form: str) -> str:
    """A figure, or a dash where the run left its part out."""
    return format(run[name], form) if name in run else "–"


def row(run: Run) -> str:
    cells = (
        words(run),
        f"{run['messages']:,}",
        f"{run['cpu_us_per_message']:.0f}",
        f"{run['floor_us']:.0f} µs",
        f"{run['messages_per_s']:,.0f}",
        f"{run['cores_used']:.2f}",
        f"{run['post_p95_ms']:,.0f} ms",
        shown(run, "window_observations_per_s", ","),
        f"{run['p256_gateway_us']:.0f} ({run['p256_floor_us']:.0f})"
        if "p256_gateway_us" in run
        else "–",
        shown(run, "singles_gateway_us", ".0f"),
        f"{run['lost']}, {run['doubled']}",
        f"{run['load_average'][0]:.1f}",
    )
    return f"| {' | '.join(cells)} |\n"


def table(runs: list[Run]) -> str:
    return HEAD + "".join(map(row, runs))


def replaced(text: str, content: str) -> str:
    """The text with the table between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    assert after, f"README.md lacks the marks {BEGIN!r} and {END!r}"
    return before + BEGIN + content + END + after


def missing() -> Iterator[str]:
    if not (HERE / "results" / "ingest.jsonl").exists():
        yield "bench/results/ingest.jsonl is not there: run make bench-ingest first"


def main() -> int:
    for sentence in missing():
        print(sentence, file=sys.stderr)
        return 1
    text = README.read_text()
    new = replaced(text, table(newest(HERE / "results" / "ingest.jsonl")))
    if "--check" in sys.argv[1:]:
        if new != text:
            print("README.md is not what bench/results say: run make bench-table", file=sys.stderr)
        return int(new != text)
    README.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
