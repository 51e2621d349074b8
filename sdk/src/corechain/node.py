"""A node, asked by JSON-RPC over HTTP. Blocking; shared by threads, and usable after a fork.

What a node says is input: what is not of the form that the specification gives (execution-apis) is
ChainUnavailable, and an error object is NodeRefusal; nothing else comes out.
"""

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from corechain.block_times import first_since
from corechain.held import Held
from corechain.http import (
    AnswerTooLong,
    ProcessClients,
    client,
    exchange,
    put_off_s,
    redirect_of,
    shown_url,
)
from corechain.log_ranges import LogRange
from corechain.protocol.errors import TransportError
from corechain.rpc_errors import RpcFailure, classify_rpc_failure
from corechain.rpc_limits import longest_answer, longest_batch

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 30.0
BATCH_CALLS = 100
"""Calls in one HTTP request: the smallest limit that hosted providers are known to set."""
FIRST_RANGE_BLOCKS = 10_000
"""Blocks of the first eth_getLogs: what most hosted providers allow."""
MAX_RANGE_BLOCKS = 1_000_000
"""A node that allows it is asked for more and more, up to this."""
BUSY_TRIES = 8
"""A provider that is busy so many times is out of order, whatever it says."""
CLIENT_ERROR, REQUEST_TIMEOUT, TOO_MANY_REQUESTS, SERVER_ERROR = 400, 408, 429, 500
JSON_HEADERS = {"content-type": "application/json"}
_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")


class ChainUnavailable(TransportError):
    """The node did not answer, or answered with an error of its own."""


class UnfitAnswer(ChainUnavailable):
    """The node answered, but not the question: an error page, or more than it may send. `status`
    of an error page, where it has one."""

    status: int | None = None

    @property
    def is_refusal(self) -> bool:
        """Whether whoever stands before the node has let nothing pass."""
        status = self.status or 0
        return CLIENT_ERROR <= status < SERVER_ERROR and status != REQUEST_TIMEOUT


class AnswerLost(ChainUnavailable):
    """The node may have got the question: the connection ended on the way, or what came is no
    answer to it."""


class ChainBusy(ChainUnavailable):
    """The node, or the provider before it, asks to be left alone for so many seconds."""

    def __init__(self, what: str, wait_s: float) -> None:
        super().__init__(f"{what}, again in {wait_s:.0f} s")
        self.wait_s = wait_s


class NodeRefusal(UnfitAnswer):
    """The node answered a call with an error object. `data` is whatever it carries."""

    def __init__(self, method: str, code: int, message: str, data: object = None) -> None:
        super().__init__(f"{method}: {message} (code {code})")
        self.method, self.code, self.message, self.data = method, code, message, data


def quantity(raw: object, what: str, bits: int = 64) -> int:
    """A number in hexadecimal. Raises ChainUnavailable."""
    fits = isinstance(raw, str) and raw.startswith("0x") and 2 < len(raw) <= 2 + bits // 4
    # int() would take signs, spaces and underscores.
    if not fits or not isinstance(raw, str) or not _HEX_DIGITS.issuperset(raw[2:]):
        raise ChainUnavailable(f"the node sent {raw!r:.80} as {what}")
    return int(raw, 16)


def octets(raw: object, what: str, size: int | None = None) -> bytes:
    """Bytes in hexadecimal, of a size when one is given. Raises ChainUnavailable."""
    fits = isinstance(raw, str) and raw.startswith("0x") and len(raw) % 2 == 0
    if not fits or not isinstance(raw, str) or not _HEX_DIGITS.issuperset(raw[2:]):
        raise ChainUnavailable(f"the node sent {raw!r:.80} as {what}")
    data = bytes.fromhex(raw[2:])
    if size not in (None, len(data)):
        raise ChainUnavailable(f"the node sent {len(data)} bytes as {what}")
    return data


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An event log."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes
    block: int
    index: int


def log_entry(raw: Any) -> LogEntry:
    """A log of a block that stands. Raises ChainUnavailable, also for one that was removed."""
    if not isinstance(raw, dict) or not isinstance(raw.get("topics"), list) or raw.get("removed"):
        raise ChainUnavailable(f"the node sent {raw!r:.80} as a log")
    return LogEntry(
        octets(raw.get("address"), "a log's address", 20),
        tuple(octets(topic, "a topic", 32) for topic in raw["topics"]),
        octets(raw.get("data"), "the data of a log"),
        quantity(raw.get("blockNumber"), "a log's block"),
        quantity(raw.get("logIndex"), "a log's index"),
    )


def _asked_for(entry: LogEntry, address: bytes, first: int, last: int) -> LogEntry:
    if entry.address != address or not first <= entry.block <= last:
        raise ChainUnavailable(f"the node sent a log nobody asked for, of block {entry.block}")
    return entry


def _lost() -> tuple[type[Exception], ...]:
    """Errors of a connection on which the question may have been sent."""
    import httpx

    return httpx.ReadError, httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.DecodingError


def _is_answer(document: Any) -> bool:
    if not isinstance(document, dict):
        return isinstance(document, list)  # of a batch
    return "result" in document or isinstance(document.get("error"), dict)


def _page(what: str, status: int) -> UnfitAnswer:
    found = UnfitAnswer(what)
    found.status = status
    return found


def _outcome(method: str, answer: Any) -> Any:
    """The result, or the node's refusal. Raises ChainUnavailable."""
    if not isinstance(answer, dict):
        raise AnswerLost(f"{method}: the answer is no JSON-RPC object")
    if answer.get("error") is not None:
        return _refusal(method, answer["error"])
    if "result" not in answer:
        raise AnswerLost(f"{method}: the answer has neither result nor error")
    return answer["result"]


def _refusal(method: str, error: Any) -> NodeRefusal:
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        raise AnswerLost(f"{method}: the node sent {error!r:.200} as an error")
    message, code = error["message"], error.get("code")
    if classify_rpc_failure(message) is RpcFailure.RATE_LIMITED:
        raise ChainUnavailable(f"{method}: {message:.500}")
    return NodeRefusal(method, code if type(code) is int else 0, message, error.get("data"))


Call = tuple[str, Sequence[Any]]
"""A method and its parameters."""


@dataclass
class Node:
    """JSON-RPC over one keep-alive HTTP client a process. No retries here but of what a busy node
    puts off (Retry-After), for `timeout_s` in all: it has not looked at the question yet."""

    url: str
    timeout_s: float = TIMEOUT_S
    _clients: ProcessClients = field(init=False, repr=False)
    _ids: Iterator[int] = field(init=False, repr=False, default_factory=itertools.count)
    _takes_batches: bool = field(init=False, repr=False, default=True)
    _held: Held = field(init=False, repr=False, default_factory=Held)

    def __post_init__(self) -> None:
        self._clients = ProcessClients(partial(client, self.url))

    def close(self) -> None:
        self._clients.close()

    def call(self, method: str, *params: Any) -> Any:
        """The result. Raises ChainUnavailable, NodeRefusal."""
        request = self._request(method, params)
        answer = self._post(method, request, longest_answer(method, params))
        result = _outcome(method, answer)
        if isinstance(result, NodeRefusal):
            raise result
        if answer.get("id") != request["id"]:
            raise AnswerLost(f"{method}: the node answered another request")
        return result

    def call_many(self, calls: Sequence[Call]) -> list[Any]:
        """Results in order; a refused call stands as its NodeRefusal. Where the node takes no
        batches, one request a call. Raises ChainUnavailable."""
        found: list[Any] = []
        while len(found) < len(calls):
            part = calls[len(found) : len(found) + BATCH_CALLS]
            found += (
                self._batch(part) if self._takes_batches and len(part) > 1 else self._each(part)
            )
        return found

    def _each(self, calls: Sequence[Call]) -> list[Any]:
        found: list[Any] = []
        for method, params in calls:
            try:
                found.append(self.call(method, *params))
            except NodeRefusal as refusal:
                found.append(refusal)
        return found

    def _batch(self, calls: Sequence[Call]) -> list[Any]:
        requests = [self._request(method, params) for method, params in calls]
        try:
            answers = self._post("batch", requests, longest_batch(calls))
        except ChainBusy:
            raise
        except ChainUnavailable:
            answers = None
        if not isinstance(answers, list):
            # A limit of the provider, an error object, or an outage, which asking singly shows.
            found = self._each(calls)
            self._takes_batches = False
            return found
        by_id = {a["id"]: a for a in answers if isinstance(a, dict) and type(a.get("id")) is int}
        return [_outcome(request["method"], by_id.get(request["id"])) for request in requests]

    def _request(self, method: str, params: Sequence[Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": list(params)}

    def _post(self, method: str, request: Any, most: int) -> Any:
        patience_s = self.timeout_s
        for _ in range(BUSY_TRIES):
            patience_s -= self._come_again(method, patience_s)
            try:
                return self._posted(method, request, most)
            except ChainBusy as error:
                busy = error
                self._held.begin(busy.wait_s)
        raise busy

    def _come_again(self, method: str, patience_s: float) -> float:
        """Until the node takes questions again; for how long that was. Raises ChainBusy."""
        left_s = self._held.left_s()
        if left_s > patience_s:
            raise ChainBusy(f"{method}: {shown_url(self.url, path=False)}: busy", left_s)
        if left_s > 0:  # to sleep for nothing gives the processor away, at each question
            time.sleep(left_s)
        return left_s

    def _posted(self, method: str, request: Any, most: int) -> Any:
        import httpx

        body = msgspec.json.encode(request)
        try:
            sent = {"content": body, "headers": JSON_HEADERS}
            response = exchange(self._clients, "POST", self.url, self.timeout_s, most=most, **sent)
        except AnswerTooLong as error:
            raise UnfitAnswer(f"{method}: {error}") from error
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as error:
            kind = AnswerLost if isinstance(error, (*_lost(), TimeoutError)) else ChainUnavailable
            place = shown_url(self.url, path=False)
            raise kind(f"{method}: no answer from {place}: {error!r}") from error
        return self._document(method, response)

    def _document(self, method: str, response: "httpx.Response") -> Any:
        """Raises ChainUnavailable."""
        status, moved = response.status_code, redirect_of(response, path=False)
        what = f"{method}: {shown_url(self.url, path=False)}: HTTP {status}"
        if moved is not None:
            raise ChainUnavailable(f"{method}: {shown_url(self.url, path=False)}: {moved}")
        wait_s = put_off_s(status, response.headers)
        if wait_s:
            raise ChainBusy(what, wait_s)
        if status == TOO_MANY_REQUESTS:
            raise ChainUnavailable(what)
        try:
            document = msgspec.json.decode(response.content)
        except (ValueError, RecursionError) as error:
            raise _page(f"{what}, the answer is not JSON", status) from error
        # A refusal of a call may come with 4xx; 5xx is about the server.
        if status >= SERVER_ERROR or (status >= CLIENT_ERROR and not _is_answer(document)):
            raise _page(what, status)
        return document

    # ------------------------------------------------------------------ typed questions

    def chain_id(self) -> int:
        return quantity(self.call("eth_chainId"), "a chain id", 256)

    def head(self) -> int:
        """The number of the newest block."""
        return quantity(self.call("eth_blockNumber"), "a block number")

    def eth_call(self, to: bytes, data: bytes) -> bytes:
        """What a view returns. Raises ChainUnavailable, NodeRefusal."""
        method, params = call_of(to, data)
        return octets(self.call(method, *params), "the result of a call")

    def logs(self, address: bytes, topics: Sequence[Any], first: int, last: int) -> list[LogEntry]:
        """Logs of a contract in the blocks first to last, oldest first; topics are hex, lists of
        alternatives, or None.

        Raises ChainUnavailable, also when the node refuses a single block.
        """
        pieces = self.log_pieces(address, topics, first, last)
        return [entry for _, found in pieces for entry in found]

    def log_pieces(
        self, address: bytes, topics: Sequence[Any], first: int, last: int
    ) -> Iterator[tuple[int, list[LogEntry]]]:
        """The same piece by piece, for who may stop: the last block of each, and its logs. Pieces
        are halved while the node refuses them."""
        start, asked = first, LogRange(FIRST_RANGE_BLOCKS, MAX_RANGE_BLOCKS)
        while start <= last:
            end = min(start + asked.blocks - 1, last)
            try:
                found = self._logs_at_once(address, topics, start, end)
            except UnfitAnswer:
                if start == end:
                    raise
                asked.refused(end - start + 1)
                continue
            yield end, found
            asked.answered()
            start = end + 1

    def first_block_since(self, timestamp: int, lowest: int) -> int:
        """A block from `lowest` on before which all are older than a second of chain time, and
        that is not much too early. Raises ChainUnavailable."""
        head = self.call("eth_getBlockByNumber", "latest", False)
        now = self._time_of(head)
        newest = quantity(head.get("number"), "a block number"), now
        questions = first_since(timestamp, lowest, newest)
        try:
            number = next(questions)
            while True:
                number = questions.send(self._time_at(number))
        except StopIteration as done:
            found: int = done.value
            return found

    def _time_at(self, number: int) -> int | None:
        try:
            block = self.call("eth_getBlockByNumber", hex(number), False)
        except NodeRefusal:  # some answer so in place of null: pruned, or behind the head
            return None
        return None if block is None else self._time_of(block)

    @staticmethod
    def _time_of(block: Any) -> int:
        if not isinstance(block, dict):
            raise ChainUnavailable(f"the node sent {block!r:.80} as a block")
        return quantity(block.get("timestamp"), "a block's timestamp")

    def _logs_at_once(
        self, address: bytes, topics: Sequence[Any], first: int, last: int
    ) -> list[LogEntry]:
        query = {
            "address": "0x" + address.hex(),
            "topics": list(topics),
            "fromBlock": hex(first),
            "toBlock": hex(last),
        }
        raw = self.call("eth_getLogs", query)
        if not isinstance(raw, list):
            raise ChainUnavailable(f"the node sent {raw!r:.80} as logs")
        entries = [_asked_for(log_entry(item), address, first, last) for item in raw]
        return sorted(entries, key=lambda entry: (entry.block, entry.index))


def call_of(to: bytes, data: bytes) -> Call:
    """A view as a JSON-RPC call."""
    return "eth_call", ({"to": "0x" + to.hex(), "data": "0x" + data.hex()}, "latest")
