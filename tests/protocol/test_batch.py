"""Batches: the same reports give the same commitment, and a file is believed only whole."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol import native
from corechain.protocol.batch import (
    EmptyBatch,
    Origin,
    UnknownRules,
    ancestor_of,
    batch_id,
    lane_of,
    number_of,
    open_data_file,
    seal,
)
from corechain.protocol.eip712 import registry_domain, report_digest
from corechain.protocol.errors import (
    HighS,
    InvalidSignature,
    MalformedDataFile,
    ProtocolError,
    ReplayedSequence,
    UnknownDevice,
)
from corechain.protocol.hashing import ZERO26, hash26
from corechain.protocol.keys import P256Key, Secp256k1Key
from corechain.protocol.quality import State
from corechain.protocol.reading import Observation, Reading, Report, SignedReport

KEYS = [Secp256k1Key(bytes(31) + bytes([n])) for n in (1, 2)] + [P256Key(bytes(31) + b"\x03")]
KNOWN = {key.identity.device: key.identity for key in KEYS}
ORIGIN = Origin(5, hash26(b"previous"), hash26(b"ancestor"), 31337, b"\x11" * 20)
DOMAIN = registry_domain(ORIGIN.chain_id, ORIGIN.registry)
START = 1_359_676_800


def signed(key, sequence, items):
    report = Report.of(key.identity.device, sequence, items)
    return SignedReport(report, key.sign(report_digest(DOMAIN, report)))


def reports(count=6):
    return [
        signed(
            key,
            hour + 1,
            [
                Observation(1, 7, START + 3600 * hour, 10 * hour + index),
                Observation(4, 7, START + 3600 * hour, 101_000 + hour),
            ],
        )
        for index, key in enumerate(KEYS)
        for hour in range(count)
    ]


def sealed(items=None, states=None):
    return seal(ORIGIN, reports() if items is None else items, KNOWN, states or {})


@pytest.fixture(params=["native", "python"] if native.library else ["python"])
def implementation(request, monkeypatch):
    """Who checks signatures, without corechain-native and with it where it is."""
    if request.param == "python":
        monkeypatch.setattr(native, "library", None)


@given(st.permutations(range(18)))
def test_the_order_of_arrival_does_not_matter(order):
    items = reports()
    assert sealed([items[i] for i in order]).data_file == sealed(items).data_file


@pytest.mark.usefixtures("implementation")
def test_a_data_file_rebuilds_its_batch():
    batch = sealed()
    again, origin = open_data_file(batch.data_file, KNOWN)
    assert origin == ORIGIN
    assert again.commitment == batch.commitment
    assert again.leaves == batch.leaves == sorted(batch.leaves)
    assert again.header == batch.header


def test_leaves_are_strictly_ascending_by_key():
    keys = [leaf[:35] for leaf in sealed().leaves]
    assert all(one < two for one, two in pairwise(keys))


@given(st.data())
def test_a_flipped_bit_is_never_the_same_batch(data):
    batch = sealed(reports(2))
    position = data.draw(st.integers(0, 8 * len(batch.data_file) - 1))
    forged = bytearray(batch.data_file)
    forged[position // 8] ^= 1 << position % 8
    try:
        opened, _ = open_data_file(bytes(forged), KNOWN)
    except ProtocolError:
        return
    assert opened.commitment != batch.commitment


@given(st.data())
def test_a_truncated_or_longer_file_is_refused(data):
    file = sealed(reports(1)).data_file
    cut = data.draw(st.integers(0, len(file) - 1))
    for wrong in (file[:cut], file + b"\0"):
        with pytest.raises(MalformedDataFile):
            open_data_file(wrong)


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused(data):
    with pytest.raises(MalformedDataFile):
        open_data_file(data)


def test_another_rule_set_is_refused():
    file = bytearray(sealed().data_file)
    file[63] ^= 1  # inside the rules hash
    with pytest.raises(UnknownRules):
        open_data_file(bytes(file))


@pytest.mark.usefixtures("implementation")
def test_a_report_that_its_device_did_not_sign_is_refused():
    honest = reports(1)
    forged = SignedReport(honest[0].report, honest[1].signature)
    with pytest.raises((InvalidSignature, HighS)):
        open_data_file(sealed([forged, *honest[1:]]).data_file)


def test_a_device_that_is_not_registered_is_refused():
    file = sealed().data_file
    with pytest.raises(UnknownDevice):
        open_data_file(file, {device: KNOWN[device] for device in list(KNOWN)[:2]})
    with pytest.raises(UnknownDevice):
        seal(ORIGIN, reports(), {}, {})


def test_a_sequence_is_in_a_batch_once():
    items = reports(1)
    with pytest.raises(ReplayedSequence):
        sealed([*items, items[0]])


def test_failed_readings_are_no_leaves_but_stay_in_the_file():
    key = KEYS[0]
    items = [
        signed(key, 1, [Observation(5, 7, START, 500)]),
        signed(key, 2, [Observation(5, 7, START + 3600, 46_866)]),
    ]
    batch = sealed(items)
    assert [Reading.unpack(leaf).value for leaf in batch.leaves] == [500]
    ((report, position, reasons),) = batch.rejected()
    assert (report.report.sequence, position, reasons.name) == (2, 0, "RANGE")
    assert batch.header.reading_count == 1
    assert batch.header.report_count == 2


def test_a_batch_without_a_reading_does_not_exist():
    with pytest.raises(EmptyBatch):
        sealed([signed(KEYS[0], 1, [Observation(5, 7, START, 99_999)])])


def test_the_state_before_the_batch_is_part_of_the_file():
    key = KEYS[0]
    items = [signed(key, 2, [Observation(1, 7, START + 3600, 3_000)])]
    before = {(key.identity.device, 1): State(900, START, START)}
    with pytest.raises(EmptyBatch):  # 21 degrees in an hour
        sealed(items, before)
    calm = {(key.identity.device, 1): State(2_900, START, START)}
    batch = sealed(items, calm)
    assert open_data_file(batch.data_file)[0].commitment == batch.commitment
    assert batch.commitment != sealed(items).commitment


def test_a_batch_id_is_lane_and_number():
    assert batch_id(0, 7) == 7
    assert (lane_of(batch_id(3, 9)), number_of(batch_id(3, 9))) == (3, 9)


def test_the_first_batch_has_no_ancestor():
    assert ancestor_of(1) == 0
    assert len(ZERO26) == 26
