"""Where a download may lead: anywhere in the world, but not from there into our own network.

A source that nobody vouches for could otherwise make us ask what only the inside reaches: metadata
of a cloud machine, an admin port (CWE-918, server-side request forgery). It could send us there by
a redirect, or by its name: whoever has a name can make it stand for 10.0.0.1 from the second look
on (DNS rebinding). So what counts are the addresses that are connected to, not those of an earlier
look. A source that is itself inside may redirect to others there.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

import httpx

from corechain.http import learn_authorities
from corechain.service.files.download import FIRST_HOST, Unfit

if TYPE_CHECKING:
    from httpcore import AsyncNetworkBackend, AsyncNetworkStream

TRIED = 4
"""Addresses of one name that are tried."""


class Reach(Enum):
    """Where a request may end."""

    OUTSIDE = "outside"
    INSIDE = "inside"
    LINK = "link"
    """Also on this very link, where clouds have the keys of a machine (169.254.169.254)."""


_reach: ContextVar[Reach] = ContextVar("reach", default=Reach.OUTSIDE)
"""Of the request under way: its connection is made in the same task."""


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    # ::ffff:127.0.0.1 reaches the same machine as 127.0.0.1.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def is_inside_address(text: str) -> bool:
    """Whether an IP address is of a private, loopback, link-local or otherwise special network."""
    return not _ip(text).is_global


async def addresses_of(host: str) -> Sequence[str]:
    """All that a name stands for; nothing when it stands for nothing here, where perhaps the proxy
    of the environment knows it."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(place[4][0]) for place in found))


async def is_inside(host: str) -> bool:
    """Whether a name, or an address, stands for any place inside."""
    return any(map(is_inside_address, await addresses_of(host)))


def is_literal(host: str) -> bool:
    """Whether it is an address, and so nobody's name."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def check_reach(addresses: Iterable[str], reach: Reach) -> None:
    """Raises Unfit for addresses that are further inside than a request may go."""
    for text in addresses:
        if _ip(text).is_link_local and reach is not Reach.LINK:
            raise Unfit("it leads to a link-local address")
        if is_inside_address(text) and reach is Reach.OUTSIDE:
            raise Unfit("its name leads into a private network")


@dataclass(slots=True)
class Ways:
    """Of one client. A host of the settings stays what it was when it was first asked: outside, or
    inside. Restart when it has moved in."""

    _inside: dict[str, bool] = field(default_factory=dict)

    async def check(self, request: httpx.Request) -> None:
        """Called before each request of a download, redirected ones too. Raises Unfit."""
        learn_authorities(request)
        first, host = request.extensions.get(FIRST_HOST, request.url.host), request.url.host
        may_inside = await self._is_inside(first)
        if host != first:
            if not may_inside and await is_inside(host):
                raise Unfit("it redirects into a private network")
            _reach.set(Reach.INSIDE if may_inside else Reach.OUTSIDE)
        elif is_literal(host):
            _reach.set(Reach.LINK)  # an operator has written it, and nobody can change it
        else:
            _reach.set(Reach.INSIDE if may_inside else Reach.OUTSIDE)

    async def _is_inside(self, first: str) -> bool:
        known = self._inside.get(first)
        if known is None:
            addresses = await addresses_of(first)
            known = any(map(is_inside_address, addresses))
            if addresses:  # an outage of the name service is no place
                self._inside[first] = known
        return known

    def guard(self, client: httpx.AsyncClient) -> None:
        """From now on a direct connection of the client goes to addresses that were checked. A
        proxy of the environment resolves names itself, and has rules of its own."""
        from httpcore import AnyIOBackend

        # There is no public way to this that keeps the proxies of the environment.
        pool: Any = vars(client)["_transport"]._pool
        pool._network_backend = _checked(AnyIOBackend())


def _checked(inner: "AsyncNetworkBackend") -> "AsyncNetworkBackend":
    """The same network, where names are looked up once, and judged."""
    import httpcore

    class Checked(httpcore.AsyncNetworkBackend):
        async def connect_tcp(
            self, host: str, port: int, *arguments: Any, **options: Any
        ) -> "AsyncNetworkStream":
            addresses = await addresses_of(host)
            check_reach(addresses, _reach.get())
            failure: Exception = httpcore.ConnectError("the host name cannot be resolved")
            for address in addresses[:TRIED]:
                try:
                    return await inner.connect_tcp(address, port, *arguments, **options)
                except httpcore.ConnectError as error:
                    failure = error
            raise failure

        async def sleep(self, seconds: float) -> None:
            await inner.sleep(seconds)

    return Checked()
