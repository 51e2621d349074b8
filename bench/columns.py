"""What decoding, sealing and opening cost in CPU time, each beside its reference in the same run.

python bench/columns.py

In this process alone, without a signature: packed reports and JSON to columns, a window to a batch,
a data file to a batch again. `native` says whether C did it; CORECHAIN_NATIVE=0 measures Python.
"""

import json
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from corechain.protocol import native
from corechain.protocol.batch import Origin, rebuild, seal
from corechain.protocol.frame import columns_of
from corechain.protocol.hashing import ZERO26
from corechain.protocol.json_packing import pack_json
from corechain.protocol.keys import DeviceIdentity, KeyType
from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport, unpack_reports
from corechain.protocol.rebuilding import rebuild_columns
from corechain.protocol.report_json import report_to_json, reports_from_json
from corechain.protocol.sealing import seal_columns
from corechain.protocol.states import StateColumns

RESULTS = Path(__file__).parent / "results" / "columns.jsonl"
ORIGIN = Origin(1, ZERO26, ZERO26, 31337, bytes(20))
CELL, START, ROUNDS, LIST = 0x872A1072BFFFFFF, 1_359_676_800, 3, 500


@dataclass(frozen=True, slots=True)
class Window:
    """`reports` of so many observations each, two of every device."""

    reports: int
    observations: int


WINDOWS = {
    "1 observation": Window(100_000, 1),
    "20 observations": Window(5_000, 20),
}


def made(window: Window) -> list[SignedReport]:
    """Unsigned: nothing here looks at a signature."""
    rng, items = random.Random(7), []
    for number in range(window.reports):
        device = DeviceId(random.Random(number // 2).randbytes(20))
        first = START + 60 * window.observations * (number % 2)
        seen = [
            Observation(1, CELL, first + 60 * place, 1_500 + place % 7)
            for place in range(window.observations)
        ]
        items.append(SignedReport(Report.of(device, number % 2, seen), rng.randbytes(64)))
    rng.shuffle(items)
    return items


def cpu_us(work: Callable[[], object], items: int) -> float:
    """CPU microseconds an item: the median of a few rounds."""
    rounds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        rounds.append(time.process_time() - started)
    return round(statistics.median(rounds) / items * 1e6, 3)


def measured(window: Window) -> dict[str, tuple[float, float]]:
    """Step → (on columns, by the reference), microseconds a report."""
    items, count = made(window), window.reports
    packed = b"".join(item.pack() for item in items)
    body = json.dumps([report_to_json(item) for item in items[:LIST]]).encode()
    known = {
        item.report.device: DeviceIdentity(item.report.device, KeyType.SECP256K1) for item in items
    }
    columns, nothing = columns_of(packed), StateColumns.of({})
    file = seal_columns(ORIGIN, columns, known, nothing).data_file
    steps: dict[str, tuple[Callable[[], object], Callable[[], object], int]] = {
        "packed": (lambda: columns_of(packed), lambda: unpack_reports(packed), count),
        "JSON": (lambda: pack_json(body), lambda: reports_from_json(body), LIST),
        "seal": (
            lambda: seal_columns(ORIGIN, columns, known, nothing),
            lambda: seal(ORIGIN, items, known, {}),
            count,
        ),
        "open": (lambda: rebuild_columns(file), lambda: rebuild(file), count),
    }
    return {
        step: (cpu_us(fast, many), cpu_us(slow, many)) for step, (fast, slow, many) in steps.items()
    }


def main() -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as kept:
        for name, window in WINDOWS.items():
            for step, (fast, slow) in measured(window).items():
                line = json.dumps(
                    {
                        "step": step,
                        "reports": name,
                        "us_a_report": fast,
                        "reference_us_a_report": slow,
                        "native": native.library is not None,
                    }
                )
                print(line)
                kept.write(line + "\n")


if __name__ == "__main__":
    main()
