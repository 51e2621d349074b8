"""Uploads that come while others are being written share the next write to the disk."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from corechain.service.errors import StoreUnavailable
from corechain.service.workers import Workers
from corechain_relayer.bridge.store import BridgeStore

T = TypeVar("T")
Waiting = tuple[Callable[[], Any], "asyncio.Future[Any]"]
AT_ONCE = 256
"""Uploads in one transaction: more of them would only make the first wait for the last."""


@dataclass(slots=True)
class Gather:
    """A lone upload goes at once; under load a write to the disk carries many."""

    store: BridgeStore
    worker: Workers
    _waiting: "list[Waiting]" = field(default_factory=list)
    _drain: "asyncio.Task[None] | None" = None

    async def run(self, step: Callable[[], T]) -> T:
        """What the step returns or refuses, once it is on disk. Raises StoreUnavailable."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((step, future))
        if self._drain is None:
            self._drain = asyncio.create_task(self._drain_all())
        return await future

    async def _drain_all(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
                for (_, future), found in zip(group, await self._write(group), strict=True):
                    # A client may have left meanwhile; what it sent is kept all the same.
                    if future.done():
                        continue
                    if isinstance(found, Exception):
                        future.set_exception(found)
                    else:
                        future.set_result(found)
        finally:
            self._drain = None

    async def _write(self, group: "list[Waiting]") -> list[Any]:
        """Each one's result or error."""
        try:
            return await self.worker.run(self.store.group, [step for step, _ in group])
        except StoreUnavailable as error:
            return [error] * len(group)
        except Exception as error:  # a mistake of ours, with one of them: nobody waits for ever
            if len(group) == 1:
                return [error]
            # It must not cost the others their upload.
            return [found for one in group for found in await self._write([one])]
