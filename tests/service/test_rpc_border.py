"""Whatever a node says, a service sees a typed answer, an outage or a refusal: nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.node import Reply, body, odd_node, stream_server
from support.processes import PATIENCE_S
from support.scripted import answer

from corechain.service import poster
from corechain.service.errors import NodeBehind, NodeRefused, NodeUnavailable
from corechain.service.progress import HEARD_BY
from corechain.service.rpc import Call, Rpc, logs_in_ranges
from corechain.service.words import (
    Block,
    Log,
    LogParser,
    octets,
    parse_block,
    parse_log,
    quantity,
)

ADDRESS, OTHER = bytes(19) + b"\1", bytes(19) + b"\2"
HASH = "0x" + "11" * 32
BLOCK = {
    "number": "0x10",
    "hash": HASH,
    "parentHash": "0x" + "22" * 32,
    "timestamp": "0x5",
    "baseFeePerGas": "0x7",
    "logsBloom": "0x" + "00" * 256,
}
LOG = {
    "address": "0x" + ADDRESS.hex(),
    "topics": ["0x" + "33" * 32],
    "data": "0x",
    "blockNumber": "0x10",
    "blockHash": HASH,
    "transactionHash": "0x" + "44" * 32,
    "logIndex": "0x0",
}
QUESTIONS: dict[str, Callable[[Rpc], Awaitable[Any]]] = {
    "chain id": lambda rpc: rpc.chain_id(),
    "head": lambda rpc: rpc.head(),
    "block": lambda rpc: rpc.block(16),
    "blocks": lambda rpc: rpc.blocks([16, 17]),
    "logs": lambda rpc: rpc.logs([ADDRESS], [], 16, 17),
    "call": lambda rpc: rpc.eth_call(ADDRESS, b"\1\2\3\4"),
    "batch": lambda rpc: rpc.call_many([Call("eth_chainId"), Call("eth_chainId")]),
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


def spoiled(document: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The document with one field replaced by something else, or left out."""
    field = st.sampled_from(sorted(document))
    replaced = st.builds(lambda name, value: document | {name: value}, field, json_values)
    without = st.builds(lambda name: {k: v for k, v in document.items() if k != name}, field)
    return replaced | without


answers = (
    json_values
    | st.builds(lambda value: {"jsonrpc": "2.0", "id": 1, "result": value}, json_values)
    | st.builds(lambda value: {"jsonrpc": "2.0", "id": 1, "error": value}, json_values)
    | st.builds(lambda v: {"id": 1, "result": v}, spoiled(BLOCK))
    | st.builds(lambda v: {"id": 1, "result": [v]}, spoiled(LOG))
    | st.builds(lambda v: [{"id": 1, "result": v}, {"id": 2, "result": v}], spoiled(BLOCK))
).map(lambda value: json.dumps(value).encode())


@given(
    content=answers | st.binary(max_size=60),
    status=st.sampled_from([200, 200, 302, 400, 429, 503]),
    question=st.sampled_from(sorted(QUESTIONS)),
)
@settings(max_examples=120, deadline=None)
async def test_no_answer_of_a_node_is_more_than_an_outage(
    content: bytes, status: int, question: str
) -> None:
    async with odd_node(body(content, status)) as node:
        rpc = Rpc(node.url, 5.0)
        try:
            await QUESTIONS[question](rpc)
        except (NodeUnavailable, NodeRefused):
            pass
        finally:
            await rpc.close()


@given(json_values)
def test_words_are_read_as_they_are_written_or_not_at_all(raw: Any) -> None:
    for read in (lambda: quantity(raw, "x"), lambda: octets(raw, "x", 20)):
        try:
            found = read()
        except NodeUnavailable:
            continue
        assert isinstance(raw, str)
        assert isinstance(found, int) or len(found) == 20


@given(st.integers(0, 2**64 - 1), st.binary(max_size=40))
def test_well_formed_words_are_read(number: int, data: bytes) -> None:
    assert quantity(hex(number), "a number") == number
    assert octets("0x" + data.hex(), "data", len(data)) == data


@pytest.mark.parametrize(
    "raw", ["0x", "10", "0x-1", "0x1_0", "0x 1", "0x" + "f" * 17, "0xg", 5, None, True, "0X1"]
)
def test_what_looks_like_a_number_to_python_only_is_refused(raw: object) -> None:
    with pytest.raises(NodeUnavailable):
        quantity(raw, "a number")


@pytest.mark.parametrize("raw", ["0x1", "1234", "0x12 34", "0x12", None, ["0x1234"], "0x123g"])
def test_what_looks_like_two_octets_is_refused(raw: object) -> None:
    with pytest.raises(NodeUnavailable):
        octets(raw, "two octets", 2)


def test_a_whole_block_and_a_whole_log_are_read() -> None:
    block, log = parse_block(BLOCK), parse_log(LOG)
    assert (block.number, block.base_fee, len(block.logs_bloom or b"")) == (16, 7, 256)
    assert (log.address, log.index, log.topics) == (ADDRESS, 0, (b"\x33" * 32,))
    assert parse_block({k: v for k, v in BLOCK.items() if k != "baseFeePerGas"}).base_fee == 0


def test_numbers_that_no_chain_reaches_are_no_facts() -> None:
    """64 bits are a quantity; a database keeps 63 of a block's number and 31 of a log's index."""
    top, most = {"blockNumber": hex(2**63 - 1)}, {"logIndex": hex(2**31 - 1)}
    assert parse_log(LOG | top | most) == LogParser().read(LOG | top | most)
    assert parse_block(BLOCK | {"number": hex(2**63 - 1)}).number == 2**63 - 1
    for beyond in ({"blockNumber": hex(2**63)}, {"logIndex": hex(2**31)}):
        for read in (parse_log, LogParser().read):
            with pytest.raises(NodeUnavailable):
                read(LOG | beyond)
    with pytest.raises(NodeUnavailable):
        parse_block(BLOCK | {"number": hex(2**63)})


LATER = LOG | {"blockNumber": "0x11", "logIndex": "0x3", "topics": []}


@given(st.lists(st.sampled_from([LOG, LATER]) | spoiled(LOG) | spoiled(LATER), max_size=4))
def test_logs_of_one_answer_are_read_as_each_would_be_alone(raws: list[Any]) -> None:
    """What is remembered from one log to the next changes nothing, nor does a wrong one between."""
    parser = LogParser()
    for raw in raws:
        assert _read(parser.read, raw) == _read(parse_log, raw)


@pytest.mark.parametrize("word", ["0x" + "ab" * 31, "0x" + "ab" * 31 + "  ", "ab" * 33, "0x", 5])
def test_a_word_of_a_wrong_form_is_wrong_also_the_second_time(word: object) -> None:
    parser, right = LogParser(), [LOG["blockHash"]]
    for topics in ([word], right, [word]):
        raw = LOG | {"topics": topics}
        assert _read(parser.read, raw) == _read(parse_log, raw)


def _read(read: Callable[[Any], Log], raw: Any) -> Log | None:
    try:
        return read(raw)
    except NodeUnavailable:
        return None


def with_headers(logs: Callable[[Any], dict[str, Any]]) -> Reply:
    """Answers a question for logs, in a batch with a header that is as it should be."""

    def one(call: Any) -> dict[str, Any]:
        if call["method"] == "eth_getBlockByNumber":
            return {"result": BLOCK | {"number": call["params"][0]}}
        return logs(call)

    def reply(request: Any) -> tuple[int, bytes]:
        if isinstance(request, list):
            said: Any = [{"id": call["id"]} | one(call) for call in request]
        else:
            said = {"id": request["id"]} | logs(request)
        return 200, json.dumps(said).encode()

    return reply


async def ask(value: Any, question: Callable[[Rpc], Awaitable[Any]]) -> Any:
    async with odd_node(with_headers(lambda call: {"result": value})) as node:
        rpc = Rpc(node.url, 5.0)
        try:
            return await question(rpc)
        finally:
            await rpc.close()


async def test_logs_come_in_order_whatever_order_they_were_sent_in() -> None:
    sent = [LOG | {"logIndex": "0x2"}, LOG | {"logIndex": "0x1"}]
    logs: list[Log] = await ask(sent, lambda rpc: rpc.logs([ADDRESS], [], 16, 16))
    assert [log.index for log in logs] == [1, 2]


UNASKED = {
    "of another contract": [LOG | {"address": "0x" + OTHER.hex()}],
    "of a block outside": [LOG | {"blockNumber": "0x12"}],
    "with another topic": [LOG | {"topics": ["0x" + "55" * 32]}],
    "without a topic": [LOG | {"topics": []}],
    "twice in one place": [LOG, LOG],
    "of two blocks of one number": [LOG, LOG | {"logIndex": "0x1", "blockHash": "0x" + "66" * 32}],
    "that was removed": [LOG | {"removed": True}],
}


@pytest.mark.parametrize("sent", UNASKED.values(), ids=UNASKED.keys())
async def test_a_log_that_cannot_be_an_answer_is_an_outage(sent: list[Any]) -> None:
    topics = [LOG["topics"][0]]
    with pytest.raises(NodeUnavailable):
        await ask(sent, lambda rpc: rpc.logs([ADDRESS], topics, 16, 17))


async def test_another_block_than_the_one_asked_for_is_an_outage() -> None:
    with pytest.raises(NodeUnavailable, match="for block 17"):
        await ask(BLOCK, lambda rpc: rpc.block(17))


async def test_a_block_that_a_node_has_not_seen_is_none_not_an_error() -> None:
    assert await ask(None, lambda rpc: rpc.block(17)) is None


async def test_logs_by_hash_must_be_of_that_block() -> None:
    block = Block(16, b"\x77" * 32, bytes(32), 5, 0)
    with pytest.raises(NodeUnavailable, match="another block"):
        await ask([LOG], lambda rpc: rpc.logs_of_block([ADDRESS], [], block))
    with pytest.raises(NodeBehind):
        await ask(None, lambda rpc: rpc.logs_of_block([ADDRESS], [], block))


async def test_a_batch_gives_results_in_order_and_refusals_in_place() -> None:
    def reply(requests: Any) -> tuple[int, bytes]:
        answers = [{"jsonrpc": "2.0", "id": r["id"], "result": r["params"][0]} for r in requests]
        answers[1] = {"id": requests[1]["id"], "error": {"code": -32000, "message": "no\0\nway"}}
        return 200, json.dumps(answers[::-1]).encode()

    async with odd_node(reply) as node:
        rpc = Rpc(node.url, 5.0)
        found = await rpc.call_many([Call("echo", (str(n),)) for n in range(250)])
        await rpc.close()
    refused = [place for place, item in enumerate(found) if isinstance(item, NodeRefused)]
    assert refused == [1, 101, 201]
    # Why something waits is kept in Postgres, which takes no NUL.
    assert found[1].message == "no  way"
    assert [item for item in found if isinstance(item, str)] == [
        str(n) for n in range(250) if n not in refused
    ]


async def test_a_batch_with_a_call_left_out_is_an_outage() -> None:
    def reply(requests: Any) -> tuple[int, bytes]:
        return 200, json.dumps([{"id": requests[0]["id"], "result": "0x1"}]).encode()

    async with odd_node(reply) as node:
        rpc = Rpc(node.url, 5.0)
        with pytest.raises(NodeUnavailable, match="unanswered"):
            await rpc.call_many([Call("a"), Call("b")])
        await rpc.close()


@pytest.mark.parametrize(
    "text", ["rate limit exceeded", "Too Many Requests", "compute units per second"]
)
async def test_a_limit_on_how_often_one_may_ask_is_an_outage(text: str) -> None:
    content = json.dumps({"id": 1, "error": {"code": -32005, "message": text}}).encode()
    async with odd_node(body(content)) as node:
        rpc = Rpc(node.url, 5.0)
        with pytest.raises(NodeUnavailable):
            await rpc.chain_id()
        await rpc.close()


async def test_a_range_that_is_too_large_is_halved_until_it_fits() -> None:
    replies, asked, heard = [], [], []
    HEARD_BY.set((lambda: heard.append(1),))  # a search of years is no standstill, nor an answer

    def reply(call: Any) -> dict[str, Any]:
        replies.append(query := call["params"][0])
        first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
        if last - first >= 10:
            return {"error": {"code": -32005, "message": "query exceeds 10 blocks"}}
        asked.append((first, last))
        return {"result": []}

    async with odd_node(with_headers(reply)) as node:
        rpc = Rpc(node.url, 5.0)
        assert await logs_in_ranges(rpc, [ADDRESS], [], 0, 99, 100) == []
        await rpc.close()
    numbers = [number for first, last in asked for number in range(first, last + 1)]
    assert (numbers, len(heard)) == (list(range(100)), len(replies) + len(asked))


async def test_an_endless_answer_ends_in_time() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1\r\n \r\n")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with stream_server(drip) as url:
        rpc = Rpc(url, PATIENCE_S)
        rpc._deadline_s = 0.3  # each read is in time, however slow the machine; the whole is not
        with pytest.raises(NodeUnavailable, match="no whole answer"):
            await rpc.chain_id()
        await rpc.close()


INTERNAL = {"error": {"code": -32603, "message": "internal error"}}


@asynccontextmanager
async def nodes(*answers: Callable[[object], bytes]) -> AsyncIterator[tuple[Rpc, list[int]]]:
    """Several nodes behind one address: each connection is to the next of them, the last ones to
    the last. Whoever asks, and of how many connections."""
    opened = [0]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = answers[min(opened[0], len(answers) - 1)]
        opened[0] += 1
        with closing(writer), suppress(asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                size = int(head.lower().partition(b"content-length:")[2].split()[0])
                writer.write(said(json.loads(await reader.readexactly(size))["id"]))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        node = Rpc(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        yield node, opened
        await node.close()


def works(number: object) -> bytes:
    return answer(200, {"jsonrpc": "2.0", "id": number, "result": "0x7a69"})


@pytest.mark.parametrize("bad", [(503, {}), (200, {"error": "text"}), (200, []), (200, INTERNAL)])
async def test_a_node_that_answered_badly_is_left_for_whoever_answers_next(
    bad: tuple[int, object],
) -> None:
    async with nodes(lambda _: answer(*bad), works) as (node, opened):
        with pytest.raises((NodeUnavailable, NodeRefused)):
            await node.chain_id()
        assert [await node.chain_id() for _ in range(3)] == [31337] * 3
        assert opened == [2]


async def test_no_node_behind_an_address_is_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """What only the reader of an answer finds odd leaves the connection as it is."""

    def nothing(number: object) -> bytes:
        return answer(200, {"jsonrpc": "2.0", "id": number, "result": None})

    async with nodes(nothing, works) as (node, opened):
        for _ in range(2):
            with pytest.raises(NodeUnavailable):
                await node.chain_id()
        assert opened == [1]
        monkeypatch.setattr(poster, "OLDEST_S", 0.0)
        assert await node.chain_id() == 31337


async def test_requests_under_way_end_on_the_connection_that_is_left() -> None:
    release = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length:")[2].split()[0])
            call = json.loads(await reader.readexactly(size))
            if call["method"] == "eth_chainId":
                await release.wait()
            writer.write(works(call["id"]) if call["method"] == "eth_chainId" else answer(503, {}))
            await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        node = Rpc(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        slow = asyncio.create_task(node.chain_id())
        with pytest.raises(NodeUnavailable, match="503"):
            await node.head()
        release.set()
        assert await slow == 31337
        await node.close()
