"""A small asynchronous JSON-RPC client. No retries here: each caller knows what a retry may do.

Every answer is input (`service.words` judges it): what has the wrong form is NodeUnavailable, an
error that follows the specification is NodeRefused, and nothing else comes out.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from corechain.held import Held
from corechain.http import AnswerTooLong
from corechain.log_ranges import LogRange
from corechain.rpc_errors import INTERNAL_ERROR, RpcFailure, classify_rpc_failure
from corechain.rpc_limits import longest_answer, longest_batch
from corechain.service.answers import LOGS_METHOD, result_of, unread_answer
from corechain.service.errors import (
    AnswerOverLimit,
    NodeAccessRefused,
    NodeBehind,
    NodeBusy,
    NodeRefused,
    NodeUnavailable,
)
from corechain.service.log_table import parse_logs
from corechain.service.poster import FAILURES, Posted, Poster
from corechain.service.progress import moved
from corechain.service.reasons import legible, reason_of
from corechain.service.words import (
    Block,
    Log,
    items_of,
    octets,
    parse_block,
    quantity,
    to_hex,
    unhex,
)

__all__ = ["Block", "Call", "Log", "Questions", "Rpc", "logs_in_ranges", "to_hex", "unhex"]

BATCH_CALLS = 100
"""Calls in one HTTP request: the smallest limit that hosted providers are known to set."""
WHOLE_ANSWER = 6
"""The whole answer may take so many times the timeout of a single read, however it drips."""
REFUSALS = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
"""With these a proxy before the node refuses what is asked: a batch, or too wide a range."""
"""A fault of the node's own (JSON-RPC 2.0, section 5.1), whatever was asked."""
MESSAGE_LENGTH = 500
"""What of a node's error message goes into logs."""


@dataclass(frozen=True, slots=True)
class Call:
    """A JSON-RPC method with its parameters."""

    method: str
    params: tuple[Any, ...] = ()


def _revert_data(error: dict[str, Any]) -> str | None:
    data = error.get("data")
    return data if isinstance(data, str) else None


def _refusal(method: str, error: object) -> NodeRefused | NodeUnavailable:
    """An error object of the specification is a refusal; other things under `error`, and a limit on
    how often one may ask, are an outage."""
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return NodeUnavailable(f"{method}: the node sent {error!r:.200} as an error")
    message = legible(error["message"][:MESSAGE_LENGTH])
    if classify_rpc_failure(message) is RpcFailure.RATE_LIMITED:
        return NodeUnavailable(f"{method}: {message}")
    code = error.get("code")
    return NodeRefused(method, code if type(code) is int else 0, message, _revert_data(error))


class _Exchange:
    """JSON-RPC over one keep-alive HTTP client."""

    def __init__(
        self, url: str, timeout_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._poster = Poster(url, timeout_s)
        self._held = Held(clock)
        self._deadline_s = timeout_s * WHOLE_ANSWER
        self._id = 0
        self._batch_calls = BATCH_CALLS

    async def close(self) -> None:
        await self._poster.close()

    async def call(self, method: str, *params: Any) -> Any:
        """The result; logs as unread JSON (msgspec.Raw), here and in a batch. Raises
        NodeUnavailable, or NodeRefused with what the node said."""
        async with self._leaving():
            request = self._request(Call(method, params))
            most = longest_answer(method, params)
            answer = await self._post(method, request, most, unread=method == LOGS_METHOD)
            if not isinstance(answer, dict):
                raise NodeUnavailable(f"{method}: the answer is no JSON-RPC object")
            if answer.get("error") is not None:
                raise _refusal(method, answer["error"])
            if answer.get("id") != request["id"] or "result" not in answer:
                raise NodeUnavailable(f"{method}: the node answered another request")
            return result_of(method, answer["result"])

    @asynccontextmanager
    async def _leaving(self) -> AsyncIterator[None]:
        """A node that fails is not asked again over the same connections: the next question may
        reach another one behind the address."""
        try:
            yield
        except NodeUnavailable:
            # Of any trouble: what was half written when we were refused may lead nowhere.
            self._poster.read_again()
            await self._poster.leave()
            raise
        except NodeRefused as refusal:
            if refusal.code == INTERNAL_ERROR:
                await self._poster.leave()
            raise

    async def call_many(self, calls: Sequence[Call]) -> list[Any]:
        """Results in order; a refused call stands as its NodeRefused. One HTTP request carries 100.

        Nodes behind one address answer a request as one node: what a batch says belongs together.
        Raises NodeUnavailable; NodeRefused when the node takes no batches.
        """
        results: list[Any] = []
        for start in range(0, len(calls), BATCH_CALLS):
            results += await self._batch(calls[start : start + BATCH_CALLS])
        return results

    async def call_all(self, calls: Sequence[Call]) -> list[Any]:
        """`call_many`, in smaller batches and at last one by one where the node takes no others.
        Then the answers may be of different nodes. Raises NodeUnavailable."""
        while self._batch_calls > 1 and len(calls) > 1:
            try:
                parts = range(0, len(calls), self._batch_calls)
                found = [await self.call_many(calls[n : n + self._batch_calls]) for n in parts]
                return [result for part in found for result in part]
            except NodeRefused:
                # Never raised again: what the provider takes does not change while we run.
                self._batch_calls //= 2
        return [await self._result_of(call) for call in calls]

    async def _result_of(self, call: Call) -> Any:
        try:
            return await self.call(call.method, *call.params)
        except NodeRefused as refusal:
            return refusal

    async def _batch(self, calls: Sequence[Call]) -> list[Any]:
        try:
            return await self._at_once(calls)
        except AnswerOverLimit as error:
            # The logs made it too long, and they alone can be asked for in smaller pieces: not to
            # be taken for a node that takes no batches.
            others = [call for call in calls if call.method != LOGS_METHOD]
            rest = iter(await self._at_once(others) if others else [])
            return [error if call.method == LOGS_METHOD else next(rest) for call in calls]

    async def _at_once(self, calls: Sequence[Call]) -> list[Any]:
        requests = [self._request(call) for call in calls]
        most = longest_batch((call.method, call.params) for call in calls)
        async with self._leaving():
            unread = any(call.method == LOGS_METHOD for call in calls)
            answer = await self._post("batch", requests, most, unread=unread)
            if isinstance(answer, dict) and answer.get("error") is not None:
                raise _refusal("batch", answer["error"])
            by_id = {
                item["id"]: item
                for item in items_of(answer, "the answer to a batch")
                if isinstance(item, dict) and type(item.get("id")) is int
            }
            return [
                self._item(call, by_id.get(request["id"]))
                for call, request in zip(calls, requests, strict=True)
            ]

    def _item(self, call: Call, answer: Any) -> Any:
        if answer is None or not ("result" in answer or answer.get("error") is not None):
            raise NodeUnavailable(f"{call.method}: the node left a call of a batch unanswered")
        if answer.get("error") is None:
            return result_of(call.method, answer["result"])
        refusal = _refusal(call.method, answer["error"])
        if isinstance(refusal, NodeUnavailable):
            raise refusal
        return refusal

    def _request(self, call: Call) -> dict[str, Any]:
        self._id += 1
        return {"jsonrpc": "2.0", "id": self._id, "method": call.method, "params": call.params}

    async def _post(self, method: str, request: Any, most: int, *, unread: bool) -> Any:
        if left_s := self._held.left_s():
            raise NodeBusy(method, left_s)
        body = msgspec.json.encode(request)
        try:
            async with asyncio.timeout(self._deadline_s):
                status, content, wait_s = await self._exchange(method, body, most)
        except AnswerTooLong as error:
            # Only logs can be asked for in smaller pieces; for the rest the node is at fault.
            if unread:
                raise AnswerOverLimit(LOGS_METHOD, error.most) from error
            raise NodeUnavailable(f"{method}: {error}") from error
        except TimeoutError:
            raise NodeUnavailable(f"{method}: no whole answer in {self._deadline_s:g} s") from None
        if wait_s:
            raise NodeBusy(method, self._held.begin(wait_s))
        if status == HTTPStatus.UNAUTHORIZED:  # providers say so in JSON: it is no answer to a call
            raise NodeAccessRefused(method, status)
        # A refusal may come with 4xx; what a server says of itself (429, 5xx) is no answer.
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise NodeUnavailable(f"{method}: HTTP {status}")
        try:
            return unread_answer(content) if unread else msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if status in REFUSALS:
                raise NodeRefused(method, 0, f"HTTP {status}") from error
            if status == HTTPStatus.FORBIDDEN:
                raise NodeAccessRefused(method, status) from error
            raise NodeUnavailable(f"{method}: HTTP {status}, the answer is not JSON") from error

    async def _exchange(self, method: str, body: bytes, most: int) -> Posted:
        """The answer. What fails here is not the deadline of the whole answer."""
        try:
            return await self._poster.post(body, most)
        except FAILURES as error:
            raise NodeUnavailable(f"{method}: {reason_of(error)}") from error


class Questions(ABC):
    """Typed questions, of one node or of several that must agree (`service.quorum`)."""

    @abstractmethod
    async def call(self, method: str, *params: Any) -> Any:
        """The result. Raises NodeUnavailable, NodeRefused."""

    @abstractmethod
    async def call_many(self, calls: Sequence[Call]) -> list[Any]:
        """Results in order, as one request; a refused call stands as its NodeRefused."""

    @abstractmethod
    async def call_all(self, calls: Sequence[Call]) -> list[Any]:
        """Results in order, in as many requests as it takes."""

    @abstractmethod
    async def close(self) -> None:
        """Closes the connections."""

    @abstractmethod
    def warnings(self) -> list[str]:
        """For `/ready`: what an operator should know of the nodes."""

    @abstractmethod
    def stir(self) -> None:
        """Somebody says that there is a new head: the next one is asked for with care."""

    async def chain_id(self) -> int:
        return quantity(await self.call("eth_chainId"), "a chain id", 256)

    async def block(self, tag: int | str) -> Block | None:
        """A block by number or tag; None when the node has none, or has not seen it yet."""
        name = hex(tag) if isinstance(tag, int) else tag
        raw = await self.call("eth_getBlockByNumber", name, False)
        if raw is None:
            return None
        block = parse_block(raw)
        if isinstance(tag, int) and block.number != tag:
            raise NodeUnavailable(f"the node sent block {block.number} for block {tag}")
        return block

    async def blocks(self, numbers: Sequence[int]) -> list[Block]:
        """Blocks by number, a hundred a request where the node takes that. Raises NodeBehind where
        one is missing."""
        calls = [Call("eth_getBlockByNumber", (hex(number), False)) for number in numbers]
        found = []
        for number, raw in zip(numbers, await self.call_all(calls), strict=True):
            if isinstance(raw, NodeRefused):
                raise raw
            if raw is None:
                raise NodeBehind(f"the node has no block {number} yet")
            block = parse_block(raw)
            if block.number != number:
                raise NodeUnavailable(f"the node sent block {block.number} for block {number}")
            found.append(block)
        return found

    async def head(self) -> Block:
        block = await self.block("latest")
        if block is None:
            raise NodeUnavailable("the node has no latest block")
        return block

    async def logs(
        self, addresses: Sequence[bytes], topics: Sequence[Any], first: int, last: int
    ) -> list[Log]:
        """Logs of some contracts in the blocks first to last, in order; topics are hex, lists or
        None. With the header of the last one, in one request where the node takes batches: a node
        that has not seen them leaves logs out without a word, and several must agree on both.

        Raises NodeBehind; NodeUnavailable for a log that was not asked for; NodeRefused.
        """
        span = {"fromBlock": hex(first), "toBlock": hex(last)}
        query = Call(LOGS_METHOD, (log_query(addresses, topics, span),))
        end = Call("eth_getBlockByNumber", (hex(last), False))
        raw, raw_end = await self.call_all([query, end])
        if isinstance(raw, NodeRefused):
            raise raw
        if raw is None or raw_end is None or isinstance(raw_end, NodeRefused):
            raise NodeBehind(f"the node has not seen block {last} yet")
        logs, through = parse_logs(raw, addresses, topics, first, last), parse_block(raw_end)
        if through.number != last:
            raise NodeUnavailable(f"the node sent block {through.number} for block {last}")
        if logs and logs[-1].block_number == last and logs[-1].block_hash != through.hash:
            raise NodeBehind(f"the node sent logs of another block {last}")
        return logs

    async def logs_of_block(
        self, addresses: Sequence[bytes], topics: Sequence[Any], block: Block
    ) -> list[Log]:
        """Logs of one block by its hash: a node that does not know the block refuses (EIP-234).

        Raises NodeRefused, NodeUnavailable.
        """
        query = log_query(addresses, topics, {"blockHash": to_hex(block.hash)})
        raw = await self.call("eth_getLogs", query)
        if raw is None:
            raise NodeBehind(f"the node does not know block {block.number} yet")
        logs = parse_logs(raw, addresses, topics, block.number, block.number)
        if any(log.block_hash != block.hash for log in logs):
            raise NodeUnavailable(f"the node sent logs of another block {block.number}")
        return logs

    async def eth_call(self, to: bytes, data: bytes) -> bytes:
        call = {"to": to_hex(to), "data": to_hex(data)}
        return octets(await self.call("eth_call", call, "latest"), "the result of a call")


class Rpc(_Exchange, Questions):
    """One node, or what a provider calls one, by its URL."""

    def warnings(self) -> list[str]:
        left_s = self._held.left_s()
        return [f"the node asks to be left alone for {left_s:.0f} s more"] if left_s else []

    def stir(self) -> None:
        """It is asked each time anyway."""


def log_query(
    addresses: Sequence[bytes], topics: Sequence[Any], where: dict[str, str]
) -> dict[str, Any]:
    """The filter of eth_getLogs; `where` is a span of blocks or a block hash."""
    return {"address": [to_hex(a) for a in addresses], "topics": list(topics), **where}


async def logs_in_ranges(
    rpc: Questions,
    addresses: Sequence[bytes],
    topics: Sequence[Any],
    first: int,
    last: int,
    step: int,
) -> list[Log]:
    """Logs over a long range, asked for in pieces of `step` blocks, as providers demand; a piece
    that the node finds too large is halved. Raises NodeBehind, NodeUnavailable, NodeRefused."""
    found: list[Log] = []
    start, asked = first, LogRange(step, step)
    while start <= last:
        end = min(start + asked.blocks - 1, last)
        try:
            found += await rpc.logs(addresses, topics, start, end)
        except NodeRefused:
            if start == end:
                raise
            asked.refused(end - start + 1)
            continue
        asked.answered()
        start = end + 1
        moved()
    return found
