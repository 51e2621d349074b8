"""One database on several hosts: `postgresql://user@h1,h2,h3/name` (libpq's "Connection URIs").

asyncpg reads such URLs, but one limit holds for all of the hosts together, so that a first one that
hangs hides the leader behind it; and a host that is only just starting ends the search.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import asyncpg

if TYPE_CHECKING:
    from asyncpg import Connection, Record

    Conn = Connection[Record]

HOST_TIMEOUT_S = 2.0
"""For one of several hosts. What is away without a word costs this once: the next is kept."""
ATTRIBUTE = "target_session_attrs"
WRITES = "read-write"


def hosts_of(url: str) -> list[str]:
    """A URL for each host of a URL, in order; the URL itself when it names one."""
    scheme, _, rest = url.partition("://")
    ends = [at for at in (rest.find(mark) for mark in "/?#") if at >= 0]
    place, tail = (rest[: min(ends)], rest[min(ends) :]) if ends else (rest, "")
    user, at, hosts = place.rpartition("@")
    return [f"{scheme}://{user}{at}{host}{tail}" for host in hosts.split(",")]


@dataclass(slots=True)
class Hosts:
    """Connects to the host of a URL that has what is asked for; of several the one that takes
    writes, unless the URL says another `target_session_attrs`."""

    urls: Sequence[str]
    trouble: tuple[type[BaseException], ...]
    """Errors of a host after which the next one is tried."""
    limit_s: float
    """Where there is one host."""
    wanted: str | None = None
    writes: bool = False
    """Whether the host that takes writes is looked for."""
    _last: int = 0

    @classmethod
    def of(cls, url: str, trouble: tuple[type[BaseException], ...], limit_s: float) -> "Hosts":
        urls = hosts_of(url)
        said = parse_qs(urlsplit(urls[0]).query).get(ATTRIBUTE)
        wanted = WRITES if len(urls) > 1 and not said else None
        found = said[-1] if said else wanted
        return cls(urls, trouble, limit_s, wanted, found in (WRITES, "primary"))

    async def connect(self, *_: Any, **options: Any) -> "Conn":
        """Raises what asyncpg raises: of several hosts the error that says most."""
        if self.wanted is not None:
            options[ATTRIBUTE] = self.wanted
        if len(self.urls) == 1:
            connection: Conn = await asyncpg.connect(
                self.urls[0], **{**options, "timeout": self.limit_s}
            )
            return connection
        return await self._first(options)

    async def _first(self, options: dict[str, Any]) -> "Conn":
        errors: list[BaseException] = []
        # The one that served last is the likeliest: the leader changes once a month.
        numbers = range(self._last, self._last + len(self.urls))
        for number in (number % len(self.urls) for number in numbers):
            try:
                connection: Conn = await asyncpg.connect(
                    self.urls[number], **{**options, "timeout": HOST_TIMEOUT_S}
                )
            except self.trouble as error:
                errors.append(error)
            else:
                self._last = number
                return connection
        # A refused connection says less than a server's own words.
        raise next((error for error in errors if not isinstance(error, OSError)), errors[0])
