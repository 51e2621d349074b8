"""Sealing on columns makes what the reference makes, byte for byte, of every window."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corechain.protocol import judging, roots
from corechain.protocol.batch import EmptyBatch, Origin, open_data_file, seal
from corechain.protocol.columns import join_columns, take_columns
from corechain.protocol.errors import ProtocolError, ReplayedSequence, UnknownDevice
from corechain.protocol.frame import Columns, columns_of
from corechain.protocol.hashing import hash26
from corechain.protocol.keys import DeviceIdentity, KeyType, P256Key
from corechain.protocol.quality import State, StateKey
from corechain.protocol.reading import (
    MAX_OBSERVATIONS,
    U40_MAX,
    U64_MAX,
    DeviceId,
    Observation,
    Report,
    SignedReport,
)
from corechain.protocol.sealing import SealedBatch, seal_columns
from corechain.protocol.states import StateColumns
from corechain.protocol.vocabulary import I32_MAX, I32_MIN, METRICS

ORIGIN = Origin(5 << 32 | 9, hash26(b"previous"), hash26(b"ancestor"), 31337, b"\x11" * 20)
HOUR_S, START = 3600, 1_359_676_800
# Zeros at either end and high bits: what text and signed comparisons would order wrongly.
DEVICES = tuple(
    DeviceId(device)
    for device in (
        bytes(20),
        bytes(19) + b"\x01",
        b"\x01" + bytes(19),
        b"\x7f" * 20,
        b"\x80" + bytes(19),
        b"\xff" * 20,
    )
)
ELEMENT = P256Key(b"\x02" * 32).identity
KNOWN: Mapping[DeviceId, DeviceIdentity] = {
    **{device: DeviceIdentity(device, KeyType.SECP256K1) for device in DEVICES},
    ELEMENT.device: ELEMENT,
}
KEYS = [*DEVICES, ELEMENT.device]

# Around the limits of range, step, run and order, where one is next to another.
times = (
    st.builds(lambda quarters: START + quarters * 900, st.integers(0, 120))
    | st.builds(lambda seconds: START + HOUR_S + seconds, st.integers(-2, 2))
    | st.sampled_from([0, 1, 2**32 - 1, 2**32, U40_MAX])
)
values = (
    st.sampled_from([0, 400, 401, 1940, 1941, -400, -1940, -8000, -8001, 6000, 6001])
    | st.integers(-3, 3)
    | st.sampled_from([I32_MIN, I32_MAX, 50_000, 49_999])
)
codes = st.sampled_from([1, 1, 1, 2, 2, 4, 5, 6, 0, 14, 0xFFFF]) | st.integers(0, 14)
observations = st.builds(Observation, codes, st.sampled_from([0, 7, U64_MAX]), times, values)
reports = st.builds(
    lambda device, sequence, items, mark: SignedReport(
        Report.of(device, sequence, items), bytes([mark]) * 64
    ),
    st.sampled_from(KEYS),
    st.integers(0, 40) | st.sampled_from([2**63, U64_MAX]),
    st.lists(observations, min_size=1, max_size=6),
    st.integers(0, 255),
)
state_rows = st.builds(State, values, times, times)
states_before = st.dictionaries(
    st.tuples(st.sampled_from([*KEYS, DeviceId(b"\x33" * 20)]), codes), state_rows, max_size=12
)


def columns(items: Iterable[SignedReport]) -> Columns:
    return columns_of(b"".join(item.pack() for item in items))


def facts_of_reference(
    items: list[SignedReport],
    known: Mapping[DeviceId, DeviceIdentity],
    states: dict[StateKey, State],
) -> object:
    batch = seal(ORIGIN, items, known, states)
    flags = [verdict.flag for judged in batch.verdicts for verdict in judged]
    reasons = [int(verdict.reasons) for judged in batch.verdicts for verdict in judged]
    failed = sum(1 for _ in batch.rejected())
    return (
        *(batch.data_file, batch.header, batch.commitment, b"".join(batch.leaves)),
        *(batch.reports, b"".join(batch.identities), flags, reasons, failed, batch.states),
    )


def facts_of(batch: SealedBatch) -> object:
    return (
        *(batch.data_file, batch.header, batch.commitment, batch.leaves),
        *(list(batch.reports.reports()), batch.devices),
        *(batch.flags.tolist(), batch.reasons.tolist(), batch.failed, batch.states.mapping()),
    )


def outcome(make: Callable[[], object]) -> object:
    """What it makes, or how it refuses."""
    try:
        return make()
    except ProtocolError as error:
        return type(error), str(error)


def agree(
    items: list[SignedReport],
    states: dict[StateKey, State] | None = None,
    known: Mapping[DeviceId, DeviceIdentity] = KNOWN,
) -> None:
    before = {} if states is None else states
    expected = outcome(lambda: facts_of_reference(items, known, before))
    held = StateColumns.of(before)
    assert expected == outcome(lambda: facts_of(seal_columns(ORIGIN, columns(items), known, held)))


@pytest.fixture(params=[1, judging.ROUND_MIN], ids=["in rounds", "one by one"])
def _rounds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """So few observations would all be judged one by one."""
    monkeypatch.setattr(judging, "ROUND_MIN", request.param)


def _first_of_each(items: list[SignedReport]) -> list[SignedReport]:
    held = {(item.report.device, item.report.sequence): item for item in items}
    return list(held.values())


@pytest.mark.usefixtures("_rounds")
@settings(max_examples=150)
@given(st.lists(reports, min_size=1, max_size=14).map(_first_of_each), states_before)
def test_a_window_is_sealed_as_by_the_reference(
    items: list[SignedReport], states: dict[StateKey, State]
) -> None:
    agree(items, states)


@given(st.lists(reports, max_size=4))
def test_a_window_is_refused_as_by_the_reference(items: list[SignedReport]) -> None:
    agree([*items, *items[:1]])
    agree(items, known={device: KNOWN[device] for device in KEYS[2:]})


def report(device: DeviceId, sequence: int, items: Iterable[Observation]) -> SignedReport:
    return SignedReport(Report.of(device, sequence, items), bytes(64))


def test_one_failed_observation_is_no_batch() -> None:
    item = report(DEVICES[0], 1, [Observation(0, 7, START, 1)])
    with pytest.raises(EmptyBatch):
        seal_columns(ORIGIN, columns([item]), KNOWN, StateColumns.of({}))
    agree([item])


def test_the_error_names_the_device_or_the_sequence() -> None:
    items = [report(DEVICES[3], 2**64 - 1, [Observation(1, 7, START, 1)])] * 2
    with pytest.raises(ReplayedSequence) as replayed:
        seal_columns(ORIGIN, columns(items), KNOWN, StateColumns.of({}))
    assert (replayed.value.device, replayed.value.sequence) == (DEVICES[3], 2**64 - 1)
    with pytest.raises(UnknownDevice) as unknown:
        seal_columns(ORIGIN, columns(items[:1]), {}, StateColumns.of({}))
    assert unknown.value.device == DEVICES[3]


# Steps in time and value that just reach a limit of a rule, or just pass it.
_LATER = [-1, 0, 1, HOUR_S, HOUR_S + 1, 3 * HOUR_S, 3 * HOUR_S + 1, 12 * HOUR_S, 12 * HOUR_S + 1]
_HIGHER = [0, 0, 0, 400, 401, 1940, 1941, 800, 801, 3880, 3881, 4800, 4801, 23_280, 23_281]
_EDGES = sorted({edge for metric in METRICS for edge in (metric.low, metric.high)})


def _walk(rng: np.random.Generator, count: int) -> list[Observation]:
    """Observations of few metrics, each after and near another one."""
    found, at, value = [], START, 0
    for _ in range(count):
        at += int(rng.choice(_LATER))
        value += int(rng.choice(_HIGHER)) * int(rng.choice([-1, 1]))
        if abs(value) > 20_000 or rng.random() < 0.1:
            value = int(rng.choice(_EDGES)) + int(rng.integers(-1, 2))
        metric = int(rng.choice([1, 1, 1, 1, 2, 3, 4, 5, 6, 13, 99]))
        found.append(Observation(metric, int(rng.choice([7, 8])), at, value))
        for _ in range(
            4 if rng.random() < 0.1 else 0
        ):  # half a day without a change, to the second
            at += 3 * HOUR_S
            found.append(Observation(metric, 7, at, value))
        if rng.random() < 0.2:  # what must be consistent with it
            other = {1: 2, 2: 1, 5: 6, 6: 5}.get(metric, 4)
            near = value + int(rng.integers(-1, 2))
            found.append(Observation(other, found[-1].cell, at, near))
    return found


def _walks(rng: np.random.Generator, device: DeviceId, count: int) -> list[SignedReport]:
    return [report(device, at, _walk(rng, int(rng.integers(1, 6)))) for at in range(count)]


@pytest.fixture(params=["installed", "pure Python"])
def _hashing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is installed, and without the native module."""
    if request.param == "pure Python":
        for name in ("_native_rows", "_native_slices", "_native_merkle", "_native_statistics"):
            monkeypatch.setattr(roots, name, None)


@pytest.mark.usefixtures("_hashing")
def test_a_large_window_is_sealed_as_by_the_reference() -> None:
    """More pairs than a round needs, some of them far deeper than others."""
    rng = np.random.default_rng(9)
    devices = [DeviceId(rng.bytes(20)) for _ in range(300)]
    known = {device: DeviceIdentity(device, KeyType.SECP256K1) for device in devices}
    items = [report(devices[1], 77, _walk(rng, 500))]
    for place, device in enumerate(devices):
        items += _walks(rng, device, 40 if place % 50 == 0 else 4)
    order = rng.permutation(len(items)).tolist()
    agree([items[place] for place in order], known=known)


def test_one_metric_of_one_device_a_thousand_times_is_sealed_as_by_the_reference() -> None:
    still = [Observation(1, 7, START + 60 * at, 20) for at in range(MAX_OBSERVATIONS)]
    agree([report(DEVICES[0], 1, still)])
    agree([report(DEVICES[0], at, [Observation(1, 7, START + at, at % 5)]) for at in range(999)])


def test_a_file_sealed_on_columns_is_one_that_anyone_can_open() -> None:
    items = [report(device, 1, [Observation(1, 7, START, 20)]) for device in KEYS]
    sealed = seal_columns(ORIGIN, columns(items), KNOWN, StateColumns.of({}))
    with pytest.raises(ProtocolError, match="sign"):  # nobody signed: all the rest is right
        open_data_file(sealed.data_file, KNOWN)


@given(states_before)
def test_states_are_the_same_as_columns(states: dict[StateKey, State]) -> None:
    assert StateColumns.of(states).mapping() == states


@given(st.lists(st.lists(reports, max_size=4), max_size=4), st.data())
def test_columns_are_taken_and_joined_as_their_reports_are(
    parts: list[list[SignedReport]], data: st.DataObject
) -> None:
    together = [item for part in parts for item in part]
    joined = join_columns([columns(part) for part in parts])
    assert joined == columns(together)
    places = data.draw(
        st.lists(st.integers(0, len(together) - 1), max_size=6) if together else st.just([])
    )
    taken = take_columns(joined, np.array(places, np.intp))
    assert taken == columns([together[place] for place in places])
