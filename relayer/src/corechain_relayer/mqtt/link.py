"""One connection to a broker, from CONNECT to its end. What comes after is another one."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

from corechain.service.reasons import reason_of
from corechain_relayer.mqtt import packets
from corechain_relayer.mqtt.broker import Broker
from corechain_relayer.mqtt.decoder import Decoder
from corechain_relayer.mqtt.errors import BrokerRefused, BrokerUnavailable
from corechain_relayer.mqtt.flow import Answer, Held, HeldMessages, Outbox
from corechain_relayer.mqtt.packets import (
    Acknowledged,
    Connected,
    Disconnected,
    MalformedPacket,
    Message,
    Opening,
    Packet,
    Released,
    Subscribed,
    Version,
)

CONNECT_S = 20.0
"""Within this the broker has to have answered everything: a loaded one takes its time for TLS."""
GOODBYE_S = 1.0
"""A broker that does not take our last words does not need them."""
TAKEN_OVER = 0x8E
_CREDENTIALS = "set the user in RELAYER_MQTT_URL, and RELAYER_MQTT_PASSWORD"
_VERSION = "set RELAYER_MQTT_VERSION"
_CLIENT = "set RELAYER_MQTT_CLIENT_ID"
_REFUSALS = {
    Version.V3_1_1: {
        1: ("it does not speak MQTT 3.1.1", _VERSION),
        2: ("it does not take our client id", _CLIENT),
        4: ("wrong user or password", _CREDENTIALS),
        5: ("not authorised", _CREDENTIALS),
    },
    Version.V5: {
        1: ("it does not speak MQTT 5", _VERSION),  # as one of 3.1.1 says it
        0x84: ("it does not speak MQTT 5", _VERSION),
        0x85: ("it does not take our client id", _CLIENT),
        0x86: ("wrong user or password", _CREDENTIALS),
        0x87: ("not authorised", _CREDENTIALS),
        0x8A: ("we are banned", _CREDENTIALS),
        0x8C: ("wrong authentication method", _CREDENTIALS),
        TAKEN_OVER: ("another client is connected as we are", _CLIENT),
    },
}
"""Code → what is wrong, and what an operator has to do. Other refusals may end by themselves."""

Deliver = Callable[["Link", Sequence[Held]], None]


@dataclass(slots=True, eq=False)
class Link(asyncio.Protocol):
    """Hands out the messages of each read together, and acknowledges those that are done.

    Reading stops while more than `max_held` messages or `max_held_bytes` are held. Brokers of
    MQTT 5 stop before that, at our receive maximum; those of 3.1.1 at a limit of their own.
    """

    broker: Broker
    opening: Opening
    max_packet: int
    max_held_bytes: int
    deliver: Deliver
    held: HeldMessages = field(default_factory=HeldMessages)
    _outbox: Outbox = field(default_factory=Outbox)
    _decoder: Decoder = field(init=False)
    _transport: asyncio.Transport | None = None
    _greetings: "asyncio.Queue[Connected | Subscribed]" = field(default_factory=asyncio.Queue)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)
    _lost: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the socket is closed, which is after the end."""
    _why: BrokerUnavailable | BrokerRefused | None = None
    _pinging: asyncio.TimerHandle | None = None
    _is_paused: bool = False
    _heard_at: float = 0.0

    def __post_init__(self) -> None:
        self._decoder = Decoder(self.opening.version, self.max_packet)

    @property
    def max_held(self) -> int:
        # Twice: a broker that keeps to our maximum is never stopped by us.
        return 2 * self.opening.receive_maximum

    # ------------------------------------------------------------------ its life

    async def open(self, filters: Sequence[str]) -> bool:
        """Connects and subscribes. Whether the broker still had our session.

        Raises BrokerUnavailable, BrokerRefused.
        """
        loop, address = asyncio.get_running_loop(), (self.broker.host, self.broker.port)
        try:
            async with asyncio.timeout(CONNECT_S):
                await loop.create_connection(lambda: self, *address, ssl=self.broker.context())
                greeting = await self._greeting()
                assert isinstance(greeting, Connected)
                self._require_success(greeting)
                packet_id = self._outbox.new_id()
                self._write(packets.subscribe(self.opening.version, packet_id, filters))
                self._require_subscribed(await self._greeting(), filters)
        except TimeoutError:
            raise self._unavailable(f"no answer within {CONNECT_S:g} s") from None
        except OSError as error:
            raise self._lost_by(error) from error
        return greeting.session_present

    async def until_ended(self) -> None:
        """Raises why the connection ended: BrokerUnavailable, BrokerRefused."""
        await self._ended.wait()
        raise self._why or self._unavailable("the connection ended")

    async def close(self) -> None:
        """Says good-bye. The broker keeps our session, with all that was not acknowledged."""
        transport = self._transport
        if transport is not None and not self._ended.is_set():
            self._write(packets.disconnect())
            transport.close()
        self._end()
        if transport is not None:
            try:
                async with asyncio.timeout(GOODBYE_S):
                    await self._lost.wait()
            except TimeoutError:
                transport.abort()

    async def _greeting(self) -> Connected | Subscribed:
        """The next answer while the connection opens. Raises what ended it instead."""
        came = asyncio.ensure_future(self._greetings.get())
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait((came, ended), return_when=asyncio.FIRST_COMPLETED)
            if not came.done():
                await self.until_ended()
            return came.result()
        finally:
            came.cancel()
            ended.cancel()

    def _require_success(self, connected: Connected) -> None:
        if connected.code:
            raise self._refused(connected.code)
        alive = self._limit(connected, packets.SERVER_KEEP_ALIVE, self.opening.keep_alive_s)
        outbox = self._outbox
        in_flight = self._limit(connected, packets.RECEIVE_MAXIMUM, outbox.most_in_flight)
        outbox.most_in_flight = min(outbox.most_in_flight, in_flight)
        outbox.most_bytes = self._limit(connected, packets.MAXIMUM_PACKET, outbox.most_bytes)
        self._heard_at = time.monotonic()
        if alive:
            self._ping_every(alive)

    @staticmethod
    def _limit(connected: Connected, name: int, ours: int) -> int:
        """What the broker says of it (MQTT 5), else what we have said, or take for granted."""
        said = connected.properties.get(name, ours)
        assert isinstance(said, int), "numbers by the table of properties"
        return said

    def _require_subscribed(self, answer: Connected | Subscribed, filters: Sequence[str]) -> None:
        if isinstance(answer, Subscribed) and all(code < 0x80 for code in answer.codes):
            return
        raise BrokerRefused(
            f"the broker does not let us subscribe to {', '.join(filters)}: allow it for "
            "our user, or set RELAYER_MQTT_PREFIX or RELAYER_MQTT_GROUP"
        )

    def _refused(self, code: int) -> BrokerUnavailable | BrokerRefused:
        known = _REFUSALS[self.opening.version].get(code)
        if known is None:
            return self._unavailable(f"it refuses us with code 0x{code:02x}")
        why, cure = known
        return BrokerRefused(f"the broker refuses us, {why}: {cure}")

    def _lost_by(self, error: Exception | None) -> BrokerUnavailable | BrokerRefused:
        refusal = self.broker.refusal(error)
        if refusal is not None:
            return refusal
        why = "it closed the connection" if error is None else reason_of(error)
        return self._unavailable(why)

    def _unavailable(self, why: str) -> BrokerUnavailable:
        return BrokerUnavailable(f"the broker: {why}")

    def _end(self, why: BrokerUnavailable | BrokerRefused | None = None) -> None:
        """The first reason counts: what follows from it says less."""
        if self._pinging is not None:
            self._pinging.cancel()
        if not self._ended.is_set():
            self._why = why
            self._ended.set()
        if self._transport is not None and why is not None:
            self._transport.abort()

    def _ping_every(self, seconds: int) -> None:
        loop = asyncio.get_running_loop()
        # Half of it: the broker gives us half again as much, and a loaded machine is late.
        self._pinging = loop.call_later(seconds / 2, self._ping, seconds)

    def _ping(self, seconds: int) -> None:
        silent_s = time.monotonic() - self._heard_at
        # Who does not read hears nothing, and has no right to complain.
        if not self._is_paused and silent_s > 1.5 * seconds:
            self._end(self._unavailable(f"it has said nothing for {silent_s:.0f} s"))
            return
        self._write(packets.PING)
        self._ping_every(seconds)

    # ------------------------------------------------------------------ asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have asyncio's methods, and are none of its class.
        self._transport = cast(asyncio.Transport, transport)
        self._write(packets.connect(self.opening))

    def connection_lost(self, error: Exception | None) -> None:
        self._end(self._lost_by(error))
        self._lost.set()

    def data_received(self, data: bytes) -> None:
        self._heard_at = time.monotonic()
        held: list[Held] = []
        try:
            for packet in self._decoder.feed(data):
                if isinstance(packet, Message):
                    held.append(self.held.add(packet))
                else:
                    self._heard(packet)
        except MalformedPacket as error:
            self._end(self._unavailable(str(error)))
        if held:
            self.deliver(self, held)
            self._pause_or_go_on()

    def _heard(self, packet: Packet) -> None:
        if isinstance(packet, Acknowledged):
            self._outbox.taken(packet.packet_id)
            self._send_answers()
        elif isinstance(packet, Released):
            self._write(packets.completed(packet.packet_id))
        elif isinstance(packet, (Connected, Subscribed)):
            self._greetings.put_nowait(packet)
        elif isinstance(packet, Disconnected):
            self._end(self._refused(packet.code))

    def fail(self) -> None:
        """Ends the connection for a mistake of ours: what is not acknowledged comes again."""
        self._end(self._unavailable("we gave up on what it sent"))

    # ------------------------------------------------------------------ what we say

    def finish(self, held: Sequence[Held]) -> None:
        """The messages are durable, or refused for good: they need not come again."""
        self._write(b"".join(map(packets.acknowledgement, self.held.done(held))))
        self._pause_or_go_on()

    def publish(self, answer: Answer) -> bool:
        """Sends an answer as soon as the broker takes it. False when too many wait already, or it
        is longer than the broker takes."""
        is_put = self._outbox.put(answer)
        self._send_answers()
        return is_put

    def _send_answers(self) -> None:
        version = self.opening.version
        for packet_id, answer in self._outbox.to_send():
            head = (version, packet_id, answer.topic, answer.payload)
            self._write(packets.publish(*head, answer.correlation, answer.content_type))

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None and not self._ended.is_set():
            self._transport.write(data)

    def _pause_or_go_on(self) -> None:
        full = len(self.held) >= self.max_held or self.held.bytes_held >= self.max_held_bytes
        if full == self._is_paused or self._transport is None or self._ended.is_set():
            return
        self._is_paused = full
        if full:
            self._transport.pause_reading()
        else:
            self._heard_at = time.monotonic()
            self._transport.resume_reading()
