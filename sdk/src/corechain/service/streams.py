"""Connections that leave HTTP behind: who listens for hours has no task and no request of its own.

A server of `http_server` asks `Streams` about each request; one that it wants becomes a protocol of
its own on the same transport. All limits of `BoundedProtocol` hold until then.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from corechain.service.direct import Fields


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """A whole request head. `target` is the path with its query, names of `headers` are in lower
    case. `connections` are those that the server counts, waits for at its end, and calls
    `shutdown` of: the new protocol is one of them from its connection on."""

    target: bytes
    headers: Fields
    is_websocket: bool
    connections: set[Any]
    default_fields: Callable[[], bytes]
    """What every answer has, serialised."""
    peer: str = ""
    """The address that it came from; behind a proxy that is trusted, the one it names."""


class Streams(Protocol):
    """Serves some paths by protocols of its own. No call may raise."""

    def wants(self, target: bytes, headers: Fields, is_websocket: bool) -> bool: ...

    def protocol(self, request: StreamRequest) -> asyncio.Protocol:
        """Takes the connection over: `connection_made` follows, with nothing answered yet."""
