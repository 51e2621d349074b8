"""One database on several hosts: `postgresql://user@h1,h2,h3/name` (libpq's "Connection URIs").

asyncpg reads such URLs, but one limit holds for all of the hosts together, so that a first one that
hangs hides the leader behind it; and a host that is only just starting ends the search.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import asyncpg

from corechain.service.errors import StoreAccessRefused
from corechain.service.named_url import NamedUrl, setting_of

if TYPE_CHECKING:
    from asyncpg import Connection, Record

    Conn = Connection[Record]

HOST_TIMEOUT_S = 2.0
"""For one of several hosts. What is away without a word costs this once: the next is kept."""
ATTRIBUTE = "target_session_attrs"
DATABASE_URL = "DATABASE_URL"
"""What has let us in, where nobody knows any more which setting it was."""
WRITES, ANY = "read-write", "any"
IS_REPLICA = "select pg_is_in_recovery()"
REFUSALS = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InsufficientPrivilegeError)
_REFUSED, _QUOTED = "authentication failed", re.compile(r' ?"[^"]*"')


def hosts_of(url: str) -> list[str]:
    """A URL for each host of a URL, in order; the URL itself when it names one."""
    scheme, _, rest = url.partition("://")
    ends = [at for at in (rest.find(mark) for mark in "/?#") if at >= 0]
    place, tail = (rest[: min(ends)], rest[min(ends) :]) if ends else (rest, "")
    user, at, hosts = place.rpartition("@")
    urls = [f"{scheme}://{user}{at}{host}{tail}" for host in hosts.split(",")]
    if not isinstance(url, NamedUrl):
        return urls
    return [
        NamedUrl(one, url.setting, partial(_part_of, url, number))
        for number, one in enumerate(urls)
    ]


def _part_of(whole: NamedUrl, number: int) -> str:
    """As it is now; as it was, where there are fewer."""
    now = hosts_of(str(whole.again()))
    return now[number] if number < len(now) else hosts_of(str(whole))[number]


def _schemes(urls: Sequence[str]) -> list[str]:
    return [url.partition("://")[0] for url in urls]


def refusal_of(error: BaseException) -> str:
    """Why a server, or a pooler before it, refuses us, without the names it has for us and our
    host; empty for any other error."""
    # PgBouncer before 1.19 has no code for it, and passes on what Postgres refused it.
    of_pooler = isinstance(error, asyncpg.ProtocolViolationError) and _REFUSED in str(error)
    if not (of_pooler or isinstance(error, REFUSALS)):
        return ""
    said = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {_QUOTED.sub('', said)}"


@dataclass(slots=True)
class Hosts:
    """Connects to the host of a URL that has what is asked for; of several the one that takes
    writes, unless the URL says another `target_session_attrs`.

    `pooled`: by poolers, which say of their server what it was when they first met it. So it is
    asked, not believed.
    """

    urls: Sequence[str]
    trouble: tuple[type[BaseException], ...]
    """Errors of a host after which the next one is tried."""
    limit_s: float
    """Where there is one host."""
    pooled: bool = False
    url: str = DATABASE_URL
    """What names them."""
    _last: int = 0

    @classmethod
    def of(
        cls,
        url: str,
        trouble: tuple[type[BaseException], ...],
        limit_s: float,
        pooled: bool,
    ) -> "Hosts":
        return cls(hosts_of(url), trouble, limit_s, pooled, url)

    @property
    def wanted(self) -> str:
        """The attribute of the host that is looked for."""
        said = parse_qs(urlsplit(self.urls[0]).query).get(ATTRIBUTE)
        return said[-1] if said else WRITES if len(self.urls) > 1 else ANY

    @property
    def writes(self) -> bool:
        return self.wanted in (WRITES, "primary")

    async def connect(self, *_: Any, **options: Any) -> "Conn":
        """Raises what asyncpg raises, of several hosts the error that says most;
        StoreAccessRefused."""
        tried = self.urls
        try:
            return await self._connect(options)
        except StoreAccessRefused as error:
            # Others who were refused may have read it meanwhile.
            self.urls = self._now()
            if self.urls == tried:
                raise
            refusal = error
        return await self._connect_anew(tried, refusal, options)

    async def _connect_anew(
        self, tried: Sequence[str], refusal: StoreAccessRefused, options: dict[str, Any]
    ) -> "Conn":
        """By what was just read. Where that leads nowhere, as what is half written may, what was
        tried before stays: only who is refused reads it again."""
        try:
            return await self._connect(options)
        except StoreAccessRefused:
            raise
        except ValueError:  # it is no URL
            self.urls = tried
            raise refusal from None
        except BaseException:
            self.urls = tried
            raise

    def _now(self) -> Sequence[str]:
        """What the setting says by now, as a file with a new password."""
        now = hosts_of(self.url.again()) if isinstance(self.url, NamedUrl) else self.urls
        return now if _schemes(now) == _schemes(self.urls) else self.urls

    async def _connect(self, options: dict[str, Any]) -> "Conn":
        if len(self.urls) == 1:
            return await self._try(0, self.limit_s, options)
        errors: list[BaseException] = []
        # The one that served last is the likeliest: the leader changes once a month.
        numbers = range(self._last, self._last + len(self.urls))
        for number in (number % len(self.urls) for number in numbers):
            try:
                connection = await self._try(number, HOST_TIMEOUT_S, options)
            except self.trouble as error:
                errors.append(error)
            except asyncio.CancelledError:
                # Whoever waits less than a host that hangs may take would never reach the next.
                self._last = (number + 1) % len(self.urls)
                raise
            else:
                self._last = number
                return connection
        # A refused connection says less than a server's own words.
        raise next((error for error in errors if not isinstance(error, OSError)), errors[0])

    async def _try(self, number: int, limit_s: float, options: dict[str, Any]) -> "Conn":
        asks = self.pooled and self.writes
        attribute = ANY if asks else self.wanted
        how = {**options, "timeout": limit_s, ATTRIBUTE: attribute}
        try:
            connection: Conn = await asyncpg.connect(self.urls[number], **how)
        except asyncpg.PostgresError as error:
            if why := refusal_of(error):
                raise StoreAccessRefused(setting_of(self.url, DATABASE_URL), why) from error
            raise
        if asks:
            await self._require_leader(connection, limit_s)
        return connection

    @staticmethod
    async def _require_leader(connection: "Conn", limit_s: float) -> None:
        try:
            replica = await connection.fetchval(IS_REPLICA, timeout=limit_s)
        except BaseException:
            connection.terminate()
            raise
        if replica:
            connection.terminate()
            raise asyncpg.ReadOnlySQLTransactionError("the server behind the pooler is a replica")
