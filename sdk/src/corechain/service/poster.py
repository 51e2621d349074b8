"""POSTs to one URL over kept connections, for loops that ask a node all day.

By aiohttp, which web3 brings along in any case: 0.2 ms of CPU a request where httpx takes 1.5. What
the services spent while nothing happened was mostly that.
"""

from collections.abc import AsyncGenerator
from urllib.parse import urlsplit

import aiohttp

from corechain.http import AnswerTooLong, authorities, is_loopback

FAILURES = (aiohttp.ClientError, OSError)
"""What a request that got no whole answer raises; TimeoutError is an OSError."""
HEADERS = {"content-type": "application/json"}


class Poster:
    """Sends JSON. Honours the proxies of the environment, but not for loopback.

    Follows no redirect. `timeout_s` bounds connecting and each read, not the whole answer.
    """

    def __init__(self, url: str, timeout_s: float, max_answer_bytes: int) -> None:
        self._url, self._timeout_s, self._most = url, timeout_s, max_answer_bytes
        self._session: aiohttp.ClientSession | None = None
        self._closing: AsyncGenerator[None, None] | None = None

    async def post(self, body: bytes) -> tuple[int, bytes]:
        """Status and content. Raises FAILURES, AnswerTooLong."""
        content, session = bytearray(), self._session
        if session is None or session.closed:  # closed with the loop in which it was made
            session = await self._open()
        sent = session.post(self._url, data=body, headers=HEADERS, allow_redirects=False)
        async with sent as response:
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > self._most:
                    raise AnswerTooLong(f"the answer is over {self._most} bytes")
            return response.status, bytes(content)

    async def close(self) -> None:
        """Closes the connections; the next POST opens one."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def _open(self) -> aiohttp.ClientSession:
        """A session belongs to the loop in which it is made, so it is made by the first POST."""
        tls = urlsplit(self._url).scheme == "https"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=authorities() if tls else True),
            timeout=aiohttp.ClientTimeout(
                total=None, connect=self._timeout_s, sock_read=self._timeout_s
            ),
            trust_env=not is_loopback(self._url),
        )
        # A loop finishes its asynchronous generators before it closes (PEP 525): whoever forgets to
        # close leaves no connection behind.
        self._closing = self._closed_with_its_loop(self._session)
        session = self._session
        await anext(self._closing)
        return session

    @staticmethod
    async def _closed_with_its_loop(session: aiohttp.ClientSession) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await session.close()
