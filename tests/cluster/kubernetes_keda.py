"""Aggregators scaled by the lag of a real Kafka, as deploy/kustomize/components/kafka-lag says.
`make test-cluster` runs this; the nodes are kwok's, so that frames are read by the test itself.

given the public overlay, KEDA, and a broker with a partition for each lane
  with no frame on the bus there are two aggregators
  as frames come there is a pod for each 500 that nobody has acknowledged, up to one a lane
  once they are acknowledged there are two again
"""

import asyncio
import copy
import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AsyncExitStack
from math import ceil
from pathlib import Path

import pytest
from relayer.buses import frame, kafka_at, session
from support.cluster import record
from support.control_plane import needed
from support.keda import keda
from support.manifests import Document, Site
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
    return [*changed, *secrets()]


def secrets() -> list[Document]:
    """Those of the aggregators' environment: KEDA scales nothing when it cannot read them."""
    wanted: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for variable in SITE.workload("aggregator").container["env"]:
        reference = variable.get("valueFrom", {}).get("secretKeyRef")
        if reference is not None:
            wanted[reference["name"]][reference["key"]] = "of the tests"
    head = {"apiVersion": "v1", "kind": "Secret"}
    return [
        {**head, "metadata": {"name": name, "namespace": "corechain"}, "stringData": values}
        for name, values in wanted.items()
    ]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[KafkaServer]:
    needed("keda-operator", "keda-adapter")
    server = KafkaServer(tmp_path / "kafka")
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture
def aggregators(broker: KafkaServer, tmp_path: Path) -> Iterator[Scaled]:
    manifests = "\n---\n".join(map(json.dumps, scaled_by(broker.address)))
    with running_site(tmp_path, manifests) as plane, keda(plane):
        yield Scaled(plane, "aggregator")


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
    assert asyncio.run(append(broker.url, 0)) == 0
    aggregators.become(FEWEST, lag=0)
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
