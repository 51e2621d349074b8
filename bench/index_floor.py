"""The floor of bench/index.py: the same logs to the same rows, with nothing checked.

Ranges of eth_getLogs, four in flight; msgspec to typed objects, hex to slices, COPY into a table
with the key (block, log). No cursor, no headers, no projections, no reorgs.
"""

import asyncio
from collections.abc import Sequence

import aiohttp
import asyncpg
import msgspec

IN_FLIGHT = 4
RANGE_BLOCKS = 100
COLUMNS = "block_number", "log_index", "block_hash", "transaction", "address", "topics", "data"
TABLE = """
create table raw (block_number bigint, log_index integer, block_hash bytea, transaction bytea,
                  address bytea, topics bytea, data bytea, primary key (block_number, log_index))
"""


class _Log(msgspec.Struct, rename="camel"):
    address: str
    topics: list[str]
    data: str
    block_number: str
    block_hash: str
    transaction_hash: str
    log_index: str


class _Answer(msgspec.Struct):
    result: list[_Log]


_decode = msgspec.json.Decoder(_Answer).decode
_octets = bytes.fromhex


def _row(entry: _Log) -> tuple[int, int, bytes, bytes, bytes, bytes, bytes]:
    return (
        int(entry.block_number, 16),
        int(entry.log_index, 16),
        _octets(entry.block_hash[2:]),
        _octets(entry.transaction_hash[2:]),
        _octets(entry.address[2:]),
        b"".join([_octets(topic[2:]) for topic in entry.topics]),
        _octets(entry.data[2:]),
    )


async def _fetch(client: aiohttp.ClientSession, url: str, first: int, last: int) -> bytes:
    query = {"fromBlock": hex(first), "toBlock": hex(last)}
    body = {"jsonrpc": "2.0", "id": 1, "method": "eth_getLogs", "params": [query]}
    async with client.post(url, json=body) as response:
        return await response.read()


async def floor(node: str, database: str, last: int) -> int:
    """Stores all logs up to a block; their number."""
    connection = await asyncpg.connect(database)
    await connection.execute(TABLE)
    ranges = [(first, min(first + RANGE_BLOCKS - 1, last)) for first in range(1, last + 1, 100)]
    stored = 0
    async with aiohttp.ClientSession() as client:
        flying: list[asyncio.Task[bytes]] = []
        for place in range(len(ranges) + IN_FLIGHT):
            if place < len(ranges):
                flying.append(asyncio.create_task(_fetch(client, node, *ranges[place])))
            if place >= IN_FLIGHT:
                stored += await _store(connection, await flying.pop(0))
    await connection.close()
    return stored


async def _store(connection: "asyncpg.Connection[asyncpg.Record]", answer: bytes) -> int:
    rows: Sequence[object] = [_row(entry) for entry in _decode(answer).result]
    await connection.copy_records_to_table("raw", records=rows, columns=COLUMNS)
    return len(rows)
