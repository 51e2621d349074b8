"""Between the bus and a batch: whom the aggregator believes, what it waits for.

given frames on the bus
  when one of us vouches for a frame
    its signatures are not checked again; those of any other frame are
  when a device is not known to our node yet
    its frames wait, in order, and those of other devices go on
    after a written time its reports are dead letters
  when a window is being sealed
    the next one collects
given a report that is demanded on chain and in no batch
  it is sealed once, however far below its device's newest sequence, also by a key that only the
  demand shows; not where a missing file may have it
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from redis.asyncio import Redis
from support.processes import PATIENCE_S

from corechain.deployment import load_deployment
from corechain.protocol.batch import open_data_file
from corechain.protocol.eip712 import registry_domain, report_digest
from corechain.protocol.errors import InvalidSignature
from corechain.protocol.fleet import Fleet
from corechain.protocol.frame import FrameVerifier, columns_of
from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain.service.database import connect
from corechain.service.errors import NodeUnavailable
from corechain.service.progress import HEARD_BY
from corechain.service.supervision import stop_all
from corechain_relayer.aggregator.batcher import KEY_BYTES
from corechain_relayer.aggregator.checks import FrameChecker, Opened, without_strangers
from corechain_relayer.aggregator.readmission import search_files
from corechain_relayer.aggregator.service import REGISTRY_AGE_S, Aggregator
from corechain_relayer.aggregator.waiting import MOST_FRAMES, WaitingFrames
from corechain_relayer.bus.frame import FrameKeys, Place, pack_frame, seal_frame, unpack_frame
from corechain_relayer.bus.keys import FIELD, lane_keys
from corechain_relayer.journal.demanded import DemandedReports
from corechain_relayer.registry.view import Device, RegistryView
from corechain_relayer.sequences import JOURNAL_WIDTH
from corechain_relayer.service import Relayer, Role
from relayer.conftest import Start
from relayer.support import ADMIN, Chain, Sensor, eventually, p256, secp
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


async def test_a_long_step_says_of_each_frame_and_file_that_it_goes_on(tmp_path: Path) -> None:
    """A frame has up to 37,000 reports, and what is demanded is looked for in all files. A step
    without a sign would cost the lane's lock, and the next session would begin it anew."""
    heard = list[int]()
    HEARD_BY.set((lambda: heard.append(1),))
    with ThreadPoolExecutor(1) as threads:
        registry = SimpleNamespace(view=view_of(0, 1, 2))
        checker = FrameChecker(FrameVerifier(DOMAIN))
        parts = SimpleNamespace(registry=registry, checker=checker, verifying=threads)
        frames = [opened(str(number), signed(number, 1)) for number in range(3)]
        assert len(await Aggregator._checked(cast(Aggregator, parts), frames)) == len(heard) == 3
    await asyncio.to_thread(search_files, tmp_path, [bytes(26), bytes(26)], bytes(28))
    assert len(heard) == 5


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


async def test_what_a_revoked_device_says_an_hour_later_is_set_aside_and_the_rest_sealed(
    lane: Lane, chain: Chain, sensor: Sensor, tmp_path: Path
) -> None:
    """As after an outage of the node, in which the gateway knew of no revocation."""
    stolen = Sensor(secp(78), chain.domain)
    chain.register(stolen.key)
    chain.revoke(stolen.key)
    registry, good = lane.relayer.registry, sensor.report()
    await registry.refresh_since(time.monotonic())
    after = registry.view.revoked_at[stolen.key.identity.device] + 3_601
    late = stolen.sign([stolen.observation(observed_at=after)], 1)
    keys = lane.relayer.bus.keys(0)
    await lane.bus.xadd(keys.stream, {FIELD: pack_frame(0, [late, good])})
    await lane.until(0, 1)
    (entry,) = await lane.bus.xrange(keys.dead)
    assert entry[1][b"reason"] == b"RevokedDevice"
    assert unpack_frame(entry[1][FIELD]).reports == (late,)
    assert await lane.journal.fetchval("select report_count from batch") == 1


@pytest.mark.parametrize("clock", ["_read_at", "_read_on"])
async def test_nothing_is_sealed_by_an_old_word_on_who_is_revoked(
    clock: str, lane: Lane, sensor: Sensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old by the wall clock alone where the machine slept meanwhile."""

    async def away(moment: float) -> None:
        raise NodeUnavailable("the node is away")

    registry = lane.relayer.registry
    await lane.append(sensor.report())
    await lane.until(0, 1)
    monkeypatch.setattr(type(registry), "refresh_since", lambda self, moment: away(moment))
    setattr(registry, clock, getattr(registry, clock) - REGISTRY_AGE_S)
    await lane.append(sensor.report())
    with pytest.raises(NodeUnavailable):
        await lane.running
    assert (await lane.counts())[1] == 1


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


# ------------------------------------------------------------------ what is demanded on chain


async def test_a_demanded_report_is_in_one_batch_however_low_it_is(
    lane: Lane, sensor: Sensor, tmp_path: Path
) -> None:
    """A relayer lost it, and its device has sent more since than anybody remembers."""
    far = 2 * JOURNAL_WIDTH
    lost, other, newest = (sensor.report(sequence=at) for at in (1, 2, far))
    await lane.append(newest)
    await lane.until(0, 1)
    demanded = DemandedReports(lane.relayer.pool)
    searched = await demanded.newest_batches()
    await demanded.note(b"d" * 32, key_bytes(lost), None, searched)
    # Its readings are older than the device's state and fail, so it is sealed beside a good one.
    for report in (other, lost, lost, sensor.report(sequence=far + 1)):
        await lane.append(report)
    await lane.until(0, 2)
    (entry,) = await lane.bus.xrange(lane.relayer.bus.keys(0).dead)
    assert unpack_frame(entry[1][FIELD]).reports == (other,)
    assert entry[1][b"reason"] == b"StaleSequence"
    # The guard asks once more before it sees the batch: neither it nor another content counts.
    await lane.append(lost)
    await lane.append(sensor.report(3, sequence=1))
    await lane.append(sensor.report(sequence=far + 2))
    await lane.until(0, 3)
    reports = [key for file in data_files(tmp_path) for key in keys_in(file)]
    assert sorted(reports) == [1, far, far + 1, far + 2]


async def test_a_demanded_report_that_may_be_in_a_missing_file_is_not_sealed(
    lane: Lane, sensor: Sensor, tmp_path: Path
) -> None:
    lost = sensor.report(sequence=1)
    await lane.append(sensor.report(sequence=2 * JOURNAL_WIDTH))
    await lane.until(0, 1)
    await DemandedReports(lane.relayer.pool).note(b"d" * 32, key_bytes(lost), None, [])
    for file in data_files(tmp_path):
        file.unlink()
    await lane.append(lost)
    await lane.append(sensor.report(sequence=2 * JOURNAL_WIDTH + 1))
    await lane.until(0, 2)
    (entry,) = await lane.bus.xrange(lane.relayer.bus.keys(0).dead)
    assert unpack_frame(entry[1][FIELD]).reports == (lost,)


async def test_a_key_that_only_the_demand_shows_is_enough(lane: Lane, chain: Chain) -> None:
    """Of a fleet whose keys were never published. The id vouches for the key, not who shows it."""
    key, forger = p256(81), p256(82)
    identity = key.identity
    chain.enrol(Fleet.of(bytes.fromhex(ADMIN[2:]), identity.key_type, [identity.device]))
    report = Sensor(key, chain.domain).report()
    noted = DemandedReports(lane.relayer.pool)
    await noted.note(b"e" * 32, key_bytes(report), forger.identity.public_key, [])
    await lane.append(report)
    unknown = lane.relayer.metrics.dead_letters.labels("UnknownDevice")
    await asyncio.to_thread(eventually, lambda: unknown._value.get() == 1)
    await noted.note(b"d" * 32, key_bytes(report), identity.public_key, [])
    await lane.append(report)
    await lane.until(0, 1)


def key_bytes(report: SignedReport) -> bytes:
    return report.pack()[:KEY_BYTES]


def data_files(folder: Path) -> list[Path]:
    return list(folder.rglob("*.ccdf"))


def keys_in(file: Path) -> list[int]:
    """The sequences of a data file's reports."""
    return [report.report.sequence for report in open_data_file(file.read_bytes())[0].reports]
