"""Between the bus and a batch: whom the aggregator believes, what it waits for, what it remembers.

given frames on the bus
  when one of us vouches for a frame
    its signatures are not checked again; those of any other frame are
  when a device is not known to our node yet
    its frames wait, in order, and those of other devices go on
    after a written time its reports are dead letters
  when a window is being sealed
    the next one collects
given more devices than are kept in memory
  when the idle ones are forgotten
    what is remembered of the others is what it was
"""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis
from support.processes import PATIENCE_S

from corechain.deployment import load_deployment
from corechain.protocol.columns import Places
from corechain.protocol.eip712 import registry_domain, report_digest
from corechain.protocol.errors import InvalidSignature, ProtocolError
from corechain.protocol.frame import FrameVerifier, columns_of
from corechain.protocol.quality import State, StateKey
from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain.protocol.states import StateColumns
from corechain.service.database import connect
from corechain.service.supervision import stop_all
from corechain_relayer.aggregator.checks import FrameChecker, Opened, without_strangers
from corechain_relayer.aggregator.devices import NEVER, DeviceTable, device_ids
from corechain_relayer.aggregator.waiting import MOST_FRAMES, WaitingFrames
from corechain_relayer.bus.frame import FrameKeys, Place, pack_frame, seal_frame, unpack_frame
from corechain_relayer.bus.keys import FIELD, lane_keys
from corechain_relayer.registry.view import Device, RegistryView
from corechain_relayer.sequences import JOURNAL_WIDTH, SequenceWindow
from corechain_relayer.service import Relayer, Role
from relayer.conftest import Start
from relayer.support import Chain, Sensor, eventually, secp
from relayer.test_crash import committed_reports, key_of, settings_of

if TYPE_CHECKING:
    from corechain.service.database import Conn

DOMAIN = registry_domain(31337, bytes(20))
KEYS = [secp(number) for number in (1, 2, 3)]
DEVICES = [key.identity.device for key in KEYS]


def signed(which: int, sequence: int) -> SignedReport:
    report = Report.of(DEVICES[which], sequence, [Observation(1, 0, 1000, sequence)])
    return SignedReport(report, KEYS[which].sign(report_digest(DOMAIN, report)))


def forged(which: int, sequence: int) -> SignedReport:
    """A report with the signature of another one."""
    return SignedReport(signed(which, sequence).report, signed(which, sequence + 1).signature)


def opened(frame: str, *reports: SignedReport, vouched: bool = False) -> Opened:
    return Opened(frame, columns_of(b"".join(r.pack() for r in reports)), vouched)


def view_of(*which: int) -> RegistryView:
    return RegistryView({DEVICES[n]: Device(KEYS[n].identity, bytes(20)) for n in which})


# ------------------------------------------------------------------ whom it believes


def checked(frame: Opened) -> tuple[list[SignedReport], list[str]]:
    """The good reports, and the errors of the others."""
    checker = FrameChecker(FrameVerifier(DOMAIN))
    (found,) = checker.check_all([frame], view_of(0, 1, 2))
    return list(found.good.reports()), [error.name for _, error in found.bad]


def test_a_frame_that_nobody_vouches_for_loses_its_forged_reports() -> None:
    good, bad = signed(0, 1), forged(1, 1)
    assert checked(opened("1", good, bad)) == ([good], [InvalidSignature.__name__])
    assert checked(opened("1", bad)) == ([], [InvalidSignature.__name__])
    assert checked(opened("1", good)) == ([good], [])


def test_a_frame_that_one_of_us_vouches_for_is_not_checked_again() -> None:
    bad = forged(0, 1)
    assert checked(opened("1", bad, vouched=True)) == ([bad], [])


# ------------------------------------------------------------------ what it waits for


def sort(
    waiting: WaitingFrames, frames: Iterable[Opened], unknown: Iterable[int], now: float
) -> list[str]:
    missing = {DEVICES[n] for n in unknown}
    return [o.id for o in waiting.sort(frames, lambda devices: missing & set(devices), now)]


def test_frames_of_unknown_devices_wait_and_the_others_go_on() -> None:
    waiting = WaitingFrames(patience_s=60)
    frames = [opened("1", signed(0, 1)), opened("2", signed(1, 1)), opened("3", signed(2, 1))]
    assert sort(waiting, frames, [1], 0) == ["1", "3"]
    assert sort(waiting, [], [1], 1) == []
    assert sort(waiting, [opened("4", signed(0, 2))], [], 2) == ["2", "4"]
    assert len(waiting) == 0


def test_no_frame_overtakes_an_earlier_one_of_its_devices() -> None:
    waiting = WaitingFrames(patience_s=60)
    mixed = opened("1", signed(0, 1), signed(1, 1))
    later, other = opened("2", signed(0, 2)), opened("3", signed(2, 1))
    assert sort(waiting, [mixed, later, other], [1], 0) == ["3"]
    assert sort(waiting, [], [], 1) == ["1", "2"]


def test_of_a_frame_that_waits_only_its_strangers_are_asked_for_again() -> None:
    """so that a thousand of them cost little"""
    waiting, asked = WaitingFrames(patience_s=60), list[set[DeviceId]]()

    def strangers(devices: Iterable[DeviceId]) -> set[DeviceId]:
        asked.append(set(devices))
        return {DEVICES[1]} & set(devices)

    waiting.sort([opened("1", signed(0, 1), signed(1, 1), signed(2, 1))], strangers, 0)
    waiting.sort([], strangers, 1)
    assert asked == [set(DEVICES), {DEVICES[1]}]


def test_patience_ends_by_time_and_by_number() -> None:
    waiting = WaitingFrames(patience_s=60)
    assert sort(waiting, [opened("1", signed(1, 1))], [1], 0) == []
    assert sort(waiting, [opened("2", signed(1, 2))], [1], 30) == []
    assert [o.id for o in waiting.overdue(59.9)] == []
    assert [o.id for o in waiting.overdue(60)] == ["1"]
    many = [opened(str(n), signed(1, 3)) for n in range(MOST_FRAMES + 1)]
    assert sort(waiting, many, [1], 61) == []
    assert [o.id for o in waiting.overdue(61)] == ["2", "0"]
    assert len(waiting) == MOST_FRAMES


def test_of_a_frame_that_waited_too_long_only_the_strangers_are_left_out() -> None:
    frame = opened("1", signed(0, 1), signed(1, 1), signed(0, 2))
    rest, refused = without_strangers(frame, view_of(0))
    assert list(rest.columns.reports()) == [signed(0, 1), signed(0, 2)]
    assert [(report, error.name) for report, error in refused] == [(signed(1, 1), "UnknownDevice")]
    assert len(without_strangers(frame, view_of())[0].columns) == 0


async def test_a_late_registration_costs_no_report_and_a_forger_is_not_believed(
    start: Start, sensor: Sensor, chain: Chain, bus_url: str, stream: str, tmp_path: Path
) -> None:
    """whatever seal his frame has"""
    ours, other = b"\1" * 32, b"\2" * 32
    registry = chain.deployment.address("DeviceRegistry")
    place = Place(chain.deployment.chain_id, registry, 0)
    newcomer = Sensor(secp(77), chain.domain)
    late, false, honest = newcomer.report(), sensor.report(), sensor.report()
    unsigned = SignedReport(false.report, bytes(64))
    redis, keys = Redis.from_url(bus_url, protocol=2), lane_keys(stream, 0)
    for key, report in ((ours, late), (other, unsigned), (ours, honest)):
        content = seal_frame(0, report.pack(), FrameKeys([key]), place)
        await redis.xadd(keys.stream, {FIELD: content})
    start(RELAYER_FRAME_KEY=ours.hex())

    def in_batches(*reports: SignedReport) -> bool:
        return committed_reports(chain, tmp_path / "data") == Counter(map(key_of, reports))

    await asyncio.to_thread(eventually, lambda: in_batches(honest), 60)
    await asyncio.to_thread(chain.register, newcomer.key)
    await asyncio.to_thread(eventually, lambda: in_batches(honest, late), 60)
    (entry,) = await redis.xrange(keys.dead)
    assert entry[1][b"reason"] == InvalidSignature.__name__.encode()
    assert unpack_frame(entry[1][FIELD]).reports == (unsigned,)
    await redis.aclose()


# ------------------------------------------------------------------ two windows at a time


@dataclass
class Lane:
    """An aggregator in this process, with its bus and its journal."""

    relayer: Relayer
    bus: "Redis"
    journal: "Conn"
    running: "asyncio.Task[None]"

    async def append(self, report: SignedReport) -> None:
        stream = self.relayer.bus.keys(0).stream
        await self.bus.xadd(stream, {FIELD: pack_frame(0, [report])})

    async def until(self, reports: int, batches: int) -> None:
        """So many reports in windows, so many batches."""
        async with asyncio.timeout(PATIENCE_S):
            while await self.counts() != (reports, batches):
                assert not self.running.done(), self.running
                await asyncio.sleep(0.02)

    async def counts(self) -> tuple[float, int]:
        found = await self.journal.fetchval("select count(*) from batch")
        return self.relayer.metrics.window_reports._value.get(), int(found)


@pytest.fixture
async def lane(environment: dict[str, str], chain: Chain) -> AsyncIterator[Lane]:
    """A report fills a window; who is unknown is given up at once."""
    changes = {"RELAYER_MAX_READINGS": "2", "RELAYER_UNKNOWN_DEVICE_S": "0"}
    settings = settings_of(environment | changes)
    relayer = Relayer(settings, load_deployment(settings.deployment))
    await relayer.prepare([Role.AGGREGATOR])
    await relayer.migrate()
    bus = Redis.from_url(environment["RELAYER_BUS_URL"], protocol=2)
    journal = await connect(environment["RELAYER_DATABASE_URL"])
    running = asyncio.create_task(relayer.aggregate())
    yield Lane(relayer, bus, journal, running)
    await stop_all([running])
    await journal.close()
    await bus.aclose()
    await relayer.close()


async def test_while_a_window_is_sealed_the_next_one_collects(lane: Lane, sensor: Sensor) -> None:
    await lane.append(sensor.report())
    await lane.until(0, 1)
    held = threading.Event()
    lane.relayer.threads.sealing.submit(held.wait)
    await lane.append(sensor.report())
    await lane.append(sensor.report())
    await lane.until(2, 1)
    held.set()
    await lane.until(0, 3)


async def test_who_never_registers_is_a_dead_letter_after_the_written_time(
    lane: Lane, chain: Chain, sensor: Sensor
) -> None:
    stranger = Sensor(secp(78), chain.domain).report()
    await lane.append(stranger)
    await lane.append(sensor.report())
    await lane.until(0, 1)
    (entry,) = await lane.bus.xrange(lane.relayer.bus.keys(0).dead)
    assert unpack_frame(entry[1][FIELD]).reports == (stranger,)
    assert entry[1][b"reason"] == b"UnknownDevice"
    assert await lane.bus.xlen(lane.relayer.bus.keys(0).stream) == 0


# ------------------------------------------------------------------ what it remembers

IDS = [DeviceId(bytes([n]) * 18 + bytes(2)) for n in range(8)]
STATES = st.builds(
    State, st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**40 - 1), st.integers(0, 2**40 - 1)
)


def rows(table: DeviceTable, *devices: DeviceId) -> Places:
    items = [Observation(1, 0, 1, 1)]
    packed = (Report.of(device, 1, items).body() + bytes(64) for device in devices)
    return table.rows_of(columns_of(b"".join(packed)))


@given(
    st.dictionaries(st.tuples(st.sampled_from(IDS), st.sampled_from((1, 2, 30_000))), STATES),
    st.dictionaries(st.sampled_from(IDS), st.integers(0, 2**64 - 1)),
    st.lists(st.sampled_from(IDS), unique=True),
)
def test_what_is_remembered_of_the_others_is_what_it_was(
    states: dict[StateKey, State], newest: dict[DeviceId, int], asked: list[DeviceId]
) -> None:
    table = DeviceTable(limit=6)
    windows = {d: SequenceWindow().with_seen(n, JOURNAL_WIDTH) for d, n in newest.items()}
    table.learn(IDS, windows, states)
    for device in asked:
        rows(table, device)
    busy = rows(table, IDS[0])
    moved = table.evict(busy)
    assert moved is not None
    kept = [
        device for device, row in zip(IDS, rows(table, *IDS).tolist(), strict=True) if row != NEVER
    ]
    assert len(kept) == 3
    assert IDS[0] in kept
    assert table.unknown(IDS) == set(IDS) - set(kept)
    found = rows(table, *kept)
    assert table.devices(found) == kept
    assert table.states_of(found).mapping() == {k: s for k, s in states.items() if k[0] in kept}
    following = [min(newest.get(device, -1) + 1, 2**64 - 1) for device in kept]
    assert table.following[found].tolist() == following
    recent = [device for device in asked if device != IDS[0]][-2:]
    assert set(recent) <= set(kept), "who was asked for lately is kept before the others"
    table.learn(IDS, windows, states)
    assert table.states_of(rows(table, *IDS)).mapping() == states


def test_a_table_within_its_limit_forgets_nobody() -> None:
    table = DeviceTable(limit=8)
    table.learn(IDS, {}, {})
    assert table.evict(np.zeros(0, np.intp)) is None
    assert len(table) == 8


def test_states_are_moved_on_by_a_batch() -> None:
    table, key = DeviceTable(limit=8), (IDS[1], 4)
    table.learn(IDS, {}, {key: State(1, 10, 5)})
    table.keep(StateColumns.of({key: State(2, 20, 20), (IDS[2], 7): State(3, 30, 30)}))
    wanted = {key: State(2, 20, 20), (IDS[2], 7): State(3, 30, 30)}
    assert table.states_of(rows(table, *IDS)).mapping() == wanted
    assert table.states_of(rows(table, IDS[3])).mapping() == {}


def test_ids_that_end_with_zeros_are_whole() -> None:
    frame = columns_of(Report.of(IDS[0], 1, [Observation(1, 0, 1, 1)]).body() + bytes(64))
    assert device_ids(frame) == [IDS[0]]


def test_a_stranger_has_no_row() -> None:
    table = DeviceTable(limit=8)
    assert rows(table, IDS[0]).tolist() == [NEVER]
    with pytest.raises(ProtocolError):
        view_of(0).identity(IDS[0])
