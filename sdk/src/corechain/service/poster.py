"""POSTs to one URL over kept connections, for loops that ask a node all day.

By aiohttp, which web3 brings along in any case: 0.2 ms of CPU a request where httpx takes 1.5. What
the services spent while nothing happened was mostly that.
"""

import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp

from corechain.http import AnswerTooLong, authorities, is_loopback, put_off_s
from corechain.service.named_url import now_of
from corechain.service.progress import moved

FAILURES = (aiohttp.ClientError, OSError)
"""What a request that got no whole answer raises; TimeoutError is an OSError."""
HEADERS = {"content-type": "application/json"}
OLDEST_S = 10.0
"""A balancer divides connections, not requests: one that is kept for ever stays with one of several
nodes, though that one lags or answers nonsense that only the reader of the answer sees."""


@dataclass(slots=True, eq=False)
class _Session:
    """Kept connections, how many requests are on them, and what closes them with their loop."""

    client: aiohttp.ClientSession
    guard: AsyncGenerator[None, None]
    opened: float = field(default_factory=time.monotonic)
    under_way: int = 0


class Posted(NamedTuple):
    """An answer. `content` is not a copy of what came: it may be many megabytes. `wait_s`: for how
    long a busy server asks to be left alone; 0 where it does not say."""

    status: int
    content: bytearray
    wait_s: float


class Poster:
    """Sends JSON. Honours the proxies of the environment, but not for loopback.

    Follows no redirect. `timeout_s` bounds connecting and each read, not the whole answer.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self._given, self._url, self._timeout_s = url, url, timeout_s
        self._session: _Session | None = None

    async def post(self, body: bytes, most: int) -> Posted:
        """The answer, of at most so many bytes. Raises FAILURES, AnswerTooLong."""
        session = await self._young_session()
        session.under_way += 1
        try:
            return await self._exchange(session.client, body, most)
        finally:
            session.under_way -= 1
            if session is not self._session and not session.under_way:
                await session.client.close()

    async def _young_session(self) -> _Session:
        if self._session is not None and time.monotonic() - self._session.opened > OLDEST_S:
            await self.leave()
        if (
            self._session is None or self._session.client.closed
        ):  # with the loop that it was made in
            self._session = await self._open()
        return self._session

    async def _exchange(self, client: aiohttp.ClientSession, body: bytes, most: int) -> Posted:
        content = bytearray()
        sent = client.post(self._url, data=body, headers=HEADERS, allow_redirects=False)
        async with sent as response:
            # The length that it announces is not waited for; one of nobody's saying is counted.
            if (response.content_length or 0) > most:
                response.close()
                raise AnswerTooLong(most)
            async for chunk in response.content.iter_any():
                if len(content) + len(chunk) > most:
                    response.close()
                    raise AnswerTooLong(most)
                content += chunk
                moved()  # of a slow node a round of many questions takes minutes, and goes on
            wait_s = put_off_s(response.status, response.headers)
            return Posted(response.status, content, wait_s)

    def read_again(self) -> None:
        """The next POST goes to what the URL's setting is by now, as a file with another token."""
        self._url = now_of(self._given)

    async def leave(self) -> None:
        """The next POST opens a connection: of several servers behind one address, a kept one stays
        with the one that has just answered badly. Requests under way go on."""
        session, self._session = self._session, None
        if session is not None and not session.under_way:
            await session.client.close()

    async def close(self) -> None:
        """Closes the connections; the next POST opens one."""
        session, self._session = self._session, None
        if session is not None:
            await session.client.close()

    async def _open(self) -> _Session:
        """A session belongs to the loop in which it is made, so it is made by the first POST."""
        tls = urlsplit(self._url).scheme == "https"
        client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=authorities() if tls else True),
            timeout=aiohttp.ClientTimeout(
                total=None, connect=self._timeout_s, sock_read=self._timeout_s
            ),
            trust_env=not is_loopback(self._url),
        )
        # A loop finishes its asynchronous generators before it closes (PEP 525): whoever forgets to
        # close leaves no connection behind.
        guard = self._closed_with_its_loop(client)
        await anext(guard)
        return _Session(client, guard)

    @staticmethod
    async def _closed_with_its_loop(client: aiohttp.ClientSession) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await client.close()
