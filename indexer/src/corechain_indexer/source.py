"""The node as the mirror needs it: the right chain, and a sign of new heads."""

import asyncio
from collections.abc import Callable
from typing import Literal

import structlog
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from corechain.http import is_loopback
from corechain.service.errors import WrongNode
from corechain.service.rpc import Rpc

log = structlog.get_logger(__name__)

SUBSCRIBE = '{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}'
RECONNECT_S = 5.0


async def check_chain(rpc: Rpc, expected: int) -> None:
    """Raises WrongNode."""
    found = await rpc.chain_id()
    if found != expected:
        raise WrongNode(expected, found)


def _websocket(url: str) -> str:
    return "ws" + url.removeprefix("http")


async def announce_heads(url: str, new_head: Callable[[], None]) -> None:
    """Calls `new_head` for each head the node pushes. Without websockets we only poll."""
    # websockets takes the proxy of the environment, whose loopback is not ours.
    proxy: Literal[True] | None = None if is_loopback(url) else True
    while True:
        try:
            async with connect(_websocket(url), max_size=1 << 20, proxy=proxy) as socket:
                await socket.send(SUBSCRIBE)
                async for _ in socket:
                    new_head()
        except (OSError, TimeoutError, WebSocketException) as error:
            log.info("no pushed heads, polling", error=type(error).__name__, retry_s=RECONNECT_S)
        await asyncio.sleep(RECONNECT_S)
