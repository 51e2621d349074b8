"""A Redis that failed is left alone, and tried by one at a time."""

import pytest
from redis.asyncio import Redis

from corechain_indexer.errors import CacheUnavailable
from corechain_indexer.store.breaker import AWAY_S, Breaker
from corechain_indexer.store.latest import connect_cache, told


def test_after_a_failure_one_at_a_time_tries_until_one_is_answered() -> None:
    now = [100.0]
    breaker = Breaker(lambda: now[0])
    assert [breaker.lets_ask() for _ in range(3)] == [True] * 3
    breaker.failed()
    assert not breaker.lets_ask()
    for _ in range(2):
        now[0] += AWAY_S
        assert [breaker.lets_ask() for _ in range(3)] == [True, False, False]
    breaker.answered()
    assert [breaker.lets_ask() for _ in range(3)] == [True] * 3


async def test_an_outage_of_redis_is_named_without_its_address() -> None:
    nowhere: Redis = connect_cache("redis://127.0.0.1:1")
    with pytest.raises(CacheUnavailable, match=r"^Redis is not there$"):
        await told(nowhere.ping())
    await nowhere.aclose()
