"""librdkafka's clients: how they are set, made, and asked. Blocking: call them in threads.

Everything that is asked has a deadline, and every failure is a BusUnavailable. librdkafka connects
again by itself for as long as the link lives.
"""

import re
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from functools import partial
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from corechain.service.settings import InvalidSetting
from corechain_relayer.bus.kafka.address import KafkaAddress
from corechain_relayer.bus.kafka.guard import LARGEST_FRAME
from corechain_relayer.bus.kafka.renewal import Options, SetTo
from corechain_relayer.errors import BusAccessRefused, BusUnavailable

log = structlog.get_logger(__name__)

ASK_S = 10.0
"""A question's deadline: longer than a cluster takes to choose another leader or controller."""
LEADER_S = 2.0
"""So long a leader that leads still is asked before it is asked again. The admin client goes on
asking the one it knows, dead or not, and would spend the whole deadline on it."""
DOWN_S = 1.0
"""So long an answer is waited for while no broker can be reached."""
SEND_S = 20.0
"""So long librdkafka tries to append: a broker's failure takes a cluster 6 to 9 s. What it could
not append by then may be there or not, and the device sends it again."""
SLICE_S = 0.2
"""How often a blocked thread looks whether the process ends."""
CLIENT = {
    "client.id": "corechain-relayer",
    # A broker that is back is used at once: the default waits up to 10 s between attempts.
    "reconnect.backoff.max.ms": "1000",
    # Between questions who leads a lane now, and between attempts to append to it. The default of
    # 1 s would be added to each failover, twice; a handful of processes can ask more often.
    "retry.backoff.max.ms": "250",
    "socket.timeout.ms": "10000",
    # Each attempt to connect would be a line on stderr; what went wrong is in our own errors.
    "log_level": "0",
}
PRODUCER = {
    "acks": "all",
    "enable.idempotence": "true",
    "compression.type": "none",  # signatures do not shrink
    "message.timeout.ms": str(int(SEND_S * 1000)),
    "message.max.bytes": str(LARGEST_FRAME),
    # A group is flushed as a whole, so it need not wait for more.
    "linger.ms": "5",
}
CONSUMER = {
    "enable.auto.commit": "false",
    "enable.auto.offset.store": "false",
    # Half of the default: a lane's frames wait in the log, not in our memory.
    "queued.max.messages.kbytes": "16384",
    "fetch.queue.backoff.ms": "50",
    # Nothing waits for it: a fetch is answered as soon as there is a frame.
    "fetch.wait.max.ms": "1000",
    "fetch.message.max.bytes": str(4 << 20),
    "receive.message.max.bytes": str(LARGEST_FRAME + (4 << 20)),
    "message.max.bytes": str(LARGEST_FRAME),
}
PASSING = frozenset(
    {
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError._NOENT,  # no leader is known
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._WAIT_COORD,
    }
)
"""Answers of a cluster that is about to have what was asked for: a new group, a new leader."""
PASSING_S = 0.1
RETIRED_S = 30.0
"""So long clients of before are kept: longer than a question, or an append, takes. librdkafka does
not like to be ended under one."""
REFUSALS = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
UNREACHABLE = "Kafka: no broker can be reached"
SILENT_END = (
    "connections end without a word, as those do that speak another security.protocol than the "
    "listener (RELAYER_KAFKA_OPTIONS)"
)
Leaders = Mapping[int, int]
"""The broker that leads each lane of a topic, by its node id."""
_PLACE = re.compile(r"""[^\s'"]+:\d{2,5}\b(/\w+)?""")
"""Of a broker, as librdkafka writes it: `sasl_ssl://host:9093/bootstrap`, `ipv4#10.0.0.1:9092`."""
_PROPERTY = re.compile(r'property[: ]*"?([\w.]+)')


def said_of(error: Any) -> str:
    """The text of a KafkaError but for the brokers' addresses, since `/ready` shows it."""
    return _PLACE.sub("the broker", error.str())


def unavailable(error: Exception) -> BusUnavailable:
    told = error.args[0] if error.args else None
    if isinstance(told, KafkaError) and told.code() in REFUSALS:
        return trouble_of(told)
    return BusUnavailable(f"Kafka: {_PLACE.sub('the broker', str(error)) or type(error).__name__}")


def trouble_of(error: Any) -> BusUnavailable:
    """What librdkafka says of its connections; it names users and mechanisms, never a secret."""
    said = said_of(error)
    if error.code() in REFUSALS:
        return BusAccessRefused(f"Kafka: access refused: {said}", "RELAYER_KAFKA_OPTIONS")
    return BusUnavailable(f"{UNREACHABLE}: {said}")


def check_options(address: KafkaAddress, options: Mapping[str, str]) -> None:
    """Raises InvalidSetting, which names the option that librdkafka does not take; no value."""
    try:
        Producer({**CLIENT, **options, "bootstrap.servers": ""})
    except KafkaException as error:
        named = _PROPERTY.search(error.args[0].str())
        what = f"{named[1]} is wrong or unknown" if named else "librdkafka does not take them"
        raise InvalidSetting(f"RELAYER_KAFKA_OPTIONS: {what}") from None


def raise_error(message: Any) -> Any:
    """The message. Raises KafkaException where it is an error instead."""
    if message.error() is not None:
        raise KafkaException(message.error())
    return message


class _LeaderMoved(Exception):
    """Another broker leads: the question may have gone to one that is dead."""


class Clients:
    """Of one cluster, each made when it is first needed, and again when what they are set to has
    changed since. `again`: the options as their setting has them by now; may raise ValueError."""

    def __init__(
        self,
        address: KafkaAddress,
        options: Options,
        again: Callable[[], Options] | None = None,
    ) -> None:
        self.address = address
        self._set_to, self._again = SetTo.of(options), again or (lambda: options)
        self.generation = 0
        """Of the clients: what was made before the last change is of an earlier one."""
        self._retired: list[tuple[float, Any]] = []
        self._down_since: float | None = None
        self._trouble: BusUnavailable | None = None
        self._closing = threading.Event()
        self._making, self._reading = threading.Lock(), threading.Lock()
        self._polling = threading.Lock()
        self._clients: dict[str, Any] = {}
        self._read_at: tuple[str, int, int] | None = None
        self.leaders: dict[str, Leaders] = {}

    # ------------------------------------------------------------------ clients

    def _config(self, *more: Mapping[str, str]) -> dict[str, Any]:
        config: dict[str, Any] = {**CLIENT, "bootstrap.servers": self.address.brokers}
        for part in more:
            config |= part
        heard = partial(self._on_error, self.generation)
        return config | dict(self._set_to.options) | {"error_cb": heard}

    def _on_error(self, generation: int, error: Any) -> None:
        if generation != self.generation:
            return
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._down_since = self._down_since or time.monotonic()
        else:
            self._trouble = trouble_of(error)
        self._renew()

    def _renew(self) -> None:
        """Of any trouble: a listener that wants TLS since ends connections without a word."""
        with self._making:
            now = self._set_to.again(self._again, partial(check_options, self.address))
            if now == self._set_to:
                return
            self._set_to, self._down_since, self._trouble = now, None, None
            self.generation += 1
            self._retired += [(time.monotonic(), one) for one in self._clients.values()]
            self._clients, self._read_at = {}, None
            log.info("other options or certificates of Kafka")

    def _made(self, name: str, make: Callable[[], Any]) -> tuple[Any, int]:
        """The client, and its generation. Raises BusUnavailable where a file with certificates is
        gone, or half written, when it is made."""
        # Made and kept in one step: one of before a change, kept after it, would never be let in.
        with self._making:
            if name not in self._clients:
                try:
                    self._clients[name] = make()
                except KafkaException as error:
                    raise unavailable(error) from error
            made, ended = (self._clients[name], self.generation), self._take_ended()
        del ended  # librdkafka waits for its threads here: without the lock
        return made

    def _take_ended(self) -> list[Any]:
        """Clients of before, by now of no use to anybody. They would ask to be let in for ever."""
        past = time.monotonic() - RETIRED_S
        ended = [one for since, one in self._retired if since <= past]
        self._retired = [item for item in self._retired if item[0] > past]
        return ended

    @property
    def _admin(self) -> Any:
        return self._made("admin", lambda: AdminClient(self._config()))[0]

    @property
    def _reader(self) -> Any:
        # What is gone from the log was acknowledged: reading goes on with what is left.
        return self._made("reader", lambda: self.consumer("earliest"))[0]

    def consumer(self, reset: str) -> Any:
        """A client that reads. It joins no group: it is assigned what it reads."""
        own = {"group.id": self.address.group, "auto.offset.reset": reset}
        return Consumer(self._config(CONSUMER, own))

    def _sender(self) -> tuple[Any, int]:
        return self._made("producer", lambda: Producer(self._config(PRODUCER)))

    def close(self) -> None:
        """Threads that wait for an answer give up."""
        self._closing.set()

    # ------------------------------------------------------------------ asking

    def _asked(
        self, asked: Mapping[Any, "Future[Any]"], listen: Callable[[], None] = lambda: None
    ) -> dict[Any, Any]:
        """All answers. `listen` is called while they are waited for, and ends the waiting when it
        raises. Raises BusUnavailable; KafkaException where the answer is a refusal."""
        deadline = time.monotonic() + ASK_S
        return {key: self._answer(future, deadline, listen) for key, future in asked.items()}

    def _answer(self, future: "Future[Any]", deadline: float, listen: Callable[[], None]) -> Any:
        started = time.monotonic()
        while True:
            try:
                answer = future.result(SLICE_S)
            except FutureTimeout:
                self._require_reachable(started)
                listen()
                if time.monotonic() > deadline or self._closing.is_set():
                    raise BusUnavailable("Kafka: no answer in time") from None
            else:
                return answer

    def _require_reachable(self, since: float) -> None:
        """Raises BusUnavailable when no broker could be connected to for a while."""
        self._hear_errors()
        down = self._down_since
        if down is not None and time.monotonic() - max(down, since) > DOWN_S / 2:
            raise self._trouble or BusUnavailable(f"{UNREACHABLE}: {SILENT_END}")

    def _hear_errors(self) -> None:
        """Calls `_on_error`: librdkafka's client is polled by one thread at a time."""
        if self._polling.acquire(blocking=False):
            try:
                self._admin.poll(0)
            finally:
                self._polling.release()

    def answered(
        self, topic: str, ask: Callable[[], Mapping[Any, "Future[Any]"]]
    ) -> dict[Any, Any]:
        """The same, asked again while a leader or a coordinator is only about to be one, and as
        soon as another broker leads than when it was asked."""
        started = time.monotonic()
        deadline = started + ASK_S
        while True:
            known = self.leaders.get(topic)
            try:
                return self._asked(ask(), partial(self._require_same_leaders, topic, known))
            except _LeaderMoved:
                continue
            except KafkaException as error:
                self._learn_leaders(topic)
                self._require_reachable(started)
                late = time.monotonic() > deadline or self._closing.is_set()
                if late or error.args[0].code() not in PASSING:
                    raise unavailable(error) from error
            self._closing.wait(PASSING_S)

    def _require_same_leaders(self, topic: str, known: Leaders | None) -> None:
        """Raises _LeaderMoved. A leader that is gone never says so; those that are there do."""
        self._learn_leaders(topic)
        if self.leaders.get(topic) != known:
            raise _LeaderMoved

    def _learn_leaders(self, topic: str) -> None:
        """The admin client keeps a leader's epoch, and asks by it for ever, until it is told."""
        with suppress(KafkaException):
            found = self._admin.list_topics(topic, timeout=DOWN_S).topics[topic].partitions
            self.leaders[topic] = {lane: state.leader for lane, state in found.items()}
