"""User, password and certificates of a Redis or Valkey, read at each connection: a mounted file
changes in place."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from redis.asyncio.connection import ConnectionPool, SSLConnection
from redis.credentials import CredentialProvider

from corechain.service.named_url import NamedUrl


class UrlCredentials(CredentialProvider):
    """Those of a setting as it is by now."""

    def __init__(self, url: NamedUrl) -> None:
        self._url = url

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        user, _, password = _parted(self._url.again())[0].partition(":")
        return (unquote(user), unquote(password)) if user else (unquote(password),)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()


class RenewedTls(SSLConnection):
    """redis-py keeps what it has read of certificates as long as an object of its lives, which is
    through all reconnections."""

    def _connection_arguments(self) -> Mapping[str, Any]:
        self.ssl_context.context = None
        found: Mapping[str, Any] = super()._connection_arguments()
        return found


def renew_tls(pool: ConnectionPool) -> ConnectionPool:
    """The same pool, whose connections read the files with certificates each time."""
    if pool.connection_class is SSLConnection:
        pool.connection_class = RenewedTls
    return pool


def with_credentials(url: str) -> tuple[str, dict[str, Any]]:
    """The URL to connect to, and options that go with it: the credentials of a setting are left out
    of the one and asked for by the other."""
    credentials, rest = _parted(url)
    if not isinstance(url, NamedUrl) or not credentials:
        return url, {}
    return rest, {"credential_provider": UrlCredentials(url)}


def _parted(url: str) -> tuple[str, str]:
    """What is before the last @ of a URL's place, and the URL without it."""
    scheme, _, rest = url.partition("://")
    end = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    credentials, _, hosts = rest[:end].rpartition("@")
    return credentials, f"{scheme}://{hosts}{rest[end:]}"
