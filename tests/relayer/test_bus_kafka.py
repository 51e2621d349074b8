"""What is Kafka's own: addresses, options, progress, indexes (pure), and which cluster is refused.

given a URL and options
  when they cannot be right
    the option is named, no value is shown
given a cluster
  when an acknowledgement could not rest on it
    the setting is named, and nothing is appended
  when the topic has another number of partitions than there are lanes
    the command that mends it is named
  when the topic is deleted, or its broker is away
    the loss is noticed, exactly the loss; and it goes on by itself
  when another broker leads
    a question to the old leader is asked again at once
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.processes import PATIENCE_S

from corechain.devnet.kafka import KafkaServer
from corechain.protocol.errors import CoreChainError
from corechain.protocol.reading import DeviceId
from corechain.service.settings import InvalidSetting
from corechain_relayer.bus.kafka import clients as clients_module
from corechain_relayer.bus.kafka.address import KafkaAddress, parse_address, parse_options
from corechain_relayer.bus.kafka.bus import KafkaBus
from corechain_relayer.bus.kafka.clients import check_options
from corechain_relayer.bus.kafka.guard import REQUIRED, TopicState, Wanted, shortfalls, untold
from corechain_relayer.bus.kafka.index import LaneIndex
from corechain_relayer.bus.kafka.link import Link
from corechain_relayer.bus.kafka.progress import METADATA_BYTES, Acks, Progress
from corechain_relayer.bus.room import FRAME_OVERHEAD
from corechain_relayer.errors import (
    BusNotDurable,
    BusRestarted,
    BusUnavailable,
    LanesMismatch,
)
from corechain_relayer.metrics import Metrics
from relayer.buses import DEVICE, LIMITS, ONE_BROKER, frame, kafka_at, read_all, sequences, session
from relayer.test_bus_server import Memory, losses, watch_of

OFFSETS = st.sets(st.integers(0, 300), max_size=200)

# ------------------------------------------------------------------ pure parts


def test_an_address_names_brokers_topics_and_group() -> None:
    address = parse_address("kafka://b1:9092,b2:9092/sky")
    assert address == KafkaAddress("b1:9092,b2:9092", "sky")
    assert (address.reports, address.dead) == ("sky.reports", "sky.dead")
    assert address.group == "sky.aggregator"


@pytest.mark.parametrize(
    "url", ["kafka://", "kafka://b", "kafka:///x", "kafka://b/a b", "kafka://u:p@b/x", "kafka://b/"]
)
def test_what_is_no_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match="is not kafka://BROKER,BROKER/PREFIX") as refused:
        parse_address(url)
    assert "u:p" not in str(refused.value)


def test_options_are_lines_or_an_object() -> None:
    wanted = {"sasl.password": "a=b;c", "sasl.username": "us"}
    assert parse_options("# TLS\nsasl.username = us\n\nsasl.password=a=b;c\n") == wanted
    assert parse_options('{"sasl.username": "us", "sasl.password": "a=b;c"}') == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("secret", "has a line without '='"),
        ('{"a": ', "is not a JSON object"),
        ('{"sasl.password": 17}', "has a value that is no text"),
        ("acks=0", "acks is not to be changed: acknowledgements rest on it"),
        ("enable.idempotence=false", "enable.idempotence is not to be changed"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_options(text)


@pytest.mark.parametrize(
    "options", [{"sasl.passwrd": "hush"}, {"security.protocol": "hush"}, {"socket.timeout.ms": "x"}]
)
def test_an_option_that_librdkafka_does_not_take_is_named_without_its_value(
    options: dict[str, str],
) -> None:
    with pytest.raises(InvalidSetting) as refused:
        check_options(KafkaAddress("b", "p"), options)
    assert next(iter(options)) in str(refused.value)
    assert "hush" not in str(refused.value)


@given(st.integers(0, 100), st.integers(0, 400), OFFSETS)
def test_progress_is_read_as_it_was_written(low: int, read: int, acked: set[int]) -> None:
    above = frozenset(offset for offset in acked if offset > low)
    progress = Progress(low, max(low, read), above)
    text = progress.metadata()
    assert len(text) <= METADATA_BYTES
    found = Progress.of(low, text)
    assert (found.low, found.read) == (progress.low, progress.read)
    assert found.acked <= above, "what is not acknowledged is never taken for it"
    assert found == progress or len(text) > METADATA_BYTES - 20


@given(st.lists(st.integers(0, 60), max_size=80))
def test_acks_in_any_order_advance_to_the_lowest_that_is_missing(offsets: list[int]) -> None:
    acks = Acks(0, 0)
    for offset in offsets:
        acks.add([offset])
        acks.add([offset])
    seen = set(offsets)
    assert acks.low == next(number for number in range(100) if number not in seen)
    assert all(acks.is_acked(offset) == (offset in seen) for offset in range(100))
    assert Acks.after(Progress.of(acks.low, acks.progress.metadata())).acked == acks.acked


@pytest.mark.parametrize("metadata", ["", "somebody else's", "r", "r5 a7", "rx a1-2", "r5 a1-x"])
def test_metadata_of_anybody_else_says_nothing(metadata: str) -> None:
    assert Progress.of(7, metadata) == Progress(7, 7)


def test_an_index_knows_frames_in_order_only() -> None:
    index = LaneIndex(10)
    assert index.learn(10, 5)
    assert not index.learn(12, 5), "another's frame comes before it"
    assert index.learn(11, 7)
    assert index.known == 12
    assert index.appended == 12 + 2 * FRAME_OVERHEAD
    assert index.before(11) == 5 + FRAME_OVERHEAD
    index.forget_before(11)
    assert (index.first, index.known, index.before(11)) == (11, 12, 5 + FRAME_OVERHEAD)
    index.skip_to(15)
    assert (index.known, index.appended) == (15, 12 + 2 * FRAME_OVERHEAD)
    index.forget_before(99)
    assert index.known == 15


def test_a_sequence_is_used_when_it_is_not_above_all_of_its_device() -> None:
    index, other = LaneIndex(0), DeviceId(bytes(20))
    index.mark({DEVICE: (3, 9)})
    index.mark({DEVICE: (4, 5)})
    assert index.is_used({DEVICE: (9, 12)})
    assert not index.is_used({DEVICE: (10, 12), other: (0, 0)})


# ------------------------------------------------------------------ which cluster

THREE = Wanted(2, 1 << 20)
GOOD = TopicState("id", 1, 3, THREE.topic_config())


def test_a_topic_that_we_made_lacks_nothing() -> None:
    assert shortfalls(GOOD, THREE) == []
    assert shortfalls(TopicState("id", 1, 1, ONE_BROKER.topic_config()), ONE_BROKER) == []
    assert (THREE.replicas, ONE_BROKER.replicas) == (3, 1)


@pytest.mark.parametrize("name", REQUIRED)
def test_each_wrong_setting_of_a_topic_is_named(name: str) -> None:
    (found,) = shortfalls(replace(GOOD, config={**THREE.topic_config(), name: "other"}), THREE)
    assert (found.name, found.found, found.wanted) == (name, "other", REQUIRED[name][0])


def test_too_few_copies_and_too_small_messages_are_named() -> None:
    def names(state: TopicState) -> list[str]:
        return [shortfall.name for shortfall in shortfalls(state, THREE)]

    def set_to(**config: str) -> TopicState:
        changed = {name.replace("_", "."): value for name, value in config.items()}
        return replace(GOOD, config={**THREE.topic_config(), **changed})

    assert names(set_to(min_insync_replicas="1")) == ["min.insync.replicas"]
    assert names(set_to(max_message_bytes="1000000")) == ["max.message.bytes"]
    assert names(replace(GOOD, copies=1)) == ["replication factor"]
    assert names(replace(set_to(min_insync_replicas="3"), copies=2)) == ["replication factor"]


def test_a_cluster_that_tells_no_settings_has_to_be_vouched_for() -> None:
    silent = replace(GOOD, config=None)
    assert shortfalls(silent, THREE) == []
    assert "min.insync.replicas" in untold([GOOD, silent])
    assert untold([GOOD, GOOD]) == []


async def test_one_copy_is_refused_unless_it_is_what_is_wanted(kafka_url: str) -> None:
    async with kafka_at(kafka_url, wanted=THREE) as bus:
        with pytest.raises(BusNotDurable, match=r"number of brokers is '1'"):
            await bus.enter(0)
        with pytest.raises(BusNotDurable):
            await bus.append(0, frame(1))
    async with kafka_at(kafka_url) as bus:
        await bus.enter(0)
    async with kafka_at(kafka_url, wanted=THREE) as bus:
        with pytest.raises(BusNotDurable, match="RELAYER_KAFKA_COPIES=1") as refused:
            await bus.enter(0)
        named = [shortfall.name for shortfall in refused.value.wrong]
        assert named == ["min.insync.replicas", "replication factor"]
        for question in (bus.append(0, frame(1)), bus.depth()):
            with pytest.raises(BusNotDurable):
                await question
    async with kafka_at(kafka_url, wanted=THREE, vouched=True) as bus:
        await bus.enter(0)
        await bus.append(0, frame(1))


async def test_a_setting_that_is_changed_stops_appends_until_it_is_right_again(
    kafka_url: str,
) -> None:
    async with kafka_at(kafka_url) as bus:
        await bus.enter(0)
        await set_retention(bus, "1000")
        await until(bus, lambda fault: isinstance(fault, BusNotDurable))
        with pytest.raises(BusNotDurable, match=r"retention\.ms is '1000'"):
            await bus.append(0, frame(1))
        await set_retention(bus, "-1")
        await until(bus, lambda fault: fault is None)
        await bus.append(0, frame(1))


async def set_retention(bus: KafkaBus, value: str) -> None:
    from confluent_kafka.admin import (
        AdminClient,
        AlterConfigOpType,
        ConfigEntry,
        ConfigResource,
        ResourceType,
    )

    operation = AlterConfigOpType.SET
    entry = ConfigEntry("retention.ms", value, incremental_operation=operation)
    resource = ConfigResource(ResourceType.TOPIC, bus.address.reports, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": bus.address.brokers})
    (done,) = admin.incremental_alter_configs([resource]).values()
    await asyncio.to_thread(done.result, PATIENCE_S)


async def until(bus: KafkaBus, is_so: Callable[[CoreChainError | None], bool]) -> None:
    """Asks the cluster until its answer is as it has to be."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(BusNotDurable, BusUnavailable):
                await bus.inspect()
            if is_so(bus.fault):
                return
            await asyncio.sleep(0.05)


async def test_another_number_of_lanes_is_refused_with_the_command_that_mends_it(
    kafka_url: str,
) -> None:
    async with kafka_at(kafka_url, lanes=2) as bus:
        await bus.enter(1)
    for lanes in (1, 3):
        async with kafka_at(kafka_url, lanes=lanes, vouched=True) as bus:
            with pytest.raises(LanesMismatch, match="corechain bus resize") as refused:
                await bus.enter(0)
            assert (refused.value.partitions, refused.value.lanes) == (2, lanes)


def test_a_shortfall_of_both_topics_is_named_once() -> None:
    bus = KafkaBus(Link(KafkaAddress("b", "p"), {}), 1, LIMITS, THREE, False, Metrics())
    wrong = replace(GOOD, copies=1)
    bus.judge(wrong, wrong)
    assert isinstance(bus.fault, BusNotDurable)
    assert [found.name for found in bus.fault.wrong] == ["replication factor"]


# ------------------------------------------------------------------ losses and outages


async def test_a_topic_that_was_deleted_is_noticed_once(kafka_url: str) -> None:
    async with kafka_at(kafka_url) as bus, session(bus) as consumer:
        watch, told = watch_of(bus, Memory())
        await watch.look()
        for sequence in range(3):
            await bus.append(0, frame(sequence))
        await watch.look()
        assert (told, losses(bus)) == ([], 0)
        await bus.call(bus.link.delete, bus.address.reports)
        async with asyncio.timeout(PATIENCE_S):
            while not told:
                await watch.look_or_log()
        await watch.look()
        assert (told, losses(bus)) == ([0], 1)
        with pytest.raises(BusRestarted):
            await consumer.read(1, 0.01)
        await patiently(bus, 0, fresh=True)


async def test_a_question_to_a_leader_that_is_gone_is_asked_again_when_another_one_leads(
    kafka_url: str,
) -> None:
    """Who is dead answers nothing, and the question's own deadline would be waited for."""
    async with kafka_at(kafka_url) as bus:
        await bus.enter(0)
        link, topic = bus.link, bus.address.reports
        link.leaders[topic] = {0: 99}
        unanswered, answered = Future[str](), Future[str]()
        answered.set_result("the new leader's")
        questions = iter([unanswered, answered])
        found = await bus.call(link.answered, topic, lambda: {0: next(questions)})
        assert found == {0: "the new leader's"}
        assert link.leaders[topic] == {0: 1}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An append that cannot be is given up early: waiting for it is not what is tested."""
    monkeypatch.setitem(clients_module.PRODUCER, "message.timeout.ms", "2000")


async def patiently(bus: KafkaBus, sequence: int, fresh: bool = False) -> None:
    """Appends as a device does: again and again."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await bus.append(0, frame(sequence), fresh)
                return
            except BusUnavailable:
                await asyncio.sleep(0.1)


async def test_an_outage_of_the_broker_is_survived_before_the_start_and_later(
    tmp_path: Path, impatient: None
) -> None:
    broker = KafkaServer(tmp_path / "kafka")
    async with kafka_at(broker.url) as bus:
        for question in (bus.enter(0), bus.inspect(), bus.look(), session(bus).__aenter__()):
            with pytest.raises(BusUnavailable):
                await question
        with broker:
            await until(bus, lambda fault: bus.run is not None)
            await acknowledged_frames_stay(bus, broker)
            broker.kill()


async def acknowledged_frames_stay(bus: KafkaBus, broker: KafkaServer) -> None:
    watch, told = watch_of(bus, Memory())
    await watch.look()
    async with session(bus) as consumer:
        for sequence in range(4):
            await bus.append(0, frame(sequence))
        held = await read_all(consumer, 4)
        await consumer.ack([held[0].id])
        broker.kill()
        for question in (bus.enter(0), bus.depth(), bus.append(0, frame(4))):
            with pytest.raises(BusUnavailable):
                await question
        with pytest.raises(BusUnavailable):
            await consumer.depth()
        broker.start()
        await patiently(bus, 5)
        await watch.look()
        assert told == []
        assert sequences(await read_all(consumer, 1))[-1] == 5, "the session went on"
    async with kafka_at(broker.url) as later, session(later) as consumer:
        assert sequences(await read_all(consumer, 4))[:3] == [1, 2, 3]
