"""One reading's trace through all services. `make test-cluster` runs this: a network of its own.

given a network whose processes tell a collector, and a device that sends a `traceparent`
  its trace has a span of gateway, bus and aggregator, in this order, and of the query for it
  the aggregator's span links with the trace of its batch, whose spans are of aggregator, submitter,
  mirror and verifier, in this order
given reports without a `traceparent`
  they have no span
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cluster import record
from support.processes import eventually
from support.traces import Collector, Seen, collecting

from corechain.account import account_from_key
from corechain.client import Client
from corechain.devnet.network import Network
from corechain.devnet.settings import ADMIN_KEY, Ports
from corechain.devnet.weather import read_rows
from corechain.http import traceparent
from corechain.protocol.keys import Secp256k1Key

REPOSITORY = Path(__file__).resolve().parents[2]
GATEWAY = "corechain-gateway+watchtower"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture(params=["valkey", "kafka"])
def network(
    request: pytest.FixtureRequest, collector: Collector, deployed_home: Path, tmp_path: Path
) -> Iterator[Network]:
    settings = {
        "RELAYER_TRACES_URL": collector.url,
        "INDEXER_TRACES_URL": collector.url,
        "RELAYER_MAX_AGE_S": "1",
    }
    home = shutil.copytree(deployed_home, tmp_path / "home")
    options = {"settings": settings, "one_process": False, "bus": request.param}
    with Network(home, ports=Ports.free(), repository=REPOSITORY, **options) as running:
        yield running


def stages(spans: list[Seen]) -> list[tuple[str, str]]:
    return [(span.service, span.stage) for span in spans]


def test_one_reading_is_followed_through_all_services(
    network: Network, collector: Collector
) -> None:
    urls, key, trace = network.urls, Secp256k1Key(bytes(31) + b"\x07"), os.urandom(16)
    account = account_from_key(ADMIN_KEY)
    with Client(urls.indexer, urls.relayer, urls.anvil, network.deployment, account) as client:
        client.register_device(key)
        rows = [row.observations for row in read_rows([2])[:3]]
        first, second, third = (client.sign_report(key, n, row) for n, row in enumerate(rows, 1))
        client.send_reports([first])  # of nobody's trace
        token = traceparent.set(f"00-{trace.hex()}-{os.urandom(8).hex()}-01")
        client.send_reports([second])
        traceparent.reset(token)
        client.send_reports([third])
        wanted = sum(map(len, rows))

        def settled() -> bool:
            status = client.status()
            return bool(status["readings"] + status["rejections"] == wanted)

        assert eventually(settled)
        traceparent.set(f"00-{trace.hex()}-{os.urandom(8).hex()}-01")
        client.readings(device=key.identity.device, metric="pressure", limit=5)
        traceparent.set(None)
    passed = {
        (GATEWAY, "gateway"),
        (GATEWAY, "bus"),
        ("corechain-aggregator", "aggregator"),
        ("corechain-indexer", "api"),
    }
    # Each process sends what it has every few seconds: the last one's span may come first.
    assert eventually(lambda: passed <= set(stages(collector.of(trace))))
    own = collector.of(trace)
    assert set(stages(own)) == passed
    by_stage = {one.stage: one for one in own}
    gateway, bus, aggregator = (by_stage[name] for name in ("gateway", "bus", "aggregator"))
    assert gateway.began <= bus.began <= aggregator.ended
    assert bus.parent == aggregator.parent == gateway.span
    assert by_stage["api"].began >= aggregator.ended

    (batch,) = aggregator.links
    whole = {"aggregator", "submitter", "mirror", "verifier"}
    assert eventually(lambda: {one.stage for one in collector.of(batch)} == whole)
    made = {one.stage: one for one in collector.of(batch)}
    ends = [made[name].ended for name in ("aggregator", "submitter", "mirror", "verifier")]
    assert ends[0] <= min(ends[1:])
    assert made["mirror"].ended <= made["verifier"].ended
    assert trace in made["aggregator"].links
    commitment = made["aggregator"].facts["corechain.commitment"]
    assert commitment.startswith(batch.hex())
    assert {one.parent for name, one in made.items() if name != "aggregator"} == {
        made["aggregator"].span
    }
    # The other reports are in batches, and in no trace.
    known = {trace, *(one.trace for one in collector.spans if "corechain.batch" in one.facts)}
    assert {one.trace for one in collector.spans} == known
    record("traces", spans=len(own) + len(made), bus=network.bus)
