"""Blocking conversations with a Kafka cluster, by librdkafka. Call them in threads.

Everything that is asked has a deadline, and every failure is a BusUnavailable. librdkafka connects
again by itself for as long as the link lives.
"""

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from confluent_kafka import (
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from corechain.service.settings import InvalidSetting
from corechain_relayer.bus.kafka.address import KafkaAddress
from corechain_relayer.bus.kafka.guard import LARGEST_FRAME, TopicState
from corechain_relayer.bus.kafka.progress import Progress
from corechain_relayer.errors import BusAccessRefused, BusUnavailable

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
REFUSALS = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL})
UNREACHABLE = "Kafka: no broker can be reached"
SILENT_END = (
    "connections end without a word, as those do that speak another security.protocol than the "
    "listener (RELAYER_KAFKA_OPTIONS)"
)
Leaders = Mapping[int, int]
"""The broker that leads each lane of a topic, by its node id."""
_PROPERTY = re.compile(r'property[: ]*"?([\w.]+)')


@dataclass(frozen=True, slots=True)
class Record:
    """What is appended to a partition of a topic."""

    topic: str
    partition: int
    value: bytes
    headers: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Read:
    """What was read from one."""

    offset: int
    value: bytes
    headers: Mapping[str, bytes]


def _read(message: Any) -> Read:
    return Read(message.offset(), message.value() or b"", dict(message.headers() or ()))


def unavailable(error: Exception) -> BusUnavailable:
    return BusUnavailable(f"Kafka: {error or type(error).__name__}")


def trouble_of(error: Any) -> BusUnavailable:
    """What librdkafka says of its connections; it names users and mechanisms, never a secret."""
    if error.code() in REFUSALS:
        return BusAccessRefused(f"Kafka: access refused: {error.str()}")
    return BusUnavailable(f"{UNREACHABLE}: {error.str()}")


def check_options(address: KafkaAddress, options: Mapping[str, str]) -> None:
    """Raises InvalidSetting, which names the option that librdkafka does not take; no value."""
    try:
        Producer({**CLIENT, **options, "bootstrap.servers": ""})
    except KafkaException as error:
        named = _PROPERTY.search(error.args[0].str())
        what = f"{named[1]} is wrong or unknown" if named else "librdkafka does not take them"
        raise InvalidSetting(f"RELAYER_KAFKA_OPTIONS: {what}") from None


class _LeaderMoved(Exception):
    """Another broker leads: the question may have gone to one that is dead."""


class Link:
    """Clients of one cluster, each made when it is first needed."""

    def __init__(self, address: KafkaAddress, options: Mapping[str, str]) -> None:
        self.address = address
        self._options = dict(options)
        self._down_since: float | None = None
        self._trouble: BusUnavailable | None = None
        self._closing = threading.Event()
        self._making, self._reading = threading.Lock(), threading.Lock()
        self._polling = threading.Lock()
        self._producer: Any = None
        self._read_at: tuple[str, int, int] | None = None
        self.leaders: dict[str, Leaders] = {}

    # ------------------------------------------------------------------ clients

    def _config(self, *more: Mapping[str, str]) -> dict[str, Any]:
        config: dict[str, Any] = {**CLIENT, "bootstrap.servers": self.address.brokers}
        for part in more:
            config |= part
        return config | self._options | {"error_cb": self._on_error}

    def _on_error(self, error: Any) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._down_since = self._down_since or time.monotonic()
        else:
            self._trouble = trouble_of(error)

    @cached_property
    def _admin(self) -> Any:
        return AdminClient(self._config())

    @cached_property
    def _reader(self) -> Any:
        # What is gone from the log was acknowledged: reading goes on with what is left.
        return self.consumer("earliest")

    def consumer(self, reset: str) -> Any:
        """A client that reads. It joins no group: it is assigned what it reads."""
        own = {"group.id": self.address.group, "auto.offset.reset": reset}
        return Consumer(self._config(CONSUMER, own))

    def _sender(self) -> Any:
        with self._making:
            if self._producer is None:
                self._producer = Producer(self._config(PRODUCER))
            return self._producer

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

    def ends(self, topic: str, lanes: Iterable[int]) -> dict[int, int]:
        """How many records were ever appended to each partition, by lane."""
        return self._offsets(topic, lanes, OffsetSpec.latest())

    def starts(self, topic: str, lanes: Iterable[int]) -> dict[int, int]:
        """The first record of each partition that is still there, by lane."""
        return self._offsets(topic, lanes, OffsetSpec.earliest())

    def _offsets(self, topic: str, lanes: Iterable[int], which: Any) -> dict[int, int]:
        wanted = {TopicPartition(topic, lane): which for lane in lanes}
        deadline = time.monotonic() + ASK_S
        while True:
            found = self.answered(
                topic, lambda: self._admin.list_offsets(wanted, request_timeout=LEADER_S)
            )
            offsets = {where.partition: int(answer.offset) for where, answer in found.items()}
            # Instead of an error, where the leader is gone and the next one is not known yet.
            if min(offsets.values(), default=0) >= 0:
                self._down_since = None  # it answered; -1001 may come from nobody
                return offsets
            if time.monotonic() > deadline or self._closing.is_set():
                raise BusUnavailable(f"Kafka: {topic} has no leader")
            self._learn_leaders(topic)
            self._closing.wait(PASSING_S)

    def progress(self, lanes: Iterable[int]) -> dict[int, Progress]:
        """How far the aggregators are, by lane."""
        partitions = [TopicPartition(self.address.reports, lane) for lane in lanes]
        found: dict[int, Progress] = {}
        for where in self._committed(partitions):
            if where.error is not None:
                raise BusUnavailable(f"Kafka: {where.error.str()}")
            if where.offset != OFFSET_INVALID:
                found[where.partition] = Progress.of(where.offset, where.metadata or "")
        new = [lane for lane in (p.partition for p in partitions) if lane not in found]
        starts = self.starts(self.address.reports, new) if new else {}
        return found | {lane: Progress(start, start) for lane, start in starts.items()}

    def _committed(self, partitions: Sequence[Any]) -> Sequence[Any]:
        # Not the admin client's list_consumer_group_offsets: in librdkafka 2.16 it crashes the
        # process when the group's coordinator is only about to be one.
        deadline = time.monotonic() + ASK_S
        while True:
            started = time.monotonic()
            try:
                found = self._reader.committed(partitions, timeout=DOWN_S)
            except KafkaException as error:
                self._require_reachable(started)
                late = time.monotonic() > deadline or self._closing.is_set()
                if late or error.args[0].code() not in PASSING:
                    raise unavailable(error) from error
                self._closing.wait(PASSING_S)
            else:
                self._down_since = None
                return list(found)

    # ------------------------------------------------------------------ topics

    def brokers(self) -> int:
        """How many there are. Raises BusUnavailable."""
        try:
            return len(self._admin.list_topics(timeout=ASK_S).brokers)
        except KafkaException as error:
            raise unavailable(error) from error

    def describe(self, topics: Sequence[str]) -> dict[str, TopicState]:
        """Those of the topics that are there. Raises BusUnavailable."""
        names = TopicCollection(list(topics))
        asked = self._admin.describe_topics(names, request_timeout=ASK_S)
        found = {}
        for topic in topics:
            try:
                found[topic] = self._asked({topic: asked[topic]})[topic]
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise unavailable(error) from error
        self._down_since = None
        configs = self._topic_configs(list(found)) if found else {}
        return {topic: _state(answer, configs.get(topic)) for topic, answer in found.items()}

    def _topic_configs(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        """Of those of which we may ask."""
        resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
        try:
            asked = self._admin.describe_configs(resources, request_timeout=ASK_S)
            answers = self._asked(asked)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                return {}
            raise unavailable(error) from error
        return {
            resource.name: {name: str(entry.value) for name, entry in entries.items()}
            for resource, entries in answers.items()
        }

    def create(self, topic: str, partitions: int, copies: int, config: Mapping[str, str]) -> None:
        """Makes a topic; one that is there already stays. Raises BusUnavailable."""
        wanted = NewTopic(topic, partitions, copies, config=dict(config))
        self._change(
            self._admin.create_topics([wanted], request_timeout=ASK_S),
            KafkaError.TOPIC_ALREADY_EXISTS,
        )

    def grow(self, topic: str, partitions: int) -> None:
        """Adds partitions. Raises BusUnavailable."""
        more = [NewPartitions(topic, partitions)]
        self._change(self._admin.create_partitions(more, request_timeout=ASK_S))

    def delete(self, topic: str) -> None:
        """Raises BusUnavailable."""
        self._change(
            self._admin.delete_topics([topic], request_timeout=ASK_S),
            KafkaError.UNKNOWN_TOPIC_OR_PART,
        )

    def forget(self, topic: str, lane: int, before: int) -> None:
        """Deletes the records before an offset. Raises BusUnavailable."""
        upto = [TopicPartition(topic, lane, before)]
        self._change(self._admin.delete_records(upto, request_timeout=ASK_S))

    def _change(self, asked: Mapping[Any, "Future[Any]"], harmless: int | None = None) -> None:
        try:
            self._asked(asked)
        except KafkaException as error:
            if error.args[0].code() != harmless:
                raise unavailable(error) from error

    # ------------------------------------------------------------------ records

    def send(self, records: Sequence[Record]) -> list[int | BusUnavailable]:
        """Appends; each one's offset once all copies that have to be in time have it, or why it is
        not known to be there."""
        answers: list[int | BusUnavailable | None] = [None] * len(records)
        producer = self._sender()
        for index, record in enumerate(records):
            self._produce(producer, record, _Answer(answers, index, self))
        while None in answers and not self._closing.is_set():
            if producer.flush(SLICE_S):
                _tell_leaders(producer, records[0].topic)
        lost = BusUnavailable("Kafka: the process ends, and whether the frame is there is unknown")
        return [lost if answer is None else answer for answer in answers]

    @staticmethod
    def _produce(producer: Any, record: Record, answered: "_Answer") -> None:
        where = {"partition": record.partition, "headers": dict(record.headers)}
        while True:
            try:
                producer.produce(record.topic, record.value, on_delivery=answered, **where)
                return
            except BufferError:  # its queue is full
                producer.poll(SLICE_S)
            except KafkaException as error:
                answered(error.args[0], None)
                return

    def give_up_producer(self) -> None:
        """After a fatal error it takes nothing more; the next `send` makes another one."""
        with self._making:
            self._producer = None

    def page(self, topic: str, lane: int, start: int, end: int, limit: int) -> list[Read]:
        """Up to `limit` records from `start` on, before `end`; none where all of them are gone.
        Raises BusUnavailable."""
        if start >= end:
            return []
        with self._reading:
            try:
                return self._page(topic, lane, start, end, limit)
            except KafkaException as error:
                self._read_at = None
                raise unavailable(error) from error

    def _page(self, topic: str, lane: int, start: int, end: int, limit: int) -> list[Read]:
        if self._read_at != (topic, lane, start):
            self._reader.assign([TopicPartition(topic, lane, start)])
        self._read_at, deadline = None, time.monotonic() + ASK_S
        while True:
            # One at first: more would be waited for, and there may be no more.
            found = self._reader.consume(1, SLICE_S)
            if found:
                found += self._reader.consume(min(limit, end - start) - 1, 0)
                break
            if self.starts(topic, [lane])[lane] >= end:
                return []
            if time.monotonic() > deadline or self._closing.is_set():
                raise BusUnavailable("Kafka: records that are there could not be read in time")
        read = [_read(raise_error(message)) for message in found]
        self._read_at = (topic, lane, read[-1].offset + 1)
        return [record for record in read if start <= record.offset < end]


def _tell_leaders(producer: Any, topic: str) -> None:
    """Who leads now: by itself it looks only once a second whether a leader is gone."""
    with suppress(KafkaException):
        producer.list_topics(topic, timeout=DOWN_S)


def _state(answer: Any, config: Mapping[str, str] | None) -> TopicState:
    copies = min(len(partition.replicas) for partition in answer.partitions)
    return TopicState(str(answer.topic_id), len(answer.partitions), copies, config)


def raise_error(message: Any) -> Any:
    """The message. Raises KafkaException where it is an error instead."""
    if message.error() is not None:
        raise KafkaException(message.error())
    return message


@dataclass(frozen=True, slots=True)
class _Answer:
    """Called with a record's fate, in the thread that flushes."""

    answers: "list[int | BusUnavailable | None]"
    index: int
    link: Link

    def __call__(self, error: Any, message: Any) -> None:
        if error is None:
            self.answers[self.index] = message.offset()
            return
        if error.fatal():
            self.link.give_up_producer()
        self.answers[self.index] = BusUnavailable(f"Kafka: append failed: {error.str()}")
