"""A server that does not take our password, at start or from one moment on.

given a wrong user, password, token or right
  ├── the error names the setting, and neither the secret nor the user
  ├── it is an outage: asked again, and over as soon as either side is right
  ├── what its file holds meanwhile, half written, is not kept
  └── it is counted by setting, whoever met it: a probe of `/ready` or a loop
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from confluent_kafka import KafkaError, KafkaException
from influxdb_client.rest import ApiException
from prometheus_client import CollectorRegistry, Counter
from relayer.buses import bus_at
from support.guarded import OTHER, RIGHT, USER, guard_valkey, guarded_postgres
from support.node import body, odd_node, result
from support.processes import PATIENCE_S, until

from corechain.devnet.postgres import PostgresServer
from corechain.devnet.servers import ValkeyServer
from corechain.service import supervision
from corechain.service.database import asked, connect, create_pool
from corechain.service.errors import (
    AccessRefused,
    NodeAccessRefused,
    NodeUnavailable,
    StoreAccessRefused,
    StoreUnavailable,
)
from corechain.service.health import Health
from corechain.service.hosts import hosts_of
from corechain.service.named_url import NamedUrl
from corechain.service.node_settings import NodeSettings
from corechain.service.ops import refusals_in
from corechain.service.readers import Readers
from corechain.service.redis_credentials import with_credentials
from corechain.service.rpc import Rpc
from corechain.service.settings import AlertSettings, load
from corechain.service.supervision import Loops, sessions, stop_all
from corechain_indexer.errors import CacheAccessRefused, SeriesAccessRefused
from corechain_indexer.store.influx import _done
from corechain_indexer.store.latest import connect_cache, told
from corechain_relayer.bus.kafka.clients import unavailable
from corechain_relayer.errors import BusAccessRefused
from corechain_relayer.journal_settings import JournalSettings

SETTING = "INDEXER_SHARD_URLS"
Asking = Callable[[], Awaitable[object]]


async def refused(ask: Asking, kind: type[AccessRefused], setting: str) -> None:
    with pytest.raises(kind) as found:
        await ask()
    assert found.value.setting == setting
    assert setting in str(found.value)
    for secret in (RIGHT, OTHER, f'"{USER}"', "127.0.0.1"):
        assert secret not in str(found.value)


async def test_a_password_of_postgres_that_is_changed_is_named_and_waited_for(
    postgres_server: PostgresServer,
) -> None:
    async with guarded_postgres(postgres_server) as guarded:
        url = NamedUrl(guarded.url(postgres_server.url), SETTING)
        readers = Readers(url)
        async with create_pool(url) as pool:
            ways: list[Asking] = [
                lambda: asked(pool.fetchval("select 1")),
                lambda: asked(readers.fetchval("select 1")),
                lambda: connected(url),
            ]
            for ask in ways:
                assert await ask() == 1
            await guarded.set(OTHER)
            for ask in ways:
                await until(lambda ask=ask: is_refused(ask))
                await refused(ask, StoreAccessRefused, SETTING)
            await guarded.set(RIGHT)
            for ask in ways:
                assert await ask() == 1
            await guarded.admin.execute(f"alter role {USER} nosuperuser")
            await refused(
                lambda: asked(pool.fetchval("select 1 from pg_authid")),
                StoreAccessRefused,
                "DATABASE_URL",
            )
        await readers.close()


@pytest.mark.parametrize("before", ["", "127.0.0.1:1,"], ids=["one host", "one of several"])
async def test_a_password_that_its_file_has_since_is_read_again(
    postgres_server: PostgresServer, tmp_path: Path, before: str
) -> None:
    file = tmp_path / "url"
    file.touch(mode=0o600)
    async with guarded_postgres(postgres_server) as guarded:

        def write(password: str, scheme: str = "postgresql") -> None:
            url = guarded.url(postgres_server.url, password).replace("@", f"@{before}")
            file.write_text(url.replace("postgresql", scheme))

        write(RIGHT)
        environment = {"RELAYER_DATABASE_URL_FILE": str(file), "RELAYER_DEPLOYMENT": "x"}
        url = load(JournalSettings, environment).session_url
        readers = Readers(url)

        async def ask() -> object:
            return await asked(readers.fetchval("select 1"))

        assert await ask() == 1
        await guarded.set(OTHER)
        await until(lambda: is_refused(ask))
        write(OTHER, scheme="https")
        await refused(ask, StoreAccessRefused, "RELAYER_DATABASE_URL")
        for half in (
            f"postgresql://{USER}:{OTHER[:2]}",
            f"postgresql://{USER}:{OTHER}@127.0.0.1:1",
        ):
            file.write_text(half if not before else f"{half},127.0.0.1:1")
            with pytest.raises(StoreUnavailable):
                await ask()
        write(OTHER)
        assert await ask() == 1
        assert await connected(url) == 1, "also who comes with the old one still"
        await readers.close()


def test_a_host_that_its_file_does_not_name_any_more_stays_the_one_that_it_was() -> None:
    first, second = "postgresql://a/x", "postgresql://b/x"
    parts = hosts_of(NamedUrl("postgresql://a,b/x", SETTING, lambda: first))
    assert [part.again() for part in parts if isinstance(part, NamedUrl)] == [first, second]


async def connected(url: str) -> object:
    connection = await connect(url)
    await connection.close()
    return 1


async def is_refused(ask: Asking) -> bool:
    """Who held a connection hears first that it is gone."""
    try:
        await ask()
    except AccessRefused:
        return True
    except Exception:
        return False
    return False


@pytest.mark.parametrize("said", ["SASL authentication failed", "password authentication failed"])
async def test_a_pooler_that_refuses_us_is_told_from_one_that_is_away(said: str) -> None:
    """PgBouncer 1.18 has no SQLSTATE for it."""

    async def ask() -> None:
        await asked(_raise(asyncpg.ProtocolViolationError(f'{said} for user "{USER}"')))

    await refused(ask, StoreAccessRefused, "DATABASE_URL")


async def _raise(error: Exception) -> None:
    raise error


@pytest.fixture
async def valkey_port(valkey_server: ValkeyServer) -> AsyncIterator[int]:
    yield valkey_server.port
    guard_valkey(valkey_server.port, OTHER)


async def test_a_password_of_cache_and_bus_that_is_changed_is_named_and_waited_for(
    valkey_port: int,
) -> None:
    url = guard_valkey(valkey_port, RIGHT)
    cache = connect_cache(url)
    async with bus_at(url) as bus:
        for password in (RIGHT, OTHER, RIGHT):
            guard_valkey(valkey_port, password)
            ways: list[tuple[Asking, type[AccessRefused], str]] = [
                (lambda: told(cache.ping()), CacheAccessRefused, "INDEXER_REDIS_URL"),
                (bus.inspect, BusAccessRefused, "RELAYER_BUS_URL"),
                (bus.depth, BusAccessRefused, "RELAYER_BUS_URL"),
                (lambda: bus.enter(0), BusAccessRefused, "RELAYER_BUS_URL"),
            ]
            for ask, kind, setting in ways:
                if password == RIGHT:
                    await until(lambda ask=ask: answers(ask))
                else:
                    await until(lambda ask=ask: is_refused(ask))
                    await refused(ask, kind, setting)
    await cache.aclose()


@pytest.mark.parametrize(
    ("url", "place", "credentials"),
    [
        ("redis://u:p%40s,s@h:1/0", "redis://h:1/0", ("u", "p@s,s")),
        ("redis://:a@b@h/0?x=@", "redis://h/0?x=@", ("a@b",)),
        ("unix://u:p@/s.sock?db=1", "unix:///s.sock?db=1", ("u", "p")),
        ("rediss+cluster://:p@a,b:2", "rediss+cluster://a,b:2", ("p",)),
        ("redis://h/0?x=a@b", "redis://h/0?x=a@b", None),
    ],
)
def test_credentials_of_a_url_are_told_from_its_place(
    url: str, place: str, credentials: tuple[str, ...] | None
) -> None:
    found, options = with_credentials(NamedUrl(url, "x"))
    assert found == place
    assert with_credentials(url) == (url, {}), "of nobody's setting: as it is"
    if credentials is None:
        assert options == {}
    else:
        assert options["credential_provider"].get_credentials() == credentials


async def test_a_password_of_cache_and_bus_that_its_file_has_since_is_read_again(
    valkey_port: int,
) -> None:
    now = [guard_valkey(valkey_port, RIGHT)]
    url = NamedUrl(now[0], "INDEXER_REDIS_URL", lambda: now[0])
    cache, cluster = connect_cache(url), connect_cache(NamedUrl(f"redis+cluster{url[5:]}", "x"))
    assert cluster.connection_kwargs["credential_provider"].get_credentials() == (USER, RIGHT)  # type: ignore[attr-defined]
    async with bus_at(url) as bus:
        for password in (RIGHT, OTHER):
            guard_valkey(valkey_port, password)
            now[0] = url.replace(RIGHT, password)
            await until(lambda: answers(lambda: told(cache.ping())))
            await until(lambda: answers(lambda: bus.enter(0)))
    await cache.aclose()


async def answers(ask: Asking) -> bool:
    try:
        await ask()
    except Exception:
        return False
    return True


@pytest.mark.parametrize("code", ["SASL_AUTHENTICATION_FAILED", "TOPIC_AUTHORIZATION_FAILED"])
def test_a_right_that_kafka_does_not_give_is_told_from_an_outage(code: str) -> None:
    error = unavailable(KafkaException(KafkaError(getattr(KafkaError, code))))
    assert isinstance(error, BusAccessRefused)
    assert error.setting == "RELAYER_KAFKA_OPTIONS"


@pytest.mark.parametrize("status", [401, 403])
async def test_a_token_that_influxdb_does_not_take_is_named(status: int) -> None:
    error = ApiException(status=status, reason="Unauthorized")
    error.headers, error.body = {}, json.dumps({"message": "unauthorized access"})
    setting = "INDEXER_INFLUX_TOKEN"
    await refused(lambda: _done(_raise(error)), SeriesAccessRefused, setting)


@pytest.mark.parametrize(("status", "is_json"), [(401, True), (401, False), (403, False)])
async def test_a_key_that_a_node_does_not_take_is_no_answer_to_the_call(
    status: int, is_json: bool
) -> None:
    """Else a provider that locks us out would have refused the transaction."""
    refusal = {"id": 1, "error": {"code": -32600, "message": "Must be authenticated!"}}
    content = json.dumps(refusal).encode() if is_json else b"go away"
    async with odd_node(body(content, status)) as node:
        rpc = Rpc(node.url, PATIENCE_S)
        await refused(rpc.chain_id, NodeAccessRefused, "RPC_URL")
        await rpc.close()


async def test_a_node_that_refuses_us_is_asked_by_what_its_file_has_since(tmp_path: Path) -> None:
    file = tmp_path / "nodes"
    file.touch(mode=0o600)
    async with odd_node(body(b"go away", 401)) as old, odd_node(result("0x7")) as new:
        file.write_text(f"{old.url}/{RIGHT}")
        (url,) = load(NodeSettings, {"RPC_URL_FILE": str(file)}).node_urls
        rpc = Rpc(url, PATIENCE_S)
        halves = "", "ftp://h", "http://[::1", f"{old.url},{new.url}", "http://127.0.0.1:1"
        for half in halves:
            file.write_text(half)
            await refused(rpc.chain_id, NodeAccessRefused, "RPC_URL")
        file.write_text(new.url)
        with pytest.raises(NodeUnavailable):  # nobody is where the last half led to
            await rpc.chain_id()
        assert await rpc.chain_id() == 7
        await rpc.close()


def test_a_secret_that_is_half_written_is_none_yet(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.touch(mode=0o600)
    file.write_text(RIGHT * 4)
    settings = load(AlertSettings, {"ALERT_SECRET_FILE": str(file), "ALERT_URLS": "http://h"})
    secret = settings.receivers("").secret
    for now, read in ((OTHER * 4, OTHER * 4), (OTHER[:3], RIGHT * 4), ("", RIGHT * 4)):
        file.write_text(now)
        assert secret() == read.encode()


async def test_refusals_are_counted_by_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "FIRST_PAUSE_S", 86_400.0)
    counter = Counter("access_refused", "x", ["setting"], registry=CollectorRegistry())
    loops = Loops(refused=refusals_in(counter))

    def counted() -> float:
        return float(counter.labels(SETTING)._value.get())

    async def refuse() -> None:
        raise StoreAccessRefused(SETTING, "no")

    ready, document = await Health({"database": refuse}, loops).report()
    assert (ready, counted()) == (False, 1)
    assert SETTING in document["reasons"]["database"]
    loop: asyncio.Task[Any] = asyncio.create_task(sessions("mirror", refuse, lambda: None, loops))
    await until(lambda: counted() == 2)
    await stop_all([loop])
