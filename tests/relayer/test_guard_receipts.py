"""The guard finds a demanded report in a batch, and knows what it may put on the bus again.

given batches with data files, and a journal that knows their sequences
  a report is found by device and sequence, whatever its content; a file that is missing is looked
    for again; one that the journal calls new is looked for in no file
given a report that is in no batch
  it is appended once and, when it does not come, again; sealed by our key
  of a device that we do not know, with a signature that is not its own, or while the bus is away:
    an alert, and nothing is appended
given a report in a batch that the contract takes for no answer any more, and nobody for a fraud
  it is looked for beside that batch, and comes again when no other one has it; not before it is
    final that the batch's word was written over, or that another bond answers than in its time
  the aggregator is told of it before: which batches do not have it, and the key that the demand has
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from support.processes import PATIENCE_S

from corechain.protocol.batch import RING_SIZE, Origin, seal
from corechain.protocol.eip712 import Domain
from corechain.protocol.hashing import ZERO26
from corechain.protocol.keys import DeviceIdentity, KeyType, device_id
from corechain.protocol.reading import DeviceId, Observation, SignedReport
from corechain.protocol.receipts import receipt_commitment, receipt_subject
from corechain.service.database import create_pool
from corechain.service.rpc import Block
from corechain_relayer.aggregator.readmission import KEY_BYTES, search_files
from corechain_relayer.bus.frame import FrameKeys, PackedFrame, Place, open_frame
from corechain_relayer.guard import resending
from corechain_relayer.guard.answers import Unanswerable
from corechain_relayer.guard.buried import BuriedBatches
from corechain_relayer.guard.demands import OpenDemand
from corechain_relayer.guard.finding import ReportFinder
from corechain_relayer.guard.library import Library
from corechain_relayer.guard.receipts import ReceiptAnswers
from corechain_relayer.guard.resending import AGAIN_S, Resender
from corechain_relayer.journal.demanded import DemandedReports
from corechain_relayer.registry.view import Device, RegistryView
from corechain_relayer.sequences import SequenceWindow
from relayer.guards import CountingPool
from relayer.support import Sensor, p256, secp

DOMAIN = Domain("CoreChain", "1", 31_337, bytes([5]) * 20)
PLACE, KEYS = Place(31_337, bytes([5]) * 20, 0), FrameKeys((bytes([9]) * 32,))


def report(**changes: Any) -> SignedReport:
    return Sensor(secp(1), DOMAIN).report(**changes)


def demanded(signed: SignedReport, who: bytes = bytes(64)) -> OpenDemand:
    device, sequence = signed.report.device, signed.report.sequence
    subject = receipt_subject(device, sequence)
    return OpenDemand(b"d" * 32, 0, 5, bytes(26), subject, 2**39, 1, signed.pack(), who)


# ---------------------------------------------------------------------- finding


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Any]:
    async with create_pool(database) as found:
        yield found


KNOWN = {secp(n).identity.device: secp(n).identity for n in (1, 2)}


def file_of(*reports: SignedReport) -> bytes:
    origin = Origin(1, ZERO26, ZERO26, 31_337, bytes([5]) * 20)
    return seal(origin, reports, KNOWN, {}).data_file


def lookalike(key: bytes) -> Observation:
    """Of which the first 19 bytes of a key are the bytes."""
    metric, cell, at = key[:2], key[2:10], key[10:15]
    numbers = (int.from_bytes(field, "big") for field in (metric, cell, at))
    return Observation(*numbers, int.from_bytes(key[15:19], "big", signed=True))


def test_observations_that_look_like_a_report_hide_none(tmp_path: Path) -> None:
    """Whoever has a device chooses its observations; a report counted as found is not sealed."""
    wanted = report(sequence=7).pack()
    key, other = wanted[:KEY_BYTES], Sensor(secp(2), DOMAIN)
    last = lookalike(key[19:] + bytes(10))
    hiding = other.sign([Observation(1, 0, 1000, 5), lookalike(key), last], 1)
    assert key in hiding.pack()
    for number, content in ((1, file_of(hiding)), (2, file_of(hiding, report(sequence=7)))):
        (tmp_path / f"{(bytes([number]) * 26).hex()}.ccdf").write_bytes(content)
    assert search_files(tmp_path, [bytes([1]) * 26], key).found is None
    assert search_files(tmp_path, [bytes([1]) * 26, bytes([2]) * 26], key).found == bytes([2]) * 26


async def batch(
    pool: Any, folder: Path, number: int, content: bytes | None, end: int = 10
) -> bytes:
    """A batch of the journal whose file, if any, has some content."""
    commitment = bytes([number]) * 26
    await pool.execute(
        """insert into batch (batch_id, commitment, reading_count, report_count, failed_count,
                              window_start, window_end)
           values ($1, $2, 1, 1, 0, 1, 10)""",
        number,
        commitment,
    )
    if content is not None:
        (folder / f"{commitment.hex()}.ccdf").write_bytes(content)
    return commitment


async def seen(pool: Any, signed: SignedReport) -> None:
    window = SequenceWindow().with_seen(signed.report.sequence, 10)
    await pool.execute(
        "insert into device_sequence (device, newest, seen) values ($1, $2, $3)",
        bytes(signed.report.device),
        window.newest,
        window.pack(),
    )


async def test_a_report_is_found_by_device_and_sequence(pool: Any, tmp_path: Path) -> None:
    wanted, other = report(), report(count=3)
    await seen(pool, wanted)
    finder = ReportFinder(pool, tmp_path)
    await batch(pool, tmp_path, 1, b"others'")
    missing = await batch(pool, tmp_path, 2, None)
    assert await finder.find(demanded(wanted)) is None
    # A file that comes back, with another content of the same sequence.
    (tmp_path / f"{missing.hex()}.ccdf").write_bytes(b"head" + other.pack() + b"rest")
    assert await finder.find(demanded(wanted)) == missing
    finder.keep([])
    (tmp_path / f"{missing.hex()}.ccdf").unlink()
    assert await finder.find(demanded(wanted)) is None


async def test_many_reports_are_looked_for_with_the_questions_of_one(
    pool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = [Sensor(secp(number), DOMAIN).report() for number in (1, 2, 3)]
    _ = [await seen(pool, signed) for signed in reports]
    read: list[str] = []
    real = Path.read_bytes

    def counted(path: Path) -> bytes:
        read.append(path.name)
        return real(path)

    first = await batch(pool, tmp_path, 1, file_of(reports[0]))
    second = await batch(pool, tmp_path, 2, file_of(reports[1]))
    monkeypatch.setattr(Path, "read_bytes", counted)
    counting = CountingPool(pool)
    finder: Any = ReportFinder(counting, tmp_path)
    demands = [replace(demanded(one), id=bytes([at]) * 32) for at, one in enumerate(reports)]
    await finder.find_all(demands)
    several = counting.statements
    assert [await finder.find(demand) for demand in demands] == [first, second, None]
    assert counting.statements == several
    assert sorted(read) == sorted({f"{commitment.hex()}.ccdf" for commitment in (first, second)})
    counting.statements = 0
    assert await finder.find(demands[2]) is None  # looked for anew in the next round
    assert counting.statements == several
    assert len(read) == 2


async def test_what_the_journal_calls_new_is_looked_for_in_no_file(
    pool: Any, tmp_path: Path
) -> None:
    wanted = report()
    await batch(pool, tmp_path, 1, wanted.pack())
    assert await ReportFinder(pool, tmp_path).find(demanded(wanted)) is None


# ---------------------------------------------------------------------- resending


@dataclass
class Bus:
    """A bus that takes frames, or hangs."""

    is_away: bool = False
    is_deaf: bool = False
    """Loses a cancellation, as Python 3.11 does where it meets the end of a write to Valkey."""
    frames: list[PackedFrame] = field(default_factory=list)
    closed: int = 0

    async def write_forever(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not self.is_deaf:
                raise
            await asyncio.Event().wait()

    async def inspect(self) -> None:
        if self.is_away:
            await asyncio.Event().wait()

    async def enter(self, lane: int) -> None:
        assert lane == PLACE.lane

    async def append(self, lane: int, frame: PackedFrame, limited: bool) -> None:
        assert not limited
        self.frames.append(frame)

    async def close(self) -> None:
        self.closed += 1


@dataclass
class Registry:
    """What is known of devices."""

    view: RegistryView

    def introduce(self, keys: Mapping[DeviceId, bytes]) -> None:
        for device, key in keys.items():
            if device_id(key) == device:
                self.view.learn_key(device, key)


def resender(pool: Any, bus: Bus, *known: DeviceIdentity) -> Resender:
    devices = {one.device: Device(one, bytes(20)) for one in known}
    parts: Any = (lambda: bus), PLACE, KEYS, DOMAIN, Registry(RegistryView(devices))
    return Resender(*parts, DemandedReports(pool))


async def test_a_lost_report_is_on_the_bus_again_and_once_more_when_it_does_not_come(
    pool: Any,
) -> None:
    bus, signed, now = Bus(), report(), [0.0]
    found = resender(pool, bus, secp(1).identity)
    found.clock = lambda: now[0]
    for _ in range(3):
        await found.resend(demanded(signed), [7])
    assert len(bus.frames) == 1
    assert bus.closed == 1
    opened = open_frame(bus.frames[0].content, KEYS, PLACE)
    assert opened.columns.packed == signed.pack()
    # The aggregator may take it, however low it is.
    key = signed.pack()[:KEY_BYTES]
    assert await found.demanded.among([key, bytes(28)]) == {key: [7]}
    now[0] += AGAIN_S + 1
    await found.resend(demanded(signed), [8])
    assert await found.demanded.among([key]) == {key: [8]}
    assert len(bus.frames) == 2
    found.keep([])
    await found.resend(demanded(signed), [8])
    assert len(bus.frames) == 3


async def test_a_key_that_only_the_demand_shows_is_handed_on_when_it_is_the_devices(
    pool: Any,
) -> None:
    key = p256(5)
    bus, signed = Bus(), Sensor(key, DOMAIN).report()
    found = resender(pool, bus, DeviceIdentity(key.identity.device, KeyType.P256))
    device, public_key = key.identity.device, key.identity.public_key
    assert public_key is not None
    with pytest.raises(Unanswerable, match="UnknownDevice"):
        await found.resend(demanded(signed, p256(6).identity.public_key or b""), [])
    assert await found.demanded.public_keys([device]) == {}
    await found.resend(demanded(signed, public_key + b"its fleet's listing"), [])
    assert len(bus.frames) == 1
    assert await found.demanded.public_keys([device]) == {device: public_key}


async def test_what_is_not_its_devices_is_not_sealed(pool: Any) -> None:
    bus, signed = Bus(), report()
    with pytest.raises(Unanswerable, match="UnknownDevice"):
        await resender(pool, bus).resend(demanded(signed), [])
    forged = SignedReport(signed.report, report(count=3).signature)
    with pytest.raises(Unanswerable, match="InvalidSignature"):
        await resender(pool, bus, secp(1).identity).resend(demanded(forged), [])
    assert bus.frames == []


async def test_a_bus_that_hangs_is_an_alert_and_is_closed(
    pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resending, "APPEND_S", 0.01)
    bus = Bus(is_away=True, is_deaf=True)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(Unanswerable, match="bus away"):
            await resender(pool, bus, secp(1).identity).resend(demanded(report()), [])
    assert (bus.frames, bus.closed) == ([], 1)


async def test_nothing_comes_again_while_a_file_that_may_have_it_is_missing(
    pool: Any, tmp_path: Path
) -> None:
    """So far below nobody remembers sequences: in two batches it would be a fraud."""
    wanted, bus = report(), Bus()
    await seen(pool, wanted)
    missing = await batch(pool, tmp_path, 1, None)
    finder, sending = ReportFinder(pool, tmp_path), resender(pool, bus, secp(1).identity)
    answers = answering(finder, sending)
    with pytest.raises(Unanswerable, match="1 data files"):
        _ = [found async for found in answers.candidates(demanded(wanted))]
    assert bus.frames == []
    (tmp_path / f"{missing.hex()}.ccdf").write_bytes(b"others'")
    with pytest.raises(Unanswerable, match="on the bus again"):
        _ = [found async for found in answers.candidates(demanded(wanted))]
    assert await sending.demanded.among([wanted.pack()[:KEY_BYTES]]) == {wanted.pack()[:28]: [1]}


@dataclass
class Blocks:
    """Each was made in the second of its number."""

    async def block(self, number: int) -> Block:
        return Block(number, bytes(32), bytes(32), number, 1)


def answering(finder: ReportFinder, sending: Resender) -> ReceiptAnswers:
    blocks: Any = Blocks()
    buried = BuriedBatches(finder.pool, blocks)
    return ReceiptAnswers(finder, Library(finder.folder), buried, sending)


def anew(answers: ReceiptAnswers) -> ReceiptAnswers:
    """As after a restart."""
    finder = answers.finder
    return replace(answers, finder=ReportFinder(finder.pool, finder.folder))


async def sealed(pool: Any, folder: Path, number: int, *reports: SignedReport) -> bytes:
    """A batch as its own file has it, committed and final in block 50."""
    made = seal(Origin(number, ZERO26, ZERO26, 31_337, bytes([5]) * 20), reports, KNOWN, {})
    await pool.execute(
        """with b as (insert into batch values ($1, $2, 1, 1, 0, 1, 10))
           insert into intent (queue, key, target, calldata, state, block_number)
           values ('lane-0', 'batch:' || $1::bigint, $3, '', 'final', 50)""",
        number,
        made.commitment,
        bytes(20),
    )
    (folder / f"{made.commitment.hex()}.ccdf").write_bytes(made.data_file)
    return made.commitment


async def shown(answers: ReceiptAnswers, demand: OpenDemand) -> tuple[list[int], str]:
    """Batches that were tried for it, and why none was taken."""
    tried: list[int] = []
    try:
        async for found in answers.candidates(demand):
            tried += [witness.batch_id for witness in found.witnesses]
    except Unanswerable as error:
        return tried, error.reason
    return tried, ""


async def test_what_only_a_batch_has_that_nobody_can_show_comes_again(
    pool: Any, tmp_path: Path
) -> None:
    wanted, other, bus = report(), Sensor(secp(2), DOMAIN).report(), Bus()
    await seen(pool, wanted)
    old = await sealed(pool, tmp_path, 7, wanted)
    answers = answering(ReportFinder(pool, tmp_path), resender(pool, bus, secp(1).identity))
    demand = demanded(wanted)  # of a bond of second 0: the batch is of its time
    assert await shown(answers, demand) == ([7], "not committed")
    await sealed(pool, tmp_path, 7 + RING_SIZE - 1, other)
    assert await shown(answers, demand) == ([7], "not committed")
    await pool.execute("update batch set block_number = 9 where batch_id = 7")
    await pool.execute("delete from intent where key = 'batch:7'")  # pruned
    await sealed(pool, tmp_path, 7 + 2 * RING_SIZE, other)
    assert await shown(answers, demand) == ([7], "not in a batch")
    key = wanted.pack()[:KEY_BYTES]
    assert await DemandedReports(pool).among([key]) == {key: [7 + 2 * RING_SIZE]}
    assert len(bus.frames) == 1
    # Its file may go: an operator keeps those of the last challenge window.
    (tmp_path / f"{old.hex()}.ccdf").unlink()
    assert await shown(anew(answers), demand) == ([], "not in a batch")
    assert await sealed(pool, tmp_path, 9 + 2 * RING_SIZE, wanted) != old
    assert await shown(anew(answers), demand) == ([9 + 2 * RING_SIZE], "not committed")
    assert len(bus.frames) == 1


async def test_a_batch_of_an_earlier_bond_is_no_answer(pool: Any, tmp_path: Path) -> None:
    wanted, bus = report(), Bus()
    await seen(pool, wanted)
    await sealed(pool, tmp_path, 7, wanted)
    answers = answering(ReportFinder(pool, tmp_path), resender(pool, bus, secp(1).identity))
    for since, reason in ((50, "not committed"), (51, "not in a batch")):
        bond = replace(demanded(wanted), commitment=receipt_commitment(0, since))
        assert await shown(answers, bond) == ([7], reason)
    assert len(bus.frames) == 1


def test_an_operator_is_told_which_report_is_demanded() -> None:
    demand = demanded(report())
    device = secp(1).identity.device.hex()
    assert demand.what == f"report 1 of device 0x{device}"
    assert (demand.fields()["report"], "batch" in demand.fields()) == (demand.what, False)
