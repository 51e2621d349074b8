"""Reports counted on columns are counted as one by one, whatever a data file holds."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.devnet.fleet.acklog import AckLog, Kind, LogReader
from corechain.devnet.fleet.head import Head
from corechain.devnet.fleet.shape import Shape
from corechain.devnet.reconcile.columns import MOST_SEEN, KeyColumns
from corechain.devnet.reconcile.ledger import Ledger
from corechain.devnet.reconcile.scan import scan
from corechain.protocol.batch import HEAD, MAGIC, VERSION
from corechain.protocol.columns import rows_of
from corechain.protocol.keys import KeyType, Secp256k1Key, device_id
from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport

# Equal heads, zeros at the end, not in order: what a search by numbers could get wrong.
ALIKE = [DeviceId(bytes([7]) * 8 + bytes([n]) * 10 + bytes(2)) for n in (3, 1, 2)]
APART = [DeviceId(bytes([n]) * 18 + bytes(2)) for n in (200, 5, 127)]
STRANGERS = [DeviceId(bytes([7]) * 8 + bytes(12)), DeviceId(b"\xff" * 20), DeviceId(bytes(20))]
FIRST = st.sampled_from([0, 1, 2**63, 2**64 - 9])


def ledger(path: Path, head: Head) -> Ledger:
    log = AckLog.begin(path, head)
    log.add(Kind.ACKNOWLEDGED, 0, head.shape.total - 1)
    log.end()
    return Ledger(LogReader(path))


@given(
    devices=st.sampled_from([ALIKE, APART, [*ALIKE, *APART], APART[:1]]),
    by_device=st.booleans(),
    first=FIRST,
    data=st.data(),
)
def test_columns_are_counted_as_keys_are(
    tmp_path_factory: pytest.TempPathFactory,
    devices: list[DeviceId],
    by_device: bool,
    first: int,
    data: st.DataObject,
) -> None:
    shape = Shape(len(devices), 3, 1, first, by_device)
    head = Head(1, bytes(20), KeyType.SECP256K1, shape, devices)
    path = tmp_path_factory.getbasetemp() / "columns.acks"
    plain, fast = ledger(path, head), ledger(path, head)
    near = st.integers(max(0, first - 2), min(2**64 - 1, first + 4)) | st.integers(0, 2**64 - 1)
    keys = st.tuples(st.sampled_from([*devices, *STRANGERS]), near)
    for times in (1, MOST_SEEN + 3):  # the second time over the most that is counted
        found = data.draw(st.lists(keys, max_size=12)) * times
        packed = rows_of(b"".join(device for device, _ in found), 20)
        columns = KeyColumns(packed, np.array([number for _, number in found], np.uint64))
        assert list(columns) == found
        assert list(fast.see(columns)) == plain.see(list(found))
        assert fast._reports == plain._reports
    assert list(fast.lost()) == list(plain.lost())
    assert list(fast.doubled()) == list(plain.doubled())


@pytest.fixture(params=[KeyType.SECP256K1, KeyType.P256])
def file(request: pytest.FixtureRequest) -> bytes:
    """A data file of three reports of one device, its key of this type; sealed by nobody."""
    identity = Secp256k1Key(b"\1" * 32).identity
    head = HEAD.pack(MAGIC, VERSION, 0, 1, bytes(26), bytes(26), bytes(32), 1, bytes(20))
    key = bytes(64) if request.param is KeyType.P256 else b""
    device = device_id(key) if key else identity.device
    reports = [
        SignedReport(Report.of(device, n, [Observation(1, 0, 1, 1)] * n), bytes(64))
        for n in (1, 2, 3)
    ]
    devices = (1).to_bytes(4, "big") + device + bytes([request.param]) + key
    packed = (3).to_bytes(4, "big") + b"".join(report.pack() for report in reports)
    return head + devices + bytes(4) + packed + b"\1\0\0" * 6


def test_a_file_is_read_the_same_with_and_without_numpy(
    file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = scan(file)
    monkeypatch.setitem(sys.modules, "corechain.devnet.reconcile.columns", None)
    plain = scan(file)
    assert isinstance(plain.keys, list)
    assert not isinstance(fast.keys, list)
    assert list(fast.keys) == plain.keys
    assert [sequence for _, sequence in plain.keys] == [1, 2, 3]
    assert (fast.observations, fast.readings, fast.origin) == (6, plain.readings, plain.origin)
