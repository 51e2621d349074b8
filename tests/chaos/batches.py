"""The aggregator in the world: a bus that delivers again, a journal, and devices that repeat
themselves. What runs is `Aggregator.step` with its batcher, as in production."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

from chaos.lane import OUTAGES, run
from chaos.standins import Later, Nothing
from chaos.world import Counted, Died, Violation, World
from corechain.protocol.frame import columns_of
from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain.protocol.states import StateColumns
from corechain.service.errors import StoreUnavailable
from corechain_relayer.aggregator.batcher import Batcher, Window
from corechain_relayer.aggregator.checks import FrameChecker
from corechain_relayer.aggregator.devices import DeviceTable
from corechain_relayer.aggregator.sealing import Sealer
from corechain_relayer.aggregator.service import Aggregator
from corechain_relayer.aggregator.waiting import WaitingFrames
from corechain_relayer.bus.base import Delivery
from corechain_relayer.bus.frame import open_frame
from corechain_relayer.journal.batches import KeptBatch
from corechain_relayer.sequences import JOURNAL_WIDTH, SequenceWindow, content_digest

TURNS = 14
DEVICES = [DeviceId(bytes([n]) * 20) for n in (1, 2, 3)]
MAX_READINGS, MAX_AGE_S = 6, 10.0
HEAL_STEPS = 60
Key = tuple[bytes, int]
EVENTS = {
    "reports_come": 30,
    "a_report_comes_twice": 10,
    "another_one_comes": 6,
    "a_device_jumps": 2,
    "time_passes": 10,
    "dies": 16,
    "store_fails": 10,
    "is_taken_over": 6,
    "restarts": 4,
}


def report(device: DeviceId, sequence: int, value: int) -> SignedReport:
    return SignedReport(Report.of(device, sequence, [Observation(1, 0, 1000, value)]), bytes(64))


def key_of(signed: SignedReport) -> Key:
    return signed.report.device, signed.report.sequence


class ModelConsumer:
    """One session of the lane's consumer: what is not acknowledged comes again to the next one."""

    def __init__(self, story: "BatchStory") -> None:
        self.story = story
        self.delivered: set[str] = set()

    async def read(self, limit: int, wait_s: float) -> list[Delivery]:
        story = self.story
        waiting = [id_ for id_ in story.bus if id_ not in self.delivered]
        found = waiting[: story.world.rng.randint(1, 4)]
        if not found:
            story.world.now += wait_s
        self.delivered.update(found)
        return [Delivery(id_, story.bus[id_]) for id_ in found]

    async def ack(self, ids: Sequence[str]) -> None:
        story = self.story
        with story.world.effect("ack", stored=True):
            for id_ in ids:
                if id_ in story.bus:
                    story.check_durable(story.bus.pop(id_))

    async def dead_letter(self, payload: bytes, reason: str) -> None:
        with self.story.world.effect("dead letter", stored=True):
            self.story.dead.add((self.story.read_letter(payload), reason))

    async def depth(self) -> int:
        return len(self.story.bus)


class ModelReader:
    """What the journal knows of devices."""

    def __init__(self, story: "BatchStory") -> None:
        self.story = story

    async def sequences(self, devices: Iterable[DeviceId]) -> dict[DeviceId, SequenceWindow]:
        return {d: self.story.windows[d] for d in devices if d in self.story.windows}

    async def known(
        self, devices: Iterable[DeviceId]
    ) -> tuple[dict[DeviceId, SequenceWindow], dict[Any, Any]]:
        return await self.sequences(devices), {}

    async def digests(self, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        batched = self.story.batched
        return {k: content_digest(batched[k].report) for k in keys if k in batched}


class ModelSealer(Sealer):
    """Its `_keep`, with the order of effects, is the real one; a batch costs nothing here."""

    def start(self, window: Window) -> Any:
        return Later(self.journal.story.world, partial(self._made, window))  # type: ignore[attr-defined]

    async def _made(self, window: Window) -> bool:
        story: BatchStory = self.journal.story  # type: ignore[attr-defined]
        if not story.is_quiet and story.world.rng.random() < 0.1:
            story.world.fault("68 a window without a leaf is held")
            return False
        with story.world.effect("write file", stored=False):
            story.files += 1
        header = SimpleNamespace(batch_id=story.files, reading_count=1, report_count=1)
        batch: Any = SimpleNamespace(
            header=header,
            commitment=bytes(26),
            failed=0,
            reports=window.columns,
            states=StateColumns.of({}),
        )
        await self._keep(batch, window)
        return True


class ModelBatches:
    """Of one session: a newer one has the lane's lock."""

    def __init__(self, story: "BatchStory") -> None:
        story.world.session += 1
        self.story, self.session = story, story.world.session

    async def keep(self, batch: KeptBatch, intent: object) -> int:
        story = self.story
        with story.world.effect("keep batch", stored=True):
            if self.session != story.world.session:
                story.world.fault("15 a process that was taken over goes on")
                raise StoreUnavailable("keep batch: the connection is closed")
            story.keep(batch.reports.reports())
        return 0


class ModelOpener:
    place = SimpleNamespace(lane=0)

    def open(self, payload: bytes) -> Any:
        return SimpleNamespace(columns=columns_of(payload), marks=(), vouched=True)


class BatchStory:
    """One seed's run."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.bus: dict[str, bytes] = {}
        self.frames = self.files = 0
        self.batched: dict[Key, SignedReport] = {}
        self.windows: dict[DeviceId, SequenceWindow] = {}
        self.dead: set[tuple[SignedReport, str]] = set()
        self.acknowledged: dict[Key, list[SignedReport]] = {}
        self.next = dict.fromkeys(DEVICES, 1)
        self.sent: list[SignedReport] = []
        self.down = self.is_quiet = False
        self.aggregator = self.start()

    def start(self) -> Aggregator:
        metrics: Any = Counted(self.world)
        nothing: Any = Nothing(Nothing())
        table, consumer = DeviceTable(2), ModelConsumer(self)
        parts: Any = (nothing, ModelBatches(self), nothing, table, nothing, consumer, None, None)
        sealer = ModelSealer(*parts, metrics, nothing)  # type: ignore[arg-type]
        batcher = Batcher(MAX_READINGS, MAX_AGE_S, table)
        checker, waiting = FrameChecker(None), WaitingFrames(60.0)  # type: ignore[arg-type]
        first: Any = (ModelOpener(), 1, ModelReader(self), consumer, None, batcher, checker)
        return Aggregator(*first, nothing, sealer, waiting, None, metrics, metrics, nothing)  # type: ignore[arg-type]

    # ------------------------------------------------------------------ the process

    def work(self, steps: int) -> None:
        if self.down:
            self.restarts()
        for _ in range(steps):
            try:
                run(self.aggregator.step())
            except Died:
                self.down = True
                return
            except OUTAGES as outage:
                self.world.note("session ends", type(outage).__name__)
                self.aggregator = self.start()
                return

    def restarts(self) -> None:
        self.down = False
        self.aggregator = self.start()

    # ------------------------------------------------------------------ what it does to the world

    def keep(self, reports: Iterable[SignedReport]) -> None:
        """I2: nothing is in two batches."""
        for signed in reports:
            key = key_of(signed)
            self.world.note("batched", key[0][0], key[1])
            if key in self.batched:
                raise Violation("I2", f"sequence {key[1]} of a device is in two batches")
            self.batched[key] = signed
            window = self.windows.get(signed.report.device, SequenceWindow())
            self.windows[signed.report.device] = window.with_all([key[1]], JOURNAL_WIDTH)

    def read_letter(self, payload: bytes) -> SignedReport:
        (signed,) = open_frame(payload).columns.reports()
        return signed

    def is_kept(self, signed: SignedReport) -> bool:
        batched = self.batched.get(key_of(signed))
        return batched == signed or any(letter == signed for letter, _ in self.dead)

    def check_durable(self, payload: bytes) -> None:
        """I15: a frame is taken from the bus only when all of it is somewhere else: in a batch, set
        aside, or in another frame there."""
        on_bus = [columns_of(frame).reports() for frame in self.bus.values()]
        for signed in columns_of(payload).reports():
            if not self.is_kept(signed) and not any(signed in frame for frame in on_bus):
                raise Violation("I15", f"sequence {key_of(signed)[1]} was taken off the bus")

    # ------------------------------------------------------------------ what happens

    def append(self, reports: Sequence[SignedReport]) -> None:
        """As a gateway: acknowledged once it is on the bus."""
        payload = b"".join(signed.pack() for signed in reports)
        self.frames += 1
        try:
            with self.world.effect("append", stored=True):
                self.bus[f"{self.frames:06}"] = payload
        except (Died, StoreUnavailable):
            return  # the client does not know, and sends it again
        for signed in reports:
            self.acknowledged.setdefault(key_of(signed), []).append(signed)

    def _fresh(self, device: DeviceId) -> SignedReport:
        sequence = self.next[device]
        self.next[device] += self.world.rng.choice((1, 1, 1, 2))
        signed = report(device, sequence, self.world.rng.randint(0, 9))
        self.sent.append(signed)
        return signed

    def reports_come(self) -> None:
        rng = self.world.rng
        fresh = [self._fresh(rng.choice(DEVICES)) for _ in range(rng.randint(1, 4))]
        rng.shuffle(fresh)
        self.append(fresh)

    def a_report_comes_twice(self) -> None:
        if self.sent:
            self.world.fault("2 a report comes twice")
            self.append([self.world.rng.choice(self.sent)])

    def another_one_comes(self) -> None:
        """With the sequence of one before: by a device that was restored, or by a thief."""
        if self.sent:
            before = self.world.rng.choice(self.sent).report
            self.world.fault("50 another report with a sequence of before")
            self.append([report(before.device, before.sequence, 99)])

    def a_device_jumps(self) -> None:
        """So far that what is below is stale, and one of those comes too."""
        device = self.world.rng.choice(DEVICES)
        low = self.next[device]
        self.next[device] += JOURNAL_WIDTH + 10
        self.world.fault("68 a report comes too late to be known")
        self.append([self._fresh(device)])
        self.append([report(device, low, 7)])

    def time_passes(self) -> None:
        self.world.now += self.world.rng.choice((0.5, 3.0, 11.0))

    def dies(self) -> None:
        world = self.world
        world.dies_at = world.effects + world.rng.choice((0, 1, 2, 3, 4, 6))
        world.dies_after = world.rng.random() < 0.5

    def store_fails(self) -> None:
        world = self.world
        world.fails_at = world.effects + world.rng.choice((0, 1, 2, 3, 4))
        world.fails_after = world.rng.random() < 0.5

    def is_taken_over(self) -> None:
        if not self.down:
            self.world.interrupts_at = self.world.effects + self.world.rng.choice((0, 1, 2, 3))
            self.world.interrupt = self._another_process

    def _another_process(self) -> None:
        self.world.fault("15 two processes for one lane")
        self.aggregator = self.start()
        self.work(3)

    def turn(self) -> None:
        happen = self.world.rng.choices(list(EVENTS), list(EVENTS.values()))[0]
        self.world.note(happen)
        getattr(self, happen)()
        self.work(self.world.rng.randint(1, 3))

    # ------------------------------------------------------------------ afterwards

    def heal(self) -> None:
        world = self.world
        world.dies_at = world.fails_at = world.interrupts_at = -1
        # Else one story in 100,000 has its window held five times in a row: for ever, as it were.
        self.is_quiet = True
        for number in range(HEAL_STEPS):
            self.work(1)
            world.now += MAX_AGE_S / 2
            if not self.bus:
                return
            if number % 12 == 11:  # what is held waits for something new
                self.append([self._fresh(world.rng.choice(DEVICES))])
        raise Violation("I16", f"{len(self.bus)} frames stay on the bus of a quiet world")

    def check_end(self) -> None:
        """I1: each acknowledged report is in one batch, or set aside for a reason that is true."""
        for key, reports in self.acknowledged.items():
            for signed in reports:
                if self.batched.get(key) != signed:
                    self._check_letter(signed)
        for letter, reason in self.dead:
            if reason == "ConflictingSequence" and self.batched.get(key_of(letter)) == letter:
                raise Violation("I1", "a report is set aside as another one than itself")

    def _check_letter(self, signed: SignedReport) -> None:
        key = key_of(signed)
        reasons = {reason for letter, reason in self.dead if letter == signed}
        if not reasons:
            raise Violation("I1", f"sequence {key[1]} is acknowledged, and nowhere")
        newest = self.windows[signed.report.device].newest
        is_true = {
            "StaleSequence": newest - key[1] > JOURNAL_WIDTH,
            "ConflictingSequence": key in self.batched,
        }
        for reason in reasons:
            if not is_true[reason]:
                raise Violation("I1", f"sequence {key[1]} is set aside, and is not {reason}")


def play_batches(world: World) -> None:
    """Raises Violation."""
    story = BatchStory(world)
    for _ in range(TURNS):
        story.turn()
    story.heal()
    story.check_end()
