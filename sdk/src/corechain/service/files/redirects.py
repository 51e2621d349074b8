"""Where a data source may send us on to: anywhere in the world, but not into our own network.

A source that nobody vouches for could otherwise make the indexer ask what only the inside reaches:
metadata of a cloud machine, an admin port (CWE-918, server-side request forgery). A source that is
itself inside may redirect to others there.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

import httpx

from corechain.service.files.download import FIRST_HOST, Unfit


def is_inside_address(text: str) -> bool:
    """Whether an IP address is of a private, loopback, link-local or otherwise special network."""
    address = ipaddress.ip_address(text.partition("%")[0])
    # ::ffff:127.0.0.1 reaches the same machine as 127.0.0.1.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return not (mapped or address).is_global


async def addresses_of(host: str) -> Sequence[str]:
    """All that a name stands for; nothing when it stands for nothing here, where perhaps the proxy
    of the environment knows it."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(place[4][0]) for place in found]


async def is_inside(host: str) -> bool:
    """Whether a name, or an address, stands for any place inside."""
    return any(map(is_inside_address, await addresses_of(host)))


async def refuse_way_inside(request: httpx.Request) -> None:
    """Called before each request of a download, redirected ones too. Raises Unfit."""
    first, host = request.extensions.get(FIRST_HOST, request.url.host), request.url.host
    if host != first and await is_inside(host) and not await is_inside(first):
        raise Unfit("it redirects into a private network")
