"""Measures every operation; without `--write` it fails when a snapshot drifts.

make gas            measure, print, compare with the snapshot
make gas ARGS=--write    measure, print, write gas.json and docs/gas.md
make gas ARGS="--only state_channels"
"""

import argparse
import importlib
import json
import pkgutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from support.bench import ROOT, Measured, Scenario, fresh_bench

from gas import report, scenarios
from gas.table import OPERATIONS

SNAPSHOT = ROOT / "tests" / "contracts" / "gas.json"
PAGE = ROOT / "docs" / "gas.md"


def _scenarios(only: str | None) -> Iterator[tuple[str, Scenario]]:
    for module in pkgutil.iter_modules(scenarios.__path__):
        if only in (None, module.name):
            found = importlib.import_module(f"{scenarios.__name__}.{module.name}")
            yield module.name, found.measure


def measure_all(only: str | None = None) -> Measured:
    """Operation → gas. Each scenario has a chain of its own."""
    measured: dict[str, int] = {}
    for name, scenario in _scenarios(only):
        print(f"· {name}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder, fresh_bench(Path(folder)) as bench:
            measured |= scenario(bench)
    order = {operation.name: place for place, operation in enumerate(OPERATIONS)}
    return dict(sorted(measured.items(), key=lambda item: order.get(item[0], len(order))))


def drift(measured: Measured) -> list[str]:
    known = json.loads(SNAPSHOT.read_text()) if SNAPSHOT.exists() else {}
    names = sorted(known.keys() | measured.keys())
    return [
        f"{name}: snapshot {known.get(name)}, measured {measured.get(name)}"
        for name in names
        if known.get(name) != measured.get(name)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make gas")
    parser.add_argument("--write", action="store_true", help="write the snapshot and docs/gas.md")
    parser.add_argument("--only", help="one scenario module; only prints")
    arguments = parser.parse_args()
    measured = measure_all(arguments.only)
    print(report.as_text(measured))
    if arguments.only:
        return 0
    if arguments.write:
        SNAPSHOT.write_text(json.dumps(measured, indent=2) + "\n")
        PAGE.write_text(report.as_page(measured))
        return 0
    changes = drift(measured)
    if PAGE.read_text() != report.as_page(measured):
        changes.append("docs/gas.md is not what was measured")
    for change in changes:
        print(f"drift: {change}", file=sys.stderr)
    if changes:
        print("explain the change in the commit and run `make gas ARGS=--write`", file=sys.stderr)
    return 1 if changes else 0


if __name__ == "__main__":
    sys.exit(main())
