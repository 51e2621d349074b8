"""HTTP clients for every part of the toolkit: no proxy for this machine, one a process and event
loop, answers with a limit and a deadline.

`httpx` is imported on first use: who only signs never pays for it.
"""

import ipaddress
import os
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit
from weakref import WeakKeyDictionary, finalize

from corechain.protocol.errors import InvalidValue, ProtocolError
from corechain.protocol.values import one_of

if TYPE_CHECKING:
    import asyncio
    import ssl

    import httpx

# httpx's own command, which no program calls, would load 55 modules of rich with it.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type] # Python's "not there"

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
MAX_ANSWER_BYTES = 256 << 20
"""A server that never ends its answer must not take our memory; the largest honest one, the logs of
a busy range, is about 30 MB."""
traceparent: ContextVar[str | None] = ContextVar("traceparent", default=None)
"""Set it while you trace (`00-<trace id>-<span id>-01`, W3C Trace Context, level 1): the field goes
with every request of this context, and a relayer or indexer that has a collector goes on with your
trace."""
WHOLE_ANSWER = 6
"""The whole answer may take so many times the timeout of a single read, however it drips."""
BUSY = 429, 503
"""With these a server may say when to come again."""
LONGEST_ASKED_S = 86_400.0
"""Whoever asks to be left alone for more than a day is mistaken about the time."""


def service_url(parameter: str, value: object) -> str:
    """An http or https URL with a host. Raises InvalidValue."""
    right = "takes a URL, as http://127.0.0.1:8545"
    text = one_of(parameter, value, str, right)
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not text.isprintable() or " " in text:
        raise InvalidValue(parameter, value, right)
    return text


def shown_url(url: str, *, path: bool = True) -> str:
    """A URL for texts: without user, password, query and fragment, which may be secret. Of a node
    without its `path` too: providers write the key there."""
    try:
        parts = urlsplit(url)
        shown = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")
        return (shown if path else shown._replace(path="")).geturl()
    except ValueError:
        return "(not a URL)"


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine: 127.0.0.0/8, ::1 or localhost."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or host.endswith(".localhost") or _is_loopback_address(host)
    except ValueError:
        return False


def _is_loopback_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _direct(urls: tuple[str, ...]) -> dict[str, Any]:
    """Hosts that no proxy of the environment may stand before: its loopback is not ours."""
    named = {urlsplit(url).netloc.rpartition("@")[2] for url in urls if is_loopback(url)}
    return {f"all://{host}": None for host in (*LOOPBACK, *sorted(named))}


_PROXIES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", *_PROXIES, *map(str.lower, _PROXIES))


class UnusableEnvironment(ProtocolError):
    """The environment names a proxy, or certificates, with which no connection can be made."""

    def __init__(self, why: str) -> None:
        known = [
            name for name in (*_VARIABLES, *map(str.lower, _VARIABLES)) if os.environ.get(name)
        ]
        names = ", ".join(known) or "proxy or certificates"
        super().__init__(f"{names} of the environment: {why}; correct or unset it")


@contextmanager
def _told() -> Iterator[None]:
    import httpx

    try:
        yield
    except (ImportError, OSError, ValueError, httpx.InvalidURL) as error:
        # httpx writes the password of a proxy's URL as [secure].
        why = getattr(error, "strerror", None) or str(error)
        raise UnusableEnvironment(why) from error


_read: dict[str, int] = {}
"""When a file with certificates was written that was read last, by its path."""


def authorities() -> "ssl.SSLContext":
    """Whom to believe, read once a process: 25 ms of CPU, the most of making a client. Who is in
    the file of SSL_CERT_FILE since is believed, too, by all who have it. Raises
    UnusableEnvironment."""
    path = os.environ.get("SSL_CERT_FILE")
    if path:
        _learn(path)
    return _authorities()


@cache
def _authorities() -> "ssl.SSLContext":
    import httpx

    with _told():
        return httpx.create_ssl_context()


def _learn(path: str) -> None:
    with suppress(OSError):  # gone, or half written: at the first time that is told, and later none
        written = os.stat(path).st_mtime_ns
        if _read.setdefault(path, written) != written:
            _authorities().load_verify_locations(path)
            _read[path] = written


def learn_authorities(request: "httpx.Request") -> None:
    """Before a request: its client may be older than what a file of authorities has by now."""
    if request.url.scheme == "https":
        authorities()


def _prepare(request: "httpx.Request") -> None:
    learn_authorities(request)
    known = traceparent.get()
    if known is not None:
        request.headers["traceparent"] = known


async def _prepare_async(request: "httpx.Request") -> None:
    _prepare(request)


def client(*urls: str, **options: Any) -> "httpx.Client":
    """A blocking client that honours the proxies of the environment, but not for loopback.

    `urls`: what it will be used for, where known, so that 127.0.0.2 is recognised too. Raises
    UnusableEnvironment.
    """
    import httpx

    made = {"verify": authorities(), "event_hooks": {"request": [_prepare]}, **options}
    with _told():
        return httpx.Client(mounts=_direct(urls), **made)


def async_client(*urls: str, **options: Any) -> "httpx.AsyncClient":
    """The same for asyncio."""
    import httpx

    made = {"verify": authorities(), "event_hooks": {"request": [_prepare_async]}, **options}
    with _told():
        return httpx.AsyncClient(mounts=_direct(urls), **made)


class ProcessClients:
    """A blocking client for every process: after a fork, two processes on one connection would read
    each other's answers. Threads of a process share one."""

    def __init__(self, make: "Callable[[], httpx.Client]") -> None:
        self._make = make
        self._clients: dict[int, httpx.Client] = {}
        # Who forgets to close one leaves no connection behind.
        finalize(self, _close_own, self._clients)

    def get(self) -> "httpx.Client":
        found = self._clients.get(os.getpid())
        # setdefault is one step: of two threads that come first, both get the same client.
        return found or self._clients.setdefault(os.getpid(), self._make())

    def close(self) -> None:
        """Closes this process's client; the next use makes a new one."""
        _close_own(self._clients)


def _close_own(clients: "dict[int, httpx.Client]") -> None:
    # Not those of the parent process: their connections are still in use there.
    found = clients.pop(os.getpid(), None)
    if found is not None:
        found.close()


async def _closed_with_its_loop(client: "httpx.AsyncClient") -> AsyncGenerator[None, None]:
    # A loop finishes its asynchronous generators before it closes (asyncio.Runner, PEP 525), and
    # only within its loop can a connection be closed.
    try:
        yield
    finally:
        await client.aclose()


class LoopClients:
    """An asynchronous client for every event loop: connections belong to the loop that made them.
    One that nobody closes is closed with its loop."""

    def __init__(self, make: "Callable[[], httpx.AsyncClient]") -> None:
        self._make = make
        self._clients: WeakKeyDictionary[
            asyncio.AbstractEventLoop, tuple[httpx.AsyncClient, AsyncGenerator[None, None]]
        ] = WeakKeyDictionary()

    async def get(self) -> "httpx.AsyncClient":
        from asyncio import get_running_loop  # a program without loops never loads it

        loop = get_running_loop()
        found = self._clients.get(loop)
        if found is None:
            made = self._make()
            found = made, _closed_with_its_loop(made)
            # Kept before the first await: a task that asks meanwhile gets the same.
            self._clients[loop] = found
            await anext(found[1])
        return found[0]

    async def close(self) -> None:
        """Closes this loop's client; the next use makes a new one."""
        from asyncio import get_running_loop

        found = self._clients.pop(get_running_loop(), None)
        if found is not None:
            await found[1].aclose()


class AnswerTooLong(ValueError):
    """An answer of more bytes than its reader takes."""

    def __init__(self, most: int) -> None:
        super().__init__(f"the answer is over the limit of {most} bytes")
        self.most = most


class _Body:
    """Collects an answer. Raises TimeoutError, AnswerTooLong."""

    def __init__(self, timeout_s: float, most: int = MAX_ANSWER_BYTES) -> None:
        self.content, self._most = bytearray(), most
        self._deadline_s = timeout_s * WHOLE_ANSWER
        self._deadline = time.monotonic() + self._deadline_s

    def expect(self, headers: Mapping[str, str]) -> None:
        """The length that an answer announces, if it does."""
        length = headers.get("content-length", "")
        if length.isascii() and length.isdecimal() and int(length[:20]) > self._most:
            raise AnswerTooLong(self._most)

    def add(self, chunk: bytes) -> None:
        if len(self.content) + len(chunk) > self._most:
            raise AnswerTooLong(self._most)
        self.content += chunk
        if time.monotonic() > self._deadline:
            raise TimeoutError(f"no whole answer in {self._deadline_s:g} s")

    def response(self, head: "httpx.Response") -> "httpx.Response":
        import httpx

        # The content is decoded already: its encoding and length are no longer those of the head.
        kept = [
            (name, value)
            for name, value in head.headers.multi_items()
            if name not in ("content-encoding", "content-length", "transfer-encoding")
        ]
        return httpx.Response(
            head.status_code, headers=kept, content=bytes(self.content), request=head.request
        )


def exchange(
    clients: ProcessClients,
    method: str,
    url: str,
    timeout_s: float,
    *,
    most: int = MAX_ANSWER_BYTES,
    **options: Any,
) -> "httpx.Response":
    """A request with its whole answer of at most `most` bytes; `options` as httpx takes them.
    Redirects are not followed.

    Raises httpx.HTTPError, httpx.InvalidURL, TimeoutError, AnswerTooLong, ValueError.
    """
    body = _Body(timeout_s, most)
    with clients.get().stream(method, url, timeout=timeout_s, **options) as response:
        body.expect(response.headers)
        for chunk in response.iter_bytes():
            body.add(chunk)
        return body.response(response)


async def async_exchange(
    clients: LoopClients, method: str, url: str, timeout_s: float, **options: Any
) -> "httpx.Response":
    """The same for asyncio."""
    body, client = _Body(timeout_s), await clients.get()
    async with client.stream(method, url, timeout=timeout_s, **options) as response:
        body.expect(response.headers)
        async for chunk in response.aiter_bytes():
            body.add(chunk)
        return body.response(response)


def redirect_of(response: "httpx.Response", *, path: bool = True) -> str | None:
    """What an answer that only names another address says; None for all others. `path` as of
    `shown_url`. Redirects are not followed: what is signed, or secret, goes to nobody whom the
    caller did not name."""
    if not 300 <= response.status_code < 400:
        return None
    to = response.headers.get("location", "")
    try:
        # Many servers name only the path.
        to = shown_url(urljoin(str(response.request.url), to), path=path) if to else "nowhere"
    except ValueError:
        to = "(not a URL)"
    return f"HTTP {response.status_code} to {to:.200}: use that as the URL"


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The seconds of a Retry-After header, a number or a date (RFC 9110, 10.2.3), at most a day;
    None where there is none that can be read."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return min(LONGEST_ASKED_S, float(text[:9]))
    until, now = _date_s(text), _date_s(headers.get("date", ""))
    if until is None:
        return None
    # By the server's own clock where it says it: a device's may be years off.
    return min(LONGEST_ASKED_S, max(0.0, until - (time.time() if now is None else now)))


def put_off_s(status: int, headers: Mapping[str, str]) -> float:
    """For how many seconds a busy server asks to be left alone; 0 where it does not say."""
    return (retry_after_s(headers) or 0.0) if status in BUSY else 0.0


def _date_s(text: str) -> float | None:
    """A date of HTTP as a UNIX time; None for any other text."""
    from email.utils import mktime_tz, parsedate_tz

    try:
        parts = parsedate_tz(text)
        return None if parts is None else float(mktime_tz(parts))
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
