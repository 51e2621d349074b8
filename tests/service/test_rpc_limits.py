"""A node's answer is not read beyond what its call can need, whatever length it has or announces.

Counted are the bytes that the service takes, not its memory: they are what it could keep.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from support.fake_chain import FakeChain, fake_chain
from support.node import odd_node, stream_server
from support.processes import PATIENCE_S

from corechain import rpc_limits
from corechain.node import Node, UnfitAnswer
from corechain.protocol.events import RootVetoed
from corechain.rpc_limits import longest_answer, longest_batch
from corechain.service.chain_reader import ChainReader
from corechain.service.errors import AnswerOverLimit, NodeRefused, NodeUnavailable
from corechain.service.known_chain import Extended, MemoryChain
from corechain.service.rpc import Call, Rpc, logs_in_ranges
from corechain.service.words import Block, Log

ADDRESS = bytes(19) + b"\1"
CHUNK = 1 << 14
IN_FLIGHT = 16 << 20
"""What sockets and streams of both sides may hold beyond what was read."""
METHODS = {
    "eth_chainId": (),
    "eth_gasPrice": (),
    "eth_sendRawTransaction": ("0x00",),
    "eth_getTransactionReceipt": ("0x" + "11" * 32,),
    "eth_getBlockByNumber": ("latest", False),
    "eth_call": ({}, "latest"),
    "eth_getLogs": ({},),
    "anything_else": (),
}


class Endless:
    """A node whose answers never end: with a length that is a lie, or in chunks without one."""

    def __init__(self, is_chunked: bool) -> None:
        self.is_chunked, self.sent = is_chunked, 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        framing = "transfer-encoding: chunked" if self.is_chunked else f"content-length: {1 << 40}"
        writer.write(f"HTTP/1.1 200 x\r\n{framing}\r\n\r\n".encode())
        piece = b" " * CHUNK
        if self.is_chunked:
            piece = f"{CHUNK:x}\r\n".encode() + piece + b"\r\n"
        while True:
            writer.write(piece)
            await writer.drain()
            self.sent += CHUNK


@asynccontextmanager
async def endless(is_chunked: bool) -> AsyncIterator[tuple[Endless, str]]:
    node = Endless(is_chunked)
    async with stream_server(node.serve) as url:
        yield node, url


@pytest.fixture(autouse=True)
def few_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_limits, "LOGS_BYTES", 1 << 20)  # else each test would send 64 MiB


@pytest.mark.parametrize("is_chunked", [False, True], ids=["a length", "chunks"])
@pytest.mark.parametrize("method", METHODS)
async def test_no_answer_is_read_beyond_the_limit_of_its_method(
    method: str, is_chunked: bool
) -> None:
    most = longest_answer(method, METHODS[method])
    async with endless(is_chunked) as (node, url):
        rpc = Rpc(url, PATIENCE_S)
        wanted = AnswerOverLimit if method == "eth_getLogs" else NodeUnavailable
        with pytest.raises(wanted, match=f"the answer is over the limit of {most} bytes"):
            await rpc.call(method, *METHODS[method])
        # An announced length is refused before anything is read.
        assert node.sent <= IN_FLIGHT + (most if is_chunked else 0)
        await rpc.close()


@pytest.mark.parametrize("is_chunked", [False, True], ids=["a length", "chunks"])
async def test_a_batch_may_be_as_long_as_its_calls_together(is_chunked: bool) -> None:
    calls = [Call("eth_chainId"), Call("eth_gasPrice")]
    most = longest_batch((call.method, call.params) for call in calls)
    assert most == 2 * rpc_limits.WORD_BYTES
    async with endless(is_chunked) as (_, url):
        rpc = Rpc(url, PATIENCE_S)
        with pytest.raises(NodeUnavailable, match=f"over the limit of {most} bytes"):
            await rpc.call_many(calls)
        await rpc.close()


@pytest.mark.parametrize("is_chunked", [False, True], ids=["a length", "chunks"])
async def test_clients_read_no_further_either(is_chunked: bool) -> None:
    async with endless(is_chunked) as (_, url):
        node = Node(url)
        with pytest.raises(UnfitAnswer, match=f"over the limit of {rpc_limits.WORD_BYTES} bytes"):
            await asyncio.to_thread(node.chain_id)
        node.close()


def test_whole_blocks_may_be_longer_and_a_batch_no_longer_than_logs() -> None:
    whole = longest_answer("eth_getBlockByNumber", ("0x1", True))
    assert whole == rpc_limits.WHOLE_BLOCK_BYTES > longest_answer("eth_getBlockByNumber", ("0x1",))
    assert longest_batch([("eth_getLogs", ())] * 5) == rpc_limits.LOGS_BYTES


# ------------------------------------------------------------------ logs: a smaller range


def dense(most_blocks: int, asked: list[tuple[int, int]]) -> Callable[[Any], tuple[int, bytes]]:
    """A node whose logs of more than so many blocks are over the limit; single calls and batches.
    `asked` gets the ranges that fitted."""

    def answer(request: Any) -> dict[str, Any]:
        found: Any = []
        if request["method"] == "eth_getLogs":
            query = request["params"][0]
            if "blockHash" in query:
                first = last = 0
            else:
                first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
            if last - first >= most_blocks:
                found = " " * (rpc_limits.LOGS_BYTES + 1)
            else:
                asked.append((first, last))
        elif request["method"] == "eth_getBlockByNumber":
            found = HEADER | {"number": request["params"][0]}
        else:
            found = "0x1"
        return {"id": request["id"], "result": found}

    def reply(request: Any) -> tuple[int, bytes]:
        is_batch = isinstance(request, list)
        said = [answer(one) for one in request] if is_batch else answer(request)
        return 200, json.dumps(said).encode()

    return reply


async def test_logs_over_the_limit_are_asked_for_in_smaller_ranges() -> None:
    asked: list[tuple[int, int]] = []
    async with odd_node(dense(10, asked)) as node:
        rpc = Rpc(node.url, PATIENCE_S)
        assert await logs_in_ranges(rpc, [ADDRESS], [], 0, 39, 40) == []
        await rpc.close()
    assert [n for first, last in asked for n in range(first, last + 1)] == list(range(40))


@pytest.mark.parametrize(("most", "dense"), [(100, range(0)), (10**6, range(3_000, 3_100))])
async def test_ranges_grow_again_behind_what_was_refused(most: int, dense: range) -> None:
    """A node refuses by blocks, or by logs, which one part of a chain has many of."""

    class OfLimits:
        times = 0

        async def logs(self, addresses: Any, topics: Any, first: int, last: int) -> list[Any]:
            self.times += 1
            many = sum(first <= number <= last for number in dense)
            if last - first >= most or many > 1:
                raise NodeRefused("eth_getLogs", -32005, "query returned more than 10000 results")
            return [(first, last)]

    node: Any = OfLimits()
    found: Any = await logs_in_ranges(node, [ADDRESS], [], 0, 199_999, 10_000)
    assert found[0][0] == 0
    assert all(before[1] + 1 == behind[0] for before, behind in pairwise(found))
    assert node.times < 1.4 * 200_000 / min(most, 10_000) + 6 * len(dense)


async def test_in_a_batch_the_logs_alone_are_refused_and_batches_go_on() -> None:
    async with odd_node(dense(0, [])) as node:
        rpc = Rpc(node.url, PATIENCE_S)
        query = {"fromBlock": "0x0", "toBlock": "0x9"}
        calls = [Call("eth_chainId"), Call("eth_getLogs", (query,)), Call("eth_gasPrice")]
        first, logs, last = await rpc.call_many(calls)
        (alone,) = await rpc.call_many(calls[1:2])
        await rpc.close()
    assert (first, last) == ("0x1", "0x1")
    assert isinstance(logs, AnswerOverLimit)
    assert isinstance(alone, AnswerOverLimit)


HEADER = {"hash": "0x" + "01" * 32, "parentHash": "0x" + "00" * 32, "timestamp": "0x0"}
BLOCK = Block(5, b"\1" * 32, bytes(32), timestamp=0, base_fee=0)
SINGLE: dict[str, Callable[[Rpc], Awaitable[Any]]] = {
    "a range": lambda rpc: logs_in_ranges(rpc, [ADDRESS], [], 5, 5, 1),
    "by its hash": lambda rpc: rpc.logs_of_block([ADDRESS], [], BLOCK),
}


@pytest.mark.parametrize("ask", SINGLE.values(), ids=SINGLE.keys())
async def test_a_single_block_over_the_limit_is_an_error_with_the_number(
    ask: Callable[[Rpc], Awaitable[Any]],
) -> None:
    async with odd_node(dense(0, [])) as node:
        rpc = Rpc(node.url, PATIENCE_S)
        with pytest.raises(
            AnswerOverLimit, match=f"limit of {rpc_limits.LOGS_BYTES} bytes"
        ) as raised:
            await ask(rpc)
        assert raised.value.most == rpc_limits.LOGS_BYTES
        await rpc.close()


class Reading:
    """What a mirror reads of a chain, and keeps."""

    def __init__(self, chain: FakeChain) -> None:
        self.rpc, self.known, self.logs = Rpc(chain.url, PATIENCE_S), MemoryChain(), list[Log]()
        self.reader = ChainReader(self.rpc, [ADDRESS], 1, 2_000, 8)

    async def to_the_head(self) -> None:
        while isinstance(change := await self.reader.look(self.known), Extended):
            self.logs += change.logs
            self.known.extend(change.blocks)
            self.known.settle(change.final)


@pytest.fixture
def hundreds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some 200 logs are the longest answer; the headers of a look fit beside them."""
    monkeypatch.setattr(rpc_limits, "LOGS_BYTES", 100_000)


@pytest.mark.usefixtures("hundreds")
@pytest.mark.parametrize("behind", [300, 0], ids=["deep", "near the head"])
async def test_a_mirror_reads_ranges_over_the_limit_in_pieces(behind: int) -> None:
    with fake_chain() as chain:
        for n in range(40):
            chain.mine([(ADDRESS, RootVetoed(n))] * 15)
        for _ in range(behind):
            chain.mine()
        chain.catch_up()
        reading = Reading(chain)
        await reading.to_the_head()
        await reading.rpc.close()
    assert len(reading.logs) == 40 * 15


@pytest.mark.usefixtures("hundreds")
@pytest.mark.parametrize("behind", [300, 0], ids=["deep", "near the head"])
async def test_a_mirror_names_the_limit_that_a_single_block_exceeds(behind: int) -> None:
    with fake_chain() as chain:
        chain.mine()
        chain.mine([(ADDRESS, RootVetoed(1))] * 256)
        for _ in range(behind):
            chain.mine()
        chain.catch_up()
        reading = Reading(chain)
        with pytest.raises(NodeUnavailable, match="limit of 100000 bytes"):
            await reading.to_the_head()
        await reading.rpc.close()
