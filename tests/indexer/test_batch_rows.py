"""The rows of a batch are those that its readings and verdicts say, one by one."""

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.batch import Batch, Origin, seal
from corechain.protocol.hashing import ZERO26
from corechain.protocol.keys import DeviceIdentity, KeyType
from corechain.protocol.levels import UpperLevels
from corechain.protocol.reading import DeviceId, Observation, Reading, Report, SignedReport
from corechain.protocol.rebuilding import rebuild_columns
from corechain_indexer.store.files import BatchRows, batch_rows, to_signed, to_unsigned

ORIGIN = Origin(7, ZERO26, ZERO26, 31337, bytes(20))
START, HOUR_S = 1_359_676_800, 3600
DEVICES = [DeviceId(device) for device in (bytes(20), b"\x01" + bytes(19), b"\xff" * 20)]
KNOWN = {device: DeviceIdentity(device, KeyType.SECP256K1) for device in DEVICES}


def _batch(rng: random.Random) -> Batch:
    items = []
    for sequence in range(rng.randrange(1, 12)):
        seen = [
            Observation(
                rng.choice([1, 4, 99]),
                rng.choice([7, 2**63, 2**64 - 1]),
                START + rng.randrange(8) * 1200,
                rng.choice([-1, 5, 100_000, 101_000]),
            )
            for _ in range(rng.randrange(1, 6))
        ]
        device = rng.choice(DEVICES)
        items.append(SignedReport(Report.of(device, 2**64 - 1 - sequence, seen), bytes(64)))
    sure = Observation(5, 7, START, 3)
    items.append(SignedReport(Report.of(DEVICES[1], 0, [sure]), bytes(64)))
    return seal(ORIGIN, items, KNOWN, {})


def _one_by_one(batch: Batch) -> BatchRows:
    readings = [Reading.unpack(leaf) for leaf in batch.leaves]
    rows = [
        (7, at, r.metric, to_signed(r.cell), r.device, r.observed_at, r.value, r.flag)
        for at, r in enumerate(readings)
    ]
    rejections = []
    for ordinal, (signed, position, reasons) in enumerate(batch.rejected()):
        item, report = signed.report.observations()[position], signed.report
        place = item.metric, to_signed(item.cell), item.observed_at, item.value
        rejections.append((7, ordinal, report.device, report.sequence, *place, int(reasons)))
    hours: dict[tuple[bytes, int, int], list[int]] = {}
    for r in readings:
        key = r.device, r.metric, r.observed_at - r.observed_at % HOUR_S
        hours.setdefault(key, []).append(r.value)
    rollups = [(7, *key, len(v), sum(v), min(v), max(v)) for key, v in hours.items()]
    levels = UpperLevels.of(b"".join(batch.leaves)).packed
    return BatchRows(rows, rejections, sorted(rollups), levels)


@given(st.integers(0, 2**64 - 1))
def test_a_batch_has_the_rows_of_its_readings_and_rejections(seed: int) -> None:
    batch = _batch(random.Random(seed))
    found = batch_rows(rebuild_columns(batch.data_file).batch)
    assert replace(found, rollups=sorted(found.rollups)) == _one_by_one(batch)
    kinds = {
        type(value) for row in found.readings + found.rejections + found.rollups for value in row
    }
    assert kinds == {int, bytes}


def test_a_rebuilt_batch_has_the_root_of_its_readings() -> None:
    batch = _batch(random.Random(1))
    assert rebuild_columns(batch.data_file).batch.readings_root == batch.readings.root


@given(st.integers(0, 2**64 - 1))
def test_a_cell_comes_back_from_its_signed_form(cell: int) -> None:
    assert to_unsigned(to_signed(cell)) == cell
