"""Whatever is said of a server that fails: not where it is, and no secret of its URL.

given a URL with a user, a password, a host, a path and a query of somebody's choice
  ├── texts that `/ready`, problem details and alerts show name none of them
  ├── what the SDK says to who has named the URL has its host, and no secret
  └── the sentence of another server is kept but for the addresses in it
"""

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import httpx
import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st
from influxdb_client.rest import ApiException
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import TimeoutError as RedisTimeout

from corechain.async_client import AsyncClient
from corechain.client import Client
from corechain.deployment import REQUIRED, DeployedContract, Deployment
from corechain.http import shown_url
from corechain.node import ChainUnavailable, Node
from corechain.protocol.errors import CoreChainError
from corechain.service.files.fetch import FileSources
from corechain.service.reasons import reason_of, without_addresses
from corechain.steps import ApiUnavailable
from corechain_indexer.store.influx import _why
from corechain_relayer.bridge.sender import GatewayUnavailable, gateway_away
from corechain_relayer.bus.guard import Guard
from corechain_relayer.bus.kafka.clients import said_of, trouble_of, unavailable
from corechain_relayer.bus.room import Limits
from corechain_relayer.bus.valkey import ValkeyBus
from corechain_relayer.metrics import Metrics
from corechain_relayer.mqtt.broker import broker_of
from corechain_relayer.mqtt.link import Link
from corechain_relayer.mqtt.packets import Opening, Version

if TYPE_CHECKING:
    from redis.asyncio import Redis

words = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=8, max_size=16).map("q7z".__add__)
"""None of them is a word of ours."""
Parts = tuple[str, str, str, str, str]
parts = st.tuples(words, words, words, words, words)
DEPLOYMENT = Deployment(1, {n: DeployedContract(n, bytes(20), 1) for n in REQUIRED})


def url_of(scheme: str, made: Parts, port: int = 9093) -> str:
    user, password, host, path, query = made
    return f"{scheme}://{user}:{password}@{host}.internal:{port}/{path}?key={query}"


def away(made: Parts) -> OSError:
    """As asyncio says it."""
    return ConnectionRefusedError(111, f"Connect call failed ('{made[2]}.internal', 9093)")


def unresolved(made: Parts) -> OSError:
    """As aiohttp and httpx pass it on."""
    error = OSError(f"Cannot connect to host {made[2]}.internal:443 ssl:default")
    error.__cause__ = socket.gaierror(-2, "Name or service not known")
    return error


def of_kafka(made: Parts) -> list[str]:
    said = f"sasl_ssl://{made[2]}.internal:9093/bootstrap: Connect to {made[2]}.internal:9093 fails"
    errors = [KafkaError(code, said) for code in (KafkaError._TRANSPORT, KafkaError._SSL)]
    return [
        text
        for error in errors
        for text in (said_of(error), str(trouble_of(error)), str(unavailable(Exception(said))))
    ]


def of_mqtt(made: Parts) -> list[str]:
    user, password, host, *_ = made
    broker = broker_of(f"mqtts://{user}:{password}@{host}.internal:8883", "", Path(f"/{made[3]}"))
    opening = Opening(Version.V5, "us", 60, 60, 100, user, password)
    link = Link(broker, opening, 100, 100, lambda link, held: None)
    with pytest.raises(CoreChainError) as unusable:
        broker.context()
    failures: list[Exception | None] = [None, away(made), unresolved(made)]
    return [
        str(unusable.value),
        *(str(link._lost_by(failure)) for failure in failures),
        *(str(link._refused(code)) for code in range(0x80, 0xA3)),
    ]


def of_the_bus(made: Parts) -> list[str]:
    said = f"Error 111 connecting to {made[2]}.internal:6379. Connect call failed."
    bus = ValkeyBus(cast("Redis", None), Guard(False), "s", 1, Limits(1), Metrics())
    errors = ConnectionLost(said), RedisTimeout(f"Timeout connecting to {made[2]}.internal:6379")
    return [str(bus._error_of(error)) for error in errors]


def of_influx(made: Parts) -> list[str]:
    page = f"<html>{url_of('http', made)} is away</html>"
    said = json.dumps({"code": "x", "message": f"dial tcp {made[2]}.internal:8086: refused"})
    found = []
    for body in (page, said, "", None):
        error = ApiException(status=502, reason="Bad Gateway")
        error.body = body
        found.append(_why(error))
    return found


def of_the_gateway(made: Parts) -> list[str]:
    error = ApiUnavailable(f"{url_of('http', made)}: refused")
    error.__cause__ = httpx.ConnectError("All connection attempts failed")
    error.__cause__.__cause__ = away(made)
    redirect = ApiUnavailable(f"HTTP 307 to {url_of('http', made)}: use that as the URL")
    found = [gateway_away(each) for each in (error, redirect)]
    assert all(isinstance(each, GatewayUnavailable) for each in found)
    return [str(each) for each in found]


def of_sources(made: Parts) -> list[str]:
    async def labels() -> list[str]:
        templates = [url_of("http", made) + "/{commitment}", f"file:///{made[3]}/{{commitment}}"]
        files = FileSources(templates, 1.0, 100)
        found = [source.label for source in files.sources]
        await files.close()
        return found

    return asyncio.run(labels())


def of_reasons(made: Parts) -> list[str]:
    errors = [away(made), unresolved(made), ValueError(url_of("redis", made))]
    return [reason_of(error) for error in errors]


SHOWN: list[Callable[[Parts], list[str]]] = [
    of_kafka, of_mqtt, of_the_bus, of_influx, of_the_gateway, of_sources, of_reasons,
]  # fmt: skip


@pytest.mark.parametrize("place", SHOWN, ids=lambda place: place.__name__)
def test_what_others_may_read_names_no_place_and_no_secret(
    place: Callable[[Parts], list[str]],
) -> None:
    @given(parts)
    def every(made: Parts) -> None:
        for text in place(made):
            assert text
            assert not [part for part in made if part in text], text

    every()


@given(parts, st.sampled_from(["http", "https"]))
def test_a_url_is_shown_without_its_secrets(made: Parts, scheme: str) -> None:
    url = url_of(scheme, made)
    assert shown_url(url) == f"{scheme}://{made[2]}.internal:9093/{made[3]}"
    assert shown_url(url, path=False) == f"{scheme}://{made[2]}.internal:9093"
    assert shown_url("http://[") == "(not a URL)"


SECRET = ("q7zuser", "q7zpassword", "127.0.0.1", "q7zpath", "q7zquery")


def test_the_sdk_names_host_and_no_secret(unused_tcp_port: int) -> None:
    url = url_of("http", SECRET, unused_tcp_port).replace(".internal", "")
    with pytest.raises(ChainUnavailable) as node:
        Node(url).chain_id()
    with Client(url, url, url, DEPLOYMENT) as client, pytest.raises(ApiUnavailable) as api:
        client.batch(1)

    async def asked() -> None:
        async with AsyncClient(url, url, url, DEPLOYMENT) as other:
            await other.batch(1)

    with pytest.raises(ApiUnavailable) as other:
        asyncio.run(asked())
    for told in (node, api, other):
        assert f"127.0.0.1:{unused_tcp_port}" in str(told.value)
        for secret in (SECRET[0], SECRET[1], SECRET[4]):
            assert secret not in str(told.value)
    assert SECRET[3] not in str(node.value)


@pytest.mark.parametrize(
    "text",
    [
        'partial write: field type conflict: input field "value" on measurement, dropped=3',
        "dropped 2 points outside retention policy, oldest 2013-02-01T12:30:00Z",
        "unauthorized access",
    ],
)
def test_a_sentence_without_an_address_stays_as_it_is(text: str) -> None:
    assert without_addresses(text) == text


@pytest.mark.parametrize(
    "text",
    ["dial tcp db-1:8086: refused", "http://a.b/c?d=e is away", "to 10.0.0.7", "[::1]:80", "x.svc"],
)
def test_an_address_in_a_sentence_is_left_out(text: str) -> None:
    assert "(an address)" in without_addresses(text)
    for part in ("db-1", "8086", "a.b", "d=e", "10.0.0.7", "::1", "x.svc"):
        assert part not in without_addresses(text)
