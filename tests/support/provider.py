"""A hosted node, imitated: an HTTP proxy before a real one that has other habits than anvil.

`provider(url, Habits(...))` gives its URL. It forwards JSON-RPC (single calls and batches) to the
node behind it, rewrites what comes back and refuses what a hosted provider would refuse. Habits may
be changed while it runs (`running.habits = Habits(...)`), and `running.calls` is what was asked.
"""

import http.client
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import urlsplit

BLOCK_METHODS = ("eth_getBlockByNumber", "eth_getBlockByHash")
PRIORITY_METHODS = ("eth_maxPriorityFeePerGas", "eth_feeHistory")
JSON = "application/json"
UPSTREAM_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Habits:
    """What a provider does differently. The default is a node as good as anvil.

    `extra_data_bytes`: of every block (Polygon and BNB have 97: clique's vanity and seal).
    `max_range_blocks`, `max_logs`: of one eth_getLogs; beyond them `refusal` is the answer.
    `refusal`: (HTTP status, JSON-RPC error or None for a body that is no JSON).
    `legacy_fees`: blocks without baseFeePerGas, no eth_maxPriorityFeePerGas, no eth_feeHistory.
    `unknown_methods`: answered "method not found" (-32601).
    `null_receipts`: so many times a transaction's receipt is null before it is there.
    `pending_receipts`: then so many times it is there without a block, as some nodes answer.
    `pruned_below`: blocks before this one are refused, as EIP-4444 says.
    `max_batch`: calls of one request; 0 for a provider that takes no batches at all.
    `busy`: so many requests are answered HTTP 429 first, with `retry_after`, if there is any.
    `busy_every`: so is every such request, for as long as it runs.
    `lost_sends`: so many times a transaction is taken, and the answer is `lost_page` (HTTP status,
    body).
    """

    extra_data_bytes: int | None = None
    max_range_blocks: int | None = None
    max_logs: int | None = None
    refusal: tuple[int, dict[str, Any] | None] = (
        200,
        {"code": -32005, "message": "query returned more than 10000 results"},
    )
    legacy_fees: bool = False
    unknown_methods: tuple[str, ...] = ()
    null_receipts: int = 0
    pending_receipts: int = 0
    pruned_below: int = 0
    max_batch: int | None = None
    busy: int = 0
    retry_after: str = "1"
    busy_every: int | None = None
    lost_sends: int = 0
    lost_page: tuple[int, bytes] = (504, b"<html><body>gateway time-out</body></html>")


POLYGON = Habits(extra_data_bytes=97, max_range_blocks=10_000, max_logs=10_000)
LEGACY = Habits(legacy_fees=True, max_range_blocks=1_000)

Call = dict[str, Any]


class _Refused(Exception):
    """The whole request is answered with this status and body."""

    def __init__(self, status: int, body: bytes, **headers: str) -> None:
        self.status, self.body, self.headers = status, body, headers


@dataclass
class Provider:
    """The proxy's state. Its handlers run in threads."""

    upstream: str
    habits: Habits
    url: str = ""
    calls: list[Call] = field(default_factory=list)
    _asked: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def asked(self, method: str) -> list[list[Any]]:
        """The parameters of every call of a method so far."""
        return [call["params"] for call in self.calls if call["method"] == method]

    def answer(self, body: bytes) -> bytes:
        """Raises _Refused."""
        number, every = self._count(""), self.habits.busy_every
        if number <= self.habits.busy or (every is not None and number % every == 0):
            asked = {"retry-after": self.habits.retry_after} if self.habits.retry_after else {}
            raise _Refused(429, b"slow down", **asked)
        document = json.loads(body)
        if not isinstance(document, list):
            return json.dumps(self._one(document)).encode()
        limit = self.habits.max_batch
        if limit is not None and len(document) > limit:
            raise _Refused(413, b"Request Entity Too Large")
        return json.dumps([self._one(call) for call in document]).encode()

    def _count(self, key: str) -> int:
        with self._lock:
            self._asked[key] += 1
            return self._asked[key]

    def _one(self, call: Call) -> dict[str, Any]:
        self.calls.append(call)
        method, habits = call["method"], self.habits
        if method in habits.unknown_methods or (habits.legacy_fees and method in PRIORITY_METHODS):
            return self._error(call, {"code": -32601, "message": f"the method {method} is unknown"})
        if method == "eth_getLogs":
            self._check_range(call)
        if method == "eth_getBlockByNumber" and self._is_pruned(call):
            return self._error(call, {"code": 4444, "message": "pruned history unavailable"})
        answer: dict[str, Any] = self._forwarded(call)
        if method == "eth_sendRawTransaction" and self._count(method) <= habits.lost_sends:
            raise _Refused(*habits.lost_page)
        if method in BLOCK_METHODS and answer.get("result"):
            self._rewrite_block(answer["result"])
        if method == "eth_getTransactionReceipt" and answer.get("result"):
            return answer | {"result": self._receipt(call["params"][0], answer["result"])}
        if method == "eth_getLogs" and habits.max_logs is not None:
            return self._limited(call, answer)
        return answer

    def _is_pruned(self, call: Call) -> bool:
        limit = self.habits.pruned_below
        return limit > 0 and self._number(call["params"][0]) < limit

    def _check_range(self, call: Call) -> None:
        limit, query = self.habits.max_range_blocks, call["params"][0]
        if limit is None or "blockHash" in query:
            return
        first, last = (self._number(query.get(name)) for name in ("fromBlock", "toBlock"))
        if last - first + 1 > limit:
            raise self._refused(call)

    def _number(self, tag: str | None) -> int:
        if tag is not None and tag.startswith("0x"):
            return int(tag, 16)
        head = {"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []}
        return 0 if tag == "earliest" else int(self._forwarded(head)["result"], 16)

    def _limited(self, call: Call, answer: dict[str, Any]) -> dict[str, Any]:
        limit = self.habits.max_logs
        if limit is not None and len(answer.get("result") or ()) > limit:
            raise self._refused(call)
        return answer

    def _refused(self, call: Call) -> _Refused:
        status, error = self.habits.refusal
        if error is None:
            return _Refused(status, b"<html><body>too large</body></html>")
        return _Refused(status, json.dumps(self._error(call, error)).encode())

    @staticmethod
    def _error(call: Call, error: dict[str, Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": call["id"], "error": error}

    def _rewrite_block(self, block: dict[str, Any]) -> None:
        if self.habits.extra_data_bytes is not None:
            block["extraData"] = "0x" + "d8" * self.habits.extra_data_bytes
        if self.habits.legacy_fees:
            block.pop("baseFeePerGas", None)

    def _receipt(self, transaction: str, receipt: dict[str, Any]) -> dict[str, Any] | None:
        times = self._count(transaction)
        if times <= self.habits.null_receipts:
            return None
        if times <= self.habits.null_receipts + self.habits.pending_receipts:
            return receipt | {"blockHash": None, "blockNumber": None}
        return receipt

    def _forwarded(self, document: Any) -> Any:
        place = urlsplit(self.upstream)
        connection = http.client.HTTPConnection(
            place.hostname or "", place.port or 80, timeout=UPSTREAM_TIMEOUT_S
        )
        try:
            connection.request("POST", "/", json.dumps(document), {"content-type": JSON})
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


P = TypeVar("P", bound=Provider)


class _Server(ThreadingHTTPServer):
    provider: Provider
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    # Head and body are two writes: with Nagle every answer would wait 40 ms.
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            self._send(200, self.server.provider.answer(body), {"content-type": JSON})
        except _Refused as refused:
            self._send(refused.status, refused.body, refused.headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Silent."""


@contextmanager
def provider(upstream: str, habits: Habits = POLYGON) -> Iterator[Provider]:
    """A running proxy before the node at `upstream` (`http://host:port`)."""
    with serving(Provider(upstream, habits)) as running:
        yield running


@contextmanager
def serving(running: P) -> Iterator[P]:
    """A proxy of any kind, as long as the context lasts."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        running.url = f"http://127.0.0.1:{server.server_port}"
        server.provider = running
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            thread.join()
