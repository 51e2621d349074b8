"""New heads as nodes push them (`eth_subscribe`), beside polling and never instead of it.

What is pushed is a rumour: it makes the mirror look, and what it then sees is what counts. A node
without websockets, or with one that says nothing, costs time only up to the next poll.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
import structlog
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException

from corechain.http import authorities, is_loopback, put_off_s
from corechain.service.errors import NodeUnavailable
from corechain.service.named_url import now_of
from corechain.service.supervision import LONGEST_OBEYED_S, side_by_side
from corechain.service.words import fields_of, octets, quantity

log = structlog.get_logger(__name__)

SUBSCRIBE = '{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}'
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 60.0
"""Most nodes without websockets will not have them a minute later either."""
SILENT_S = 60.0
"""The slowest chain that we are on has a block every 12 s: a socket that was silent for so long has
lost its subscription, as behind a balancer whose node was replaced."""
MAX_MESSAGE_BYTES = 1 << 20
"""A header has some kilobytes."""
FAILURES = (OSError, WebSocketException, NodeUnavailable, ImportError, ValueError)
"""ImportError: a SOCKS proxy in the environment, for which websockets wants another package.
ValueError: an address that is none, also that of a proxy."""


def websocket_of(url: str) -> str:
    """Where a node at an HTTP URL takes websockets unless it says otherwise."""
    return "ws" + url.removeprefix("http") if url.startswith("http") else url


@dataclass(slots=True)
class Rumours:
    """Tells when a head is worth a look: when as many nodes have pushed it as must agree on it, or
    all that push at all. Pure."""

    quorum: int
    _newest: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    """The last head that each open socket pushed."""
    _silent: set[int] = field(default_factory=set)
    _told: tuple[int, bytes] | None = None

    def opened(self, source: int) -> None:
        self._silent.add(source)

    def closed(self, source: int) -> None:
        self._silent.discard(source)
        self._newest.pop(source, None)

    def heard(self, source: int, head: tuple[int, bytes]) -> bool:
        """Whether to look now. `head`: number and hash."""
        self._silent.discard(source)
        self._newest[source] = head
        enough = min(self.quorum, len(self._newest) + len(self._silent))
        if head == self._told or sum(said == head for said in self._newest.values()) < enough:
            return False
        self._told = head
        return True


def pushed_head(message: str | bytes) -> tuple[int, bytes] | None:
    """Number and hash of a pushed head; None for the answer to the subscription.

    Raises NodeUnavailable for a refusal and for what is neither.
    """
    try:
        document: Any = fields_of(msgspec.json.decode(message), "a websocket message")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NodeUnavailable("the node sent no JSON over its websocket") from error
    if document.get("method") != "eth_subscription":
        if not isinstance(document.get("result"), str):
            raise NodeUnavailable("the node refuses to push heads")
        return None
    head = fields_of(fields_of(document.get("params"), "a push").get("result"), "a pushed head")
    number = quantity(head.get("number"), "a pushed head's number")
    return number, octets(head.get("hash"), "a pushed head's hash", 32)


def _asked_s(error: BaseException) -> float:
    """What a busy node says in place of a handshake, 429 or 503 with Retry-After."""
    if not isinstance(error, InvalidStatus):
        return 0.0
    # Its own mapping raises for a field that is there twice.
    fields = {name.lower(): value for name, value in error.response.headers.raw_items()}
    return put_off_s(error.response.status_code, fields)


@dataclass(slots=True)
class HeadWatch:
    """Listens at all `urls` (`http` or `ws`) and calls `new_head`. Ends only by cancellation."""

    urls: Sequence[str]
    quorum: int
    new_head: Callable[[], None]
    silent_s: float = SILENT_S
    first_pause_s: float = FIRST_PAUSE_S
    _rumours: Rumours = field(init=False)

    def __post_init__(self) -> None:
        self._rumours = Rumours(self.quorum)

    async def run_forever(self) -> None:
        await side_by_side(*(self._follow(source) for source in range(len(self.urls))))

    async def _follow(self, source: int) -> None:
        pause, told = self.first_pause_s, ""
        while True:
            why, pushed, asked_s = await self._listen(source)
            self._rumours.closed(source)
            # A socket that worked is opened again soon; one that never did, less and less often.
            pause = self.first_pause_s if pushed else pause
            rest_s = max(pause, min(LONGEST_OBEYED_S, asked_s))
            if why != told:  # the same words every minute would bury what is new
                log.info("no pushed heads, polling", node=source + 1, error=why, retry_s=rest_s)
            told = "" if pushed else why
            await asyncio.sleep(rest_s)
            pause = min(LONGEST_PAUSE_S, 2 * pause)

    async def _listen(self, source: int) -> tuple[str, bool, float]:
        """Until the socket fails or falls silent: why, whether it has pushed anything, and for how
        many seconds the node asks to be left alone."""
        pushed = False
        try:
            async with self._connected(now_of(self.urls[source])) as socket:
                await socket.send(SUBSCRIBE)
                self._rumours.opened(source)
                while True:
                    async with asyncio.timeout(self.silent_s):
                        head = pushed_head(await socket.recv())
                    pushed = pushed or head is not None
                    if head is not None and self._rumours.heard(source, head):
                        self.new_head()
        except FAILURES as error:
            return type(error).__name__, pushed, _asked_s(error)

    @staticmethod
    def _connected(url: str) -> connect:
        # websockets takes the proxy of the environment, whose loopback is not ours.
        proxy: Literal[True] | None = None if is_loopback(url) else True
        address = websocket_of(url)
        tls = authorities() if urlsplit(address).scheme == "wss" else None
        return connect(address, max_size=MAX_MESSAGE_BYTES, proxy=proxy, ssl=tls)
