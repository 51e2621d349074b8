"""What a bus asks of a Kafka cluster: offsets, topics, records. Blocking: call it in threads.

Everything that is asked has a deadline, and every failure is a BusUnavailable.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import (
    OFFSET_INVALID,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType

from corechain_relayer.bus.kafka.clients import (
    ASK_S,
    DOWN_S,
    LEADER_S,
    PASSING,
    PASSING_S,
    SLICE_S,
    Clients,
    raise_error,
    said_of,
    unavailable,
)
from corechain_relayer.bus.kafka.guard import TopicState
from corechain_relayer.bus.kafka.progress import Progress
from corechain_relayer.errors import BusUnavailable


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


class Link(Clients):
    """One cluster, as the two sides of a bus use it."""

    # ------------------------------------------------------------------ offsets

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
                raise BusUnavailable(f"Kafka: {said_of(where.error)}")
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
        producer, generation = self._sender()
        for index, record in enumerate(records):
            self._produce(producer, record, _Answer(answers, index, self))
        while None in answers and not self._closing.is_set():
            if producer.flush(SLICE_S):
                if generation != self.generation:
                    producer.purge()  # with what it is set to, it never gets through
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
            self._clients.pop("producer", None)

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
        self.answers[self.index] = BusUnavailable(f"Kafka: append failed: {said_of(error)}")
