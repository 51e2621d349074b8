"""How often somebody may ask: by key, or by address, over all processes together.

given a bucket
  ├── in Redis and in Python it lets through the same requests, whatever the clock does
  ├── never more than its burst at once, its rate in the long run, and its quota a day
  └── whoever waits as long as he is told is let through
given a file of keys
  ├── a key has its own limits, one that is unknown is refused, none is the address's
  └── a file that is wrong stops the start with one sentence, and shows no hash
given a Redis that is away
  └── each process lets through its share
given an API with a limit
  └── beyond it queries are 429 and told when to come again; probes and metrics never are
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from starlette.requests import Request
from typer.testing import CliRunner

from corechain.async_client import AsyncClient
from corechain.http import LoopClients
from corechain.protocol.errors import InvalidValue
from corechain.service.settings import InvalidSetting
from corechain.steps import ApiUnavailable
from corechain_indexer.api.admission import Admission
from corechain_indexer.api.keys import ApiKey, KeyRing, digest_of, key_ring, new_key
from corechain_indexer.commands import commands
from corechain_indexer.errors import TooManyRequests, UnknownApiKey
from corechain_indexer.limits import DAY_MS, TOKEN, Allowance, Bucket, Buckets
from corechain_indexer.metrics import Metrics
from corechain_indexer.store import latest
from corechain_indexer.store.latest import connect_cache
from corechain_indexer.store.quotas import Quotas
from indexer.support import Driven, World

START = 1_790_000_000_000
allowances = st.builds(
    Allowance, st.integers(0, 9), st.integers(1, 12), st.sampled_from([0, 0, 3, 20])
)
steps = st.lists(st.sampled_from([0, 0, 0, 1, 40, 111, 900, 5_000, -700, DAY_MS]), max_size=40)


@pytest_asyncio.fixture
async def redis(bus_url: str) -> AsyncIterator[Redis]:
    client = connect_cache(bus_url)
    yield client
    await client.aclose()


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(allowance=allowances, steps=steps)
async def test_redis_and_python_let_through_the_same(
    redis: Redis, allowance: Allowance, steps: list[int]
) -> None:
    quotas, buckets, now = Quotas(redis), Buckets(), START
    await redis.delete("corechain:quota:0:twin")
    for step in steps:
        now += step
        ours = buckets.take("twin", allowance, now)
        assert await quotas.take("twin", allowance, now) == ours
        assert await redis.pttl("corechain:quota:0:twin") > 0


async def test_indexes_of_two_chains_count_apart_in_one_redis(redis: Redis) -> None:
    once, chains = Allowance(0, 0, 1), [Quotas(redis, 101), Quotas(redis, 102)]
    for chain_id in (101, 102):
        await redis.delete(f"corechain:quota:{chain_id}:someone")
    assert [(await quotas.take("someone", once, START)).is_allowed for quotas in chains] == [
        True
    ] * 2
    assert not (await chains[0].take("someone", once, START)).is_allowed


@given(allowance=allowances, steps=steps)
def test_no_more_comes_through_than_allowed(allowance: Allowance, steps: list[int]) -> None:
    bucket, now, let = Bucket(allowance.burst * TOKEN, START), START, list[int]()
    for step in steps:
        now += step
        taken = bucket.take(allowance, now)
        if taken.is_allowed:
            let.append(taken.at)
        else:
            after = taken.at + 1_000 * taken.wait_s(allowance)
            assert (
                Bucket(bucket.thousandths, bucket.at, bucket.day, bucket.used)
                .take(allowance, after)
                .is_allowed
            )
    for place, first in enumerate(let):
        for count, last in enumerate(let[place:], 1):
            if allowance.per_second:
                allowed = allowance.burst + (last - first) * allowance.per_second / 1000
                assert count <= allowed
            if allowance.per_day and first // DAY_MS == last // DAY_MS:
                assert count <= allowance.per_day


def test_the_bucket_that_was_used_longest_ago_is_forgotten() -> None:
    buckets, allowance = Buckets(most=2), Allowance(1, 1)
    for name in "abac":
        buckets.take(name, allowance, START)
    assert not buckets.take("a", allowance, START).is_allowed
    assert buckets.take("b", allowance, START).is_allowed


# ----------------------------------------------------------------------------- keys


def request(peer: str = "192.0.2.7", **headers: str) -> Request:
    fields = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    return Request({"type": "http", "headers": fields, "client": (peer, 1), "path": "/"})


def admission(redis: Redis, **changes: Any) -> Admission:
    values = {"anonymous": Allowance(2, 2), "clock": lambda: START / 1000, "burst_s": 1}
    return Admission(Quotas(redis), Metrics(), **(values | changes))


@pytest_asyncio.fixture
async def fresh(redis: Redis) -> Redis:
    await redis.flushdb()
    return redis


async def let_through(admitted: Admission, tries: int, asking: Request) -> int:
    count = 0
    for _ in range(tries):
        try:
            await admitted.admit(asking)
        except TooManyRequests:
            continue
        count += 1
    return count


async def test_each_address_and_each_key_has_a_bucket_of_its_own(
    fresh: Redis, tmp_path: Path
) -> None:
    secret, entry = new_key("desk", per_second=5, per_day=0)
    other, more = new_key("other", per_second=0, per_day=3)
    path = tmp_path / "keys.toml"
    path.write_text(entry + more)
    admitted = admission(fresh, keys=key_ring(path))
    assert await let_through(admitted, 9, request()) == 2
    assert await let_through(admitted, 9, request("192.0.2.8")) == 2
    assert await let_through(admitted, 9, request("2001:db8::1")) == 2
    assert await let_through(admitted, 9, request("2001:db8::2")) == 0, "the same /64"
    assert await let_through(admitted, 9, request(authorization=f"Bearer {secret}")) == 5
    assert await let_through(admitted, 9, request(x_api_key=secret)) == 0, "the same key"
    assert await let_through(admitted, 9, request(x_api_key=other)) == 3
    for wrong in ("", "cck_", secret[:-1], secret + " x", "x" * 9_000):
        with pytest.raises(UnknownApiKey):
            await admitted.admit(request(x_api_key=wrong))
    registry = admitted.metrics.registry
    assert registry.get_sample_value("corechain_requests_by_key_total", {"key": "desk"}) == 18
    assert registry.get_sample_value("corechain_requests_limited_total", {"key": "other"}) == 6


async def test_without_limits_nobody_is_counted(fresh: Redis) -> None:
    free = admission(fresh, anonymous=None)
    assert await let_through(free, 50, request(authorization="Bearer whatever")) == 50
    assert await fresh.dbsize() == 0


async def test_what_is_left_is_in_the_headers(fresh: Redis) -> None:
    admitted = admission(fresh, anonymous=Allowance(2, 4, 100))
    headers = await admitted.admit(request())
    assert headers["ratelimit-policy"] == '"burst";q=4;w=2, "daily";q=100;w=86400'
    assert headers["ratelimit"].startswith('"burst";r=3;t=1, "daily";r=99;t=')


async def test_several_processes_share_a_bucket_and_without_redis_divide_it(fresh: Redis) -> None:
    together = [admission(fresh, anonymous=Allowance(6, 6), processes=3) for _ in range(3)]
    assert sum([await let_through(one, 6, request()) for one in together]) == 6
    nowhere = connect_cache("redis://127.0.0.1:1")
    apart = [admission(nowhere, anonymous=Allowance(6, 6), processes=3) for _ in range(3)]
    assert sum([await let_through(one, 6, request()) for one in apart]) == 6
    away = {"store": "quotas", "reason": "away"}
    registry = apart[0].metrics.registry
    assert registry.get_sample_value("corechain_bypassed_total", away) == 6, "counted each time"
    await nowhere.aclose()


async def test_a_redis_that_hangs_holds_up_no_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latest, "READ_LIMIT_S", 0.05)
    hung = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hung.wait()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = connect_cache(f"redis://127.0.0.1:{port}")
        admitted = admission(client, anonymous=Allowance(4, 4), processes=2)
        assert await let_through(admitted, 9, request()) == 2, "one share of two"
        hung.set()
        await client.aclose()


ENTRY = "[[key]]\nname = 'a'\nsha256 = '" + "0" * 64 + "'\n"


@pytest.mark.parametrize(
    "text",
    [
        "key = 1",
        "[[key]]\nname = 'a'",
        ENTRY.replace("'a'", "'a b'"),
        ENTRY.replace("0" * 64, "A" * 64),
        ENTRY + "per_second = -1",
        ENTRY + "per_minute = 1",
        ENTRY * 2,
        "[[",
        "\0",
    ],
)
def test_a_wrong_file_is_refused_without_its_hashes(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(InvalidSetting, match="INDEXER_API_KEYS_FILE") as refused:
        key_ring(path)
    assert "0000" not in str(refused.value)
    with pytest.raises(InvalidSetting, match="INDEXER_API_KEYS_FILE"):
        key_ring(tmp_path / "missing.toml")


def test_the_command_makes_a_key_that_its_entry_lets_in(tmp_path: Path) -> None:
    made = CliRunner().invoke(commands, ["api-key", "desk", "--per-day", "7"])
    path = tmp_path / "keys.toml"
    path.write_text(made.stdout)
    found = key_ring(path).find(made.stderr.strip())
    assert found is not None
    assert (found.name, found.per_second, found.per_day) == ("desk", 0, 7)
    wrong = CliRunner().invoke(commands, ["api-key", "a b"])
    assert wrong.exit_code != 0
    assert "a name is" in wrong.stderr


# ----------------------------------------------------------------------------- over HTTP


@asynccontextmanager
async def limited(indexer: Driven, anonymous: Allowance) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an API with this limit, whose clock stands still."""
    api = indexer.indexer.api()
    await indexer.indexer.redis.flushdb()
    api.admission.anonymous, api.admission.clock = anonymous, lambda: START / 1000
    transport = httpx.ASGITransport(app=api.app(queries=True))
    async with httpx.AsyncClient(transport=transport, base_url="http://indexer") as client:
        yield client


async def test_beyond_the_limit_queries_are_told_when_to_come_again(indexer: Driven) -> None:
    async with limited(indexer, Allowance(1, 3)) as api:
        for left, path in ((2, "/v1/status"), (1, "/v1/batches/99"), (0, "/v1/devices?limit=0")):
            response = await api.get(path)
            assert response.status_code in (200, 404, 400)
            assert response.headers["ratelimit"].startswith(f'"burst";r={left};')
        refused = await api.get("/v1/devices")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["type"] == "urn:corechain:error:TooManyRequests"
        assert refused.headers["ratelimit"].startswith('"burst";r=0;')
        for path in ("/health", "/metrics", "/openapi.json"):
            assert (await api.get(path)).status_code == 200
        assert (await api.get("/ready")).status_code in (200, 503)
    assert indexer.metric("corechain_requests_limited_total", key="anonymous") == 1


async def test_the_sdk_sends_its_key_to_the_api_and_says_when_to_come_again(
    world: World, indexer: Driven
) -> None:
    secret = "cck_desk"
    ring = KeyRing({digest_of(secret): ApiKey("desk", digest_of(secret), per_day=9)})
    api = indexer.indexer.api()
    api.admission.keys, api.admission.anonymous = ring, Allowance(0, 1, 1)
    api.admission.clock = lambda: START / 1000
    await indexer.indexer.redis.flushdb()
    transport, here = httpx.ASGITransport(app=api.app(queries=True)), "http://indexer"

    def client(**changes: str) -> AsyncClient:
        made = AsyncClient(here, here, world.chain.rpc_url, world.chain.deployment, **changes)
        made.__dict__["_clients"] = LoopClients(lambda: httpx.AsyncClient(transport=transport))
        return made

    async with client(api_key=secret) as known, client() as stranger:
        for _ in range(3):
            await known.status()
        await stranger.status()
        with pytest.raises(ApiUnavailable, match="may ask again") as refused:
            await stranger.status()
    assert (refused.value.status, refused.value.problem) == (429, "TooManyRequests")
    assert refused.value.retry_after_s is not None
    assert secret not in repr(known)
    with pytest.raises(InvalidValue, match="api_key") as wrong:
        client(api_key="two words")
    assert "two words" not in str(wrong.value)


async def test_an_unknown_key_is_refused(indexer: Driven) -> None:
    api = indexer.indexer.api()
    api.admission.keys = KeyRing({})
    transport = httpx.ASGITransport(app=api.app(queries=True))
    async with httpx.AsyncClient(transport=transport, base_url="http://indexer") as client:
        refused = await client.get("/v1/status", headers={"authorization": "Bearer nobody's"})
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert refused.json()["type"] == "urn:corechain:error:UnknownApiKey"
