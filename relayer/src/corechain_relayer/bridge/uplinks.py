"""Uplinks of LoRaWAN devices from the broker of their network server, at QoS 1.

A message is acknowledged when its observations are on our disk, or when it is refused for good.
What is not acknowledged comes again, after a crash of ours as after one of the broker's, and is a
Duplicate then where it was taken before.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from corechain.protocol.errors import (
    BodyTooLarge,
    CoreChainError,
    Overloaded,
    ProtocolError,
    Unavailable,
)
from corechain.service.supervision import side_by_side
from corechain.service.tracing import Sampled, Span, sampled
from corechain_relayer.bridge.errors import Internal, places_of
from corechain_relayer.bridge.intake import Intake, Outcome
from corechain_relayer.bridge.settings import PREFIX, Settings, filters_of
from corechain_relayer.bridge.topics import Uplink, uplink_of
from corechain_relayer.mqtt.errors import BrokerRefused, BrokerUnavailable
from corechain_relayer.mqtt.flow import Held
from corechain_relayer.mqtt.link import Link

log = structlog.get_logger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
"""Between two tries of what could not be taken: a full queue may have room in a moment."""
AT_ONCE = 256
"""Messages in one transaction, as uploads over HTTP."""
PACKET_OVERHEAD = 1 << 17
"""A packet is longer than its payload: a topic and properties of 65,535 bytes each at most."""
MISTAKES = 3
"""So often one message may fail in a way that nobody foresaw, before it is refused."""


@dataclass(slots=True)
class Uplinks:
    """Takes what a broker delivers, in order. Lives through connections; each is a session."""

    settings: Settings
    intake: Intake
    report: Callable[[CoreChainError | None], None]
    """Hears what keeps us from our work; None when nothing does."""
    _lacks: CoreChainError | None = None
    _arrived: "asyncio.Queue[Held]" = field(default_factory=asyncio.Queue)

    async def session(self) -> None:
        """One connection, to its end. Raises BrokerUnavailable, BrokerRefused."""
        link, metrics = self._link(), self.intake.metrics
        # Until the broker has answered, what kept us from it last is all that is known.
        name = self.settings.broker.name
        self.report(self._lacks or BrokerUnavailable("the broker: no answer yet"))
        try:
            await link.open(filters_of(self.settings.mqtt_topics))
            log.info("subscribed", broker=name)
            self.report(None)
            metrics.mqtt_subscribed.set(1)
            await side_by_side(link.until_ended(), self._take_forever(link))
        except BrokerRefused as error:
            self._lacks = BrokerRefused(_in_our_words(str(error)))
            raise self._lacks from None
        except BrokerUnavailable as error:
            self._lacks = error
            raise
        finally:
            metrics.mqtt_subscribed.set(0)
            metrics.mqtt_held.set(0)
            await link.close()

    def _link(self) -> Link:
        """A connection with a queue of its own: what the last one has left comes again."""
        settings = self.settings
        arrived: asyncio.Queue[Held] = asyncio.Queue()
        self._arrived = arrived

        def deliver(link: Link, messages: Sequence[Held]) -> None:
            traces = self.intake.metrics.traces
            for held in messages:
                if traces.on:
                    held.sampled = sampled(held.message.traceparent, traces.ratio)
                    held.arrived_at = time.time()
                arrived.put_nowait(held)
            self.intake.metrics.mqtt_held.set(len(link.held))

        limits = (settings.max_body_bytes + PACKET_OVERHEAD, settings.max_bodies_bytes)
        return Link(settings.broker, settings.opening, *limits, deliver)

    async def _take_forever(self, link: Link) -> None:
        while True:
            messages = [await self._arrived.get()]
            while len(messages) < AT_ONCE and not self._arrived.empty():
                messages.append(self._arrived.get_nowait())
            await self._take(link, messages)

    async def _take(self, link: Link, messages: Sequence[Held]) -> None:
        """Until all are decided. Nothing overtakes a message that has to wait: of two uplinks of a
        device the later one, taken first, would make the other OutOfOrder."""
        pause_s, mistakes = FIRST_PAUSE_S, 0
        while messages:
            outcomes = await self._outcomes(messages)
            decided = [one for one in outcomes if not _is_later(one)]
            if isinstance(outcomes[-1], Internal) and mistakes < MISTAKES - 1:
                decided, mistakes = [], mistakes + 1
            self._finish(link, messages[: len(decided)], decided)
            messages = messages[len(decided) :]
            if decided:
                pause_s, mistakes = FIRST_PAUSE_S, 0
            else:
                assert isinstance(outcomes[-1], CoreChainError)
                self.report(outcomes[-1])
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        self.report(None)

    async def _outcomes(self, messages: Sequence[Held]) -> list[Outcome]:
        """Of the first message at least; the last may be one that has to wait."""
        opened = [self._opened(held) for held in messages]
        if isinstance(opened[0], ProtocolError):
            return [opened[0]]
        uplinks = _until_error(opened)
        try:
            return await self.intake.uplinks(uplinks)
        except ProtocolError as error:  # the disk's outage: nothing of it was taken
            return [error]
        except Exception as error:
            # Which of them it is shows when the first goes alone.
            return [_mistake(error)] if len(messages) == 1 else await self._outcomes(messages[:1])

    def _opened(self, held: Held) -> Uplink | ProtocolError:
        limit = self.settings.max_body_bytes
        try:
            if held.message.too_long or len(held.message.payload) > limit:
                raise BodyTooLarge(limit)
            trace = b"".join(held.sampled.own) if held.sampled else None
            return uplink_of(held.message.topic, held.message.payload, trace)
        except ProtocolError as error:
            return error

    def _finish(self, link: Link, messages: Sequence[Held], outcomes: Sequence[Outcome]) -> None:
        """Counts and acknowledges, in this order: what ends in between comes again."""
        for held, outcome in zip(messages, outcomes, strict=True):
            if isinstance(outcome, CoreChainError):
                self._count_refusal(held, outcome)
            if held.sampled is not None:
                self._trace(held, held.sampled, isinstance(outcome, CoreChainError))
        link.finish(messages)
        self.intake.metrics.mqtt_held.set(len(link.held))

    def _trace(self, held: Held, followed: Sampled, is_refused: bool) -> None:
        facts: dict[str, str | int] = {
            "messaging.system": "mqtt",
            "corechain.outcome": "refused" if is_refused else "accepted",
        }
        times = held.arrived_at, time.time()
        span = Span("bridge", "MQTT uplink", followed.own, *times, followed.parent, facts=facts)
        self.intake.metrics.traces.emit(span)

    def _count_refusal(self, held: Held, error: CoreChainError) -> None:
        opened = self._opened(held)
        name = opened.format.name if isinstance(opened, Uplink) else "none"
        self.intake.refused(name, error)


def _mistake(error: Exception) -> Internal:
    log.error("message failed", kind=type(error).__name__, trace=places_of(error))
    return Internal("the bridge failed on this message")


def _until_error(opened: Sequence[Uplink | ProtocolError]) -> list[Uplink]:
    """Those before the first that is refused already: that one gets its turn, in order."""
    found: list[Uplink] = []
    for one in opened:
        if isinstance(one, ProtocolError):
            break
        found.append(one)
    return found


def _is_later(outcome: Outcome) -> bool:
    """Whether everybody has to wait: a limit of one station would hold up the others."""
    return isinstance(outcome, (Overloaded, Unavailable))


def _in_our_words(text: str) -> str:
    """What to set, where the connection names settings of the relayer: ours are called alike."""
    topics = "RELAYER_MQTT_PREFIX or RELAYER_MQTT_GROUP"
    return text.replace(topics, f"{PREFIX}MQTT_TOPICS").replace("RELAYER_", PREFIX)
