"""From messages to durable frames: each is acknowledged when its reports are, or are refused."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from corechain.protocol.errors import CoreChainError, ProtocolError, TransportError
from corechain.protocol.frame import Columns, columns_of
from corechain.service.tracing import CURRENT, Span, sampled
from corechain_relayer.gateway.intake import Fault
from corechain_relayer.gateway.service import INLINE_BYTES, Gateway, Peer
from corechain_relayer.metrics import Metrics
from corechain_relayer.mqtt.broker import Broker
from corechain_relayer.mqtt.errors import BrokerRefused, BrokerUnavailable, InternalError
from corechain_relayer.mqtt.flow import Held
from corechain_relayer.mqtt.letters import Letter, opened
from corechain_relayer.mqtt.link import Link
from corechain_relayer.mqtt.packets import Opening
from corechain_relayer.mqtt.singles import Singles, joined
from corechain_relayer.mqtt.topics import Topics

log = structlog.get_logger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
"""Between two tries of what could not be decided: a frame's time first, then what is no load."""

LOOK_UP_S = 2.0
"""So long a device that the registry view does not have is held back while the node is away; a few
polls. Messages are acknowledged in order: held for longer, strangers would stop all the others."""

PACKET_OVERHEAD = 1 << 17
"""A packet is longer than its payload: a topic and properties of 65,535 bytes each at most."""
MISTAKES = 3
"""So often one message may fail in a way that nobody foresaw, before it is set aside."""


@dataclass(slots=True)
class Subscriber:
    """Takes what a broker delivers. Lives through connections; each is a session, by what the
    settings say of the broker by then."""

    gateway: Gateway
    shown: Callable[[], tuple[Broker, Opening]]
    topics: Topics
    group: str
    max_body_bytes: int
    max_held_bytes: int
    report: Callable[[CoreChainError | None], None]
    """Hears what keeps us from the broker; None when nothing does."""
    _lacks: CoreChainError | None = None
    _tasks: "set[asyncio.Task[None]]" = field(default_factory=set)
    _mistake: BaseException | None = None
    """Of ours, outside of any verdict on a message: it ends the session."""

    async def session(self) -> None:
        """One connection, to its end. Raises BrokerUnavailable, BrokerRefused, and mistakes of ours
        that left messages without an end: they come again."""
        self._mistake = None
        max_packet = self.max_body_bytes + PACKET_OVERHEAD
        broker, opening = self.shown()
        link = Link(broker, opening, max_packet, self.max_held_bytes, self._arrived)
        # Until the broker has answered, what kept us from it last is all that is known.
        self.report(self._lacks or BrokerUnavailable("the broker: no answer yet"))
        try:
            session_present = await link.open(self.topics.filters(opening.version, self.group))
            log.info("subscribed", broker=broker.name, session_present=session_present)
            self.report(None)
            self.metrics.mqtt_subscribed.set(1)
            await link.until_ended()
        except (BrokerUnavailable, BrokerRefused) as error:
            if self._mistake is not None:
                raise self._mistake from None
            self._lacks = error
            raise
        finally:
            self.metrics.mqtt_subscribed.set(0)
            # First, for the rest waits, and may be cancelled itself.
            self._give_up()
            await link.close()

    def _give_up(self) -> None:
        """What is not acknowledged comes again on the next connection: it is not ours any more."""
        for task in self._tasks:
            task.cancel()
        self.metrics.mqtt_held.set(0)

    @property
    def metrics(self) -> Metrics:
        return self.gateway.metrics

    def _arrived(self, link: Link, messages: Sequence[Held]) -> None:
        """The messages of one read share a task, and a frame."""
        traces = self.metrics.traces
        if traces.on:
            for held in messages:
                held.sampled = sampled(held.message.traceparent, traces.ratio)
        task = asyncio.get_running_loop().create_task(self._take(link, messages))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._taken(link, done))
        self.metrics.mqtt_held.set(len(link.held))

    def _taken(self, link: Link, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # Nobody waits for the task: its messages would be held, unseen, for ever.
            self._mistake = task.exception()
            link.fail()

    # ------------------------------------------------------------------ messages

    async def _take(self, link: Link, messages: Sequence[Held]) -> None:
        started = time.perf_counter()
        singles, others = self._singles.part(messages)
        if not others:
            await self._take_singles(link, singles, started)
        elif not singles:
            await self._take_others(link, others, started)
        else:
            both = self._take_singles, self._take_others
            parts = zip(both, (singles, others), strict=True)
            await asyncio.gather(*(take(link, part, started) for take, part in parts))

    @property
    def _singles(self) -> Singles:
        return Singles(self.topics.prefix, self.max_body_bytes, self.gateway.suspects)

    async def _take_singles(self, link: Link, singles: Sequence[Held], started: float) -> None:
        try:
            faults = await self._faults(joined(singles), lambda: "")
        except Exception:
            # A mistake of ours: which of them it is about is found out as with all others.
            await self._take_others(link, singles, started)
            return
        good = [held for held, fault in zip(singles, faults, strict=True) if fault is None]
        self._finish_singles(link, good, time.perf_counter() - started)
        letters = []
        for held, fault in zip(singles, faults, strict=True):
            if fault is not None:
                letter = await self._opened(held)
                letter.learn([fault])
                self.gateway.suspects.note(letter.peer, letter.faults)
                letters.append(letter)
        await self._settle(link, letters, started)

    async def _take_others(self, link: Link, messages: Sequence[Held], started: float) -> None:
        letters = [await self._opened(held) for held in messages]
        await self._decide_fairly([letter for letter in letters if letter.undecided])
        await self._settle(link, letters, started)

    async def _settle(self, link: Link, letters: Sequence[Letter], started: float) -> None:
        """Finishes letters, and asks again about those that are not decided."""
        pause_s = FIRST_PAUSE_S
        while letters:
            decided = [letter for letter in letters if not letter.undecided]
            self._finish(link, decided, time.perf_counter() - started)
            letters = [letter for letter in letters if letter.undecided]
            if letters:
                # The broker waits with its next messages as long as we do not acknowledge these.
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                # Apart: what keeps one back, as a journal that does not know it, is not for all.
                await asyncio.gather(*(self._decide_fairly([letter]) for letter in letters))
                self._give_up_late(letters, started)

    def _give_up_late(self, letters: Sequence[Letter], started: float) -> None:
        # Before the registry was read once nobody is known: then all of them wait.
        registry = self.gateway.registry
        if time.perf_counter() - started > LOOK_UP_S and registry.seen is not None:
            for letter in letters:
                letter.give_up(registry.view)

    async def _opened(self, held: Held) -> Letter:
        given = (held, self.topics, self.gateway.domain, self.max_body_bytes)
        if len(held.message.payload) <= INLINE_BYTES:
            return opened(*given)
        return await self.gateway.work.workers.run(opened, *given)

    async def _decide_fairly(self, letters: Sequence[Letter]) -> None:
        """Those who have sent forged reports lately share no frame with the others. What is
        followed is a request of its own: it may share a frame, whose part it is then known to be.
        """
        suspects = self.gateway.suspects
        groups: tuple[list[Letter], list[Letter]] = ([], [])
        followed = [letter for letter in letters if letter.held.sampled]
        for letter in letters:
            if not letter.held.sampled:
                groups[suspects.has(letter.peer)].append(letter)
        await asyncio.gather(*map(self._decide, groups), *map(self._decide_followed, followed))
        for letter in letters:
            suspects.note(letter.peer, letter.faults)

    async def _decide_followed(self, letter: Letter) -> None:
        assert letter.held.sampled is not None
        token = CURRENT.set(letter.held.sampled.own)
        try:
            await self._decide([letter])
        finally:
            CURRENT.reset(token)

    async def _decide(self, letters: Sequence[Letter]) -> None:
        """Asks the gateway about the undecided reports of all of them at once."""
        if not letters:
            return
        parts = [letter.columns for letter in letters]
        columns = parts[0] if len(parts) == 1 else columns_of(b"".join(p.packed for p in parts))
        try:
            faults = await self._faults(columns, letters[0].peer)
        except Exception as error:
            await self._decide_alone(letters, error)
            return
        start = 0
        for letter, part in zip(letters, parts, strict=True):
            letter.learn(faults[start : start + len(part)])
            start += len(part)

    async def _faults(self, columns: Columns, peer: Peer) -> list[Fault]:
        try:
            return await self.gateway.take(columns, peer)
        except ProtocolError as error:
            return [error] * len(columns)

    async def _decide_alone(self, letters: Sequence[Letter], error: Exception) -> None:
        """A mistake of ours. One message must neither hold up the others nor come for ever."""
        if len(letters) > 1:
            for letter in letters:
                await self._decide([letter])
            return
        (letter,) = letters
        letter.mistakes += 1
        log.error("message failed", topic=letter.held.message.topic, exc_info=error)
        if letter.mistakes >= MISTAKES:
            await self._set_aside(letter)

    async def _set_aside(self, letter: Letter) -> None:
        payload = letter.held.message.payload
        try:
            await self.gateway.bus.keep_dead_letter(0, payload, InternalError.__name__)
        except TransportError as error:
            log.warning("message not set aside", error=str(error))  # and tried again
            return
        self.metrics.dead_letters.labels(InternalError.__name__).inc()
        letter.error, letter.undecided = InternalError("the gateway failed on this message"), []

    def _finish_singles(self, link: Link, singles: Sequence[Held], seconds: float) -> None:
        self.metrics.mqtt_messages.labels("accepted").inc(len(singles))
        for _ in singles:
            self.metrics.accept_seconds.observe(seconds)
        link.finish(singles)
        self.metrics.mqtt_held.set(len(link.held))

    def _finish(self, link: Link, letters: Sequence[Letter], seconds: float) -> None:
        """Counts, answers and acknowledges, in this order: what ends in between comes again."""
        for letter in letters:
            refusals = letter.refusals()
            for error in refusals:
                self.metrics.reports_rejected.labels(error.name).inc()
            self.metrics.mqtt_messages.labels("refused" if refusals else "accepted").inc()
            if letter.replays():
                self.metrics.reports_rejected.labels("ReplayedSequence").inc(letter.replays())
            if None in letter.faults:
                self.metrics.accept_seconds.observe(seconds)
            self._trace(letter, not refusals, seconds)
            answer = letter.answer(self.topics)
            if answer is not None:
                said = "sent" if link.publish(answer) else "dropped"
                self.metrics.mqtt_answers.labels(said).inc()
        link.finish([letter.held for letter in letters])
        self.metrics.mqtt_held.set(len(link.held))

    def _trace(self, letter: Letter, is_taken: bool, seconds: float) -> None:
        """From its arrival to what it is acknowledged for. The topic is not told: its sender chose
        it."""
        if letter.held.sampled is None:
            return
        own, parent = letter.held.sampled
        facts: dict[str, str | int] = {
            "messaging.system": "mqtt",
            "corechain.outcome": "accepted" if is_taken else "refused",
        }
        now = time.time()
        times = now - seconds, now
        span = Span("gateway", "MQTT reports", own, *times, parent, facts=facts, serves=True)
        self.metrics.traces.emit(span)
