"""The rows of a batch are those that its readings and verdicts say, one by one."""

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.batch import Batch, Origin, seal
from corechain.protocol.hashing import ZERO26
from corechain.protocol.keys import DeviceIdentity, KeyType
from corechain.protocol.levels import UpperLevels
from corechain.protocol.reading import DeviceId, Observation, Reading, Report, SignedReport
from corechain.protocol.rebuilding import rebuild_columns
from corechain_indexer.projections import Row
from corechain_indexer.store.files import batch_rows, to_signed, to_unsigned
from corechain_indexer.store.segments import DAY_S

ORIGIN = Origin(7, ZERO26, ZERO26, 31337, bytes(20))
START = 1_359_676_800
DEVICES = [DeviceId(device) for device in (bytes(20), b"\x01" + bytes(19), b"\xff" * 20)]
KNOWN = {device: DeviceIdentity(device, KeyType.SECP256K1) for device in DEVICES}


def _batch(rng: random.Random) -> Batch:
    items = []
    for sequence in range(rng.randrange(1, 12)):
        seen = [
            Observation(
                rng.choice([1, 4, 99]),
                rng.choice([7, 2**63, 2**64 - 1]),
                START + rng.randrange(8) * rng.choice([1200, 30_000]),
                rng.choice([-1, 5, 100_000, 101_000]),
            )
            for _ in range(rng.randrange(1, 6))
        ]
        device = rng.choice(DEVICES)
        items.append(SignedReport(Report.of(device, 2**64 - 1 - sequence, seen), bytes(64)))
    sure = Observation(5, 7, START, 3)
    items.append(SignedReport(Report.of(DEVICES[1], 0, [sure]), bytes(64)))
    return seal(ORIGIN, items, KNOWN, {})


def _segments_one_by_one(readings: list[Reading]) -> list[tuple[Any, ...]]:
    runs: dict[tuple[int, int, bytes, int], list[int]] = {}
    for at, r in enumerate(readings):
        runs.setdefault((r.metric, r.cell, r.device, r.observed_at // DAY_S), []).append(at)
    found = []
    for (metric, cell, device, _), places in runs.items():
        assert places == list(range(places[0], places[-1] + 1))
        items = [readings[at] for at in places]
        times, values = [r.observed_at for r in items], [r.value for r in items]
        spread = to_signed(cell), min(times), max(times), sum(values), places[0], len(items)
        newest = values[-1], items[-1].flag
        found.append((7, *spread, metric, min(values), max(values), *newest, device))
    return found


def _one_by_one(batch: Batch) -> tuple[list[tuple[Any, ...]], list[Row], bytes]:
    readings = [Reading.unpack(leaf) for leaf in batch.leaves]
    rejections = []
    for ordinal, (signed, position, reasons) in enumerate(batch.rejected()):
        item, report = signed.report.observations()[position], signed.report
        place = item.metric, to_signed(item.cell), item.observed_at, item.value
        rejections.append((7, ordinal, report.device, report.sequence, *place, int(reasons)))
    levels = UpperLevels.of(b"".join(batch.leaves)).packed
    return _segments_one_by_one(readings), rejections, levels


@given(st.integers(0, 2**64 - 1))
def test_a_batch_has_the_rows_of_its_readings_and_rejections(seed: int) -> None:
    batch = _batch(random.Random(seed))
    found = batch_rows(rebuild_columns(batch.data_file).batch)
    segments = found.segments.rows()
    assert (segments, found.rejections, found.tree_levels) == _one_by_one(batch)
    assert len(found.segments) == len(segments)
    assert {type(value) for row in segments + found.rejections for value in row} == {int, bytes}


def test_a_rebuilt_batch_has_the_root_of_its_readings() -> None:
    batch = _batch(random.Random(1))
    assert rebuild_columns(batch.data_file).batch.readings_root == batch.readings.root


@given(st.integers(0, 2**64 - 1))
def test_a_cell_comes_back_from_its_signed_form(cell: int) -> None:
    assert to_unsigned(to_signed(cell)) == cell
