"""What is told of an outage names what failed, never where the server is."""

import socket
import ssl

import asyncpg
import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from corechain.service.database import asked
from corechain.service.errors import NodeUnavailable, StoreUnavailable
from corechain.service.reasons import reason_of
from corechain.service.rpc import Rpc


async def test_a_node_that_refuses_is_told_without_its_address() -> None:
    rpc = Rpc("http://127.0.0.1:9/secret")
    with pytest.raises(NodeUnavailable) as told:
        await rpc.head()
    assert str(told.value) == ("eth_getBlockByNumber: ClientConnectorError: Connection refused")
    await rpc.close()


def test_a_node_whose_name_is_its_key_is_told_without_it() -> None:
    error = OSError("Cannot connect to host key-of-ours.example:443 ssl:default")
    error.__cause__ = socket.gaierror(-2, "Name or service not known")
    assert reason_of(error) == "OSError: the host name cannot be resolved"


async def test_a_database_that_refuses_is_told_without_its_address() -> None:
    with pytest.raises(StoreUnavailable) as told:
        await asked(asyncpg.connect("postgresql://someone@127.0.0.1:9/corechain"))
    assert str(told.value) == "Postgres is not there (connection refused)"


async def test_a_cache_that_refuses_is_told_without_its_address() -> None:
    redis = Redis.from_url("redis://127.0.0.1:9/0")
    with pytest.raises(RedisError) as raised:
        await redis.ping()
    assert reason_of(raised.value) == "ConnectionError: Connection refused"
    await redis.aclose()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError("Multiple exceptions: Connect call failed ('::1', 80)"), "OSError"),
        (TimeoutError("Timeout reading from db.example:6379"), "TimeoutError"),
        (FileNotFoundError(2, "none", "/run/x"), "FileNotFoundError: No such file or directory"),
        (ssl.SSLError(1, "to https://a.example"), "SSLError"),
        (ValueError("the server is starting up"), "ValueError: the server is starting up"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_a_text_that_names_a_place_is_left_out(error: Exception, told: str) -> None:
    assert reason_of(error) == told
