"""Aggregators scaled by the lag of a real Kafka, as deploy/kustomize/components/kafka-lag says.
`make test-cluster` runs this; the nodes are kwok's, so that frames are read by the test itself.

given the public overlay, KEDA, and a broker with a partition for each lane
  with no frame on the bus there are two aggregators
  as frames come there is a pod for each 500 that nobody has acknowledged, up to one a lane
  once they are acknowledged there are two again
  while the broker is away there are as many as `fallback` says; once it is back, two again
"""

import asyncio
import copy
from collections.abc import Iterator
from contextlib import AsyncExitStack
from math import ceil

import pytest
from relayer.buses import frame, kafka_at, session
from support.cluster import record
from support.control_plane import ControlPlane, needed
from support.keda import keda
from support.manifests import Document, Site, listed
from support.processes import PATIENCE_S
from support.running_site import running_site
from support.scaled import CALM, Scaled

from corechain.devnet.kafka import KafkaServer
from corechain_relayer.bus.room import Limits

SITE = Site("public")
ROOM = Limits(100_000)
PAGE = 200
"""Frames that are appended at a time, and acknowledged at a time."""
SCALED = SITE.named("ScaledObject", "aggregator")["spec"]
FRAMES_A_POD = int(SCALED["triggers"][0]["metadata"]["lagThreshold"])
FEWEST, MOST = SCALED["minReplicaCount"], SCALED["maxReplicaCount"]


def scaled_by(address: str) -> list[Document]:
    """The overlay with the address of a broker, and with less time to calm down."""
    changed = copy.deepcopy(list(SITE.all))
    (scaled,) = [one for one in changed if one["kind"] == "ScaledObject"]
    scaled["spec"]["triggers"][0]["metadata"]["bootstrapServers"] = address
    behavior = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    behavior["scaleDown"] = CALM
    return changed


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    needed("keda-operator", "keda-adapter")
    server = KafkaServer(tmp_path_factory.mktemp("kafka"))
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture(scope="module")
def plane(broker: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    manifests = listed(scaled_by(broker.address))
    with running_site(tmp_path_factory.mktemp("plane"), manifests) as running, keda(running):
        yield running


@pytest.fixture
def aggregators(broker: KafkaServer, plane: ControlPlane) -> Scaled:
    """With no frame on the bus."""
    assert asyncio.run(append(broker.url, 0)) == 0
    found = Scaled(plane, "aggregator")
    found.become(FEWEST, lag=0)
    return found


async def append(url: str, frames: int) -> int:
    """So many frames more, spread over the lanes; the lag of the group then."""
    async with kafka_at(url, lanes=SITE.lanes, limits=ROOM) as bus:
        for lane in range(SITE.lanes):
            await bus.enter(lane)
        for first in range(0, frames, PAGE):
            numbers = range(first, min(first + PAGE, frames))
            await asyncio.gather(*(bus.append(n % SITE.lanes, frame(n + 1)) for n in numbers))
        return await bus.depth()


async def acknowledge_all(url: str) -> int:
    """What aggregators do once a batch is sealed; the lag of the group then."""
    async with kafka_at(url, lanes=SITE.lanes, limits=ROOM) as bus, AsyncExitStack() as stack:
        async with asyncio.timeout(PATIENCE_S):
            for lane in range(SITE.lanes):
                await bus.enter(lane)
            lanes = range(SITE.lanes)
            readers = [await stack.enter_async_context(session(bus, lane)) for lane in lanes]
            while await bus.depth():
                for reader in readers:
                    await reader.ack([one.id for one in await reader.read(PAGE, 0.05)])
            return await bus.depth()


def test_aggregators_follow_the_lag_of_kafka(broker: KafkaServer, aggregators: Scaled) -> None:
    for pods in (4, MOST):
        lag = asyncio.run(append(broker.url, pods * FRAMES_A_POD - sum_of(aggregators)))
        assert ceil(lag / FRAMES_A_POD) == pods
        aggregators.become(pods, lag=lag)
    assert asyncio.run(acknowledge_all(broker.url)) == 0
    aggregators.become(FEWEST, lag=0)
    record("kubernetes_keda", hpa_steps=aggregators.steps, frames_a_pod=FRAMES_A_POD)


def sum_of(aggregators: Scaled) -> int:
    """Frames on the bus now: those of the last step."""
    return int(aggregators.steps[-1]["lag"])


def test_there_are_as_many_as_fallback_says_while_kafka_is_away(
    broker: KafkaServer, aggregators: Scaled
) -> None:
    broker.kill()
    aggregators.become(SCALED["fallback"]["replicas"])
    broker.start()
    aggregators.become(FEWEST, lag=0)
    record("kubernetes_keda_fallback", hpa_steps=aggregators.steps, kills={"kafka": 1})
