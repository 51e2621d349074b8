"""A pool of connections that remembers what it was asked."""

from typing import Any


class AskedPool:
    """A pool that keeps the statements that it was asked."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self.asked: list[str] = []

    async def fetch(self, query: str, *arguments: Any) -> Any:
        self.asked.append(query)
        return await self.pool.fetch(query, *arguments)
