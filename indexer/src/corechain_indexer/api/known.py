"""Answers that are kept for as long as nothing changes.

Every transaction that may change an answer gives `change` another number (migration of that name),
and no number comes twice. An answer is kept under the number that stood before it was read,
and given to who asks while that number stands: exactly what Postgres would say, under every reorg.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from corechain.service.gathering import Gathering
from corechain_indexer.store.reads import Reads
from corechain_indexer.store.replica import PRIMARY

if TYPE_CHECKING:
    from corechain.service.database import Database
    from corechain_indexer.store.replica import ReplicaReads

T = TypeVar("T")


class Marked(Protocol):
    """Something that says when an answer may have changed."""

    async def now(self) -> str:
        """Another word after each change, never one of before; as of a moment after the call."""


PAUSE_S = 0.004
"""Between two looks at the number: with 1,500 queries a second, six share one, and wait 2 ms."""


@dataclass(slots=True)
class Mark:
    """The number of the newest change, asked for by all who come at about the same time."""

    pool: "Database"
    replica: "ReplicaReads | None" = None
    pause_s: float = PAUSE_S
    _together: dict[str, Gathering[str, str]] = field(default_factory=dict)
    """By source, so that an outage of one is told to nobody who asks the other."""

    def __post_init__(self) -> None:
        for source in self.replica.sources if self.replica else (PRIMARY,):
            self._together[source] = Gathering(self._ask, pause_s=self.pause_s)

    async def now(self) -> str:
        """As of a moment after the call. Raises StoreUnavailable."""
        if self.replica is None:
            return await self._from(PRIMARY)
        # The number of who answers this request: the primary's is too new for the replica.
        return await self.replica.either(self._from)

    async def _from(self, source: str) -> str:
        return await self._together[source].get(source)

    async def _ask(self, sources: Sequence[str]) -> Mapping[str, str]:
        return {source: await Reads(self._of(source)).change() for source in sources}

    def _of(self, source: str) -> "Database":
        return self.pool if self.replica is None else self.replica.pool_of(source)


REMEMBERED = 8_192
"""Questions, 0.3 kB each: of half a minute where 300 others come every second."""


@dataclass(slots=True)
class Again:
    """Tells what is asked for again from what is asked for once."""

    most: int = REMEMBERED
    _asked: dict[Hashable, None] = field(default_factory=dict)

    def seen(self, question: Hashable) -> bool:
        """Whether it was among the last `most` others before."""
        if question in self._asked:
            return True
        self._asked[question] = None
        if len(self._asked) > self.most:
            del self._asked[next(iter(self._asked))]
        return False


@dataclass(slots=True)
class Kept(Generic[T]):
    """Up to `most_bytes` of answers to questions; who asks for one that is being made, waits for
    it. `size` of an answer in bytes; `hit` is called whenever one was there."""

    mark: Marked
    most_bytes: int
    size: Callable[[T], int]
    hit: Callable[[], None] = lambda: None
    held_bytes: int = 0
    _mark: str = ""
    _answers: dict[Hashable, T] = field(default_factory=dict)
    _making: "dict[tuple[str, Hashable], asyncio.Task[T]]" = field(default_factory=dict)

    async def get(self, question: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """The answer as of a moment after the call. Raises what `make` raises, StoreUnavailable."""
        mark = await self.mark.now()
        self._turn_to(mark)
        if question in self._answers:
            self.hit()
            # To the end: what was asked for lately goes last.
            answer = self._answers[question] = self._answers.pop(question)
            return answer
        task = self._making.get((mark, question))
        if task is None:
            task = asyncio.create_task(self._make(mark, question, make))
            self._making[mark, question] = task
            task.add_done_callback(lambda done: self._made(mark, question, done))
        else:
            self.hit()
        # Shielded: who leaves must not take the answer from the others.
        return await asyncio.shield(task)

    def _turn_to(self, mark: str) -> None:
        if mark != self._mark:
            self._mark, self.held_bytes = mark, 0
            self._answers.clear()

    async def _make(self, mark: str, question: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        answer = await make()
        if mark == self._mark:
            self._keep(question, answer)
        return answer

    def _keep(self, question: Hashable, answer: T) -> None:
        self._answers[question] = answer
        self.held_bytes += self.size(answer)
        while self.held_bytes > self.most_bytes:
            oldest = next(iter(self._answers))
            self.held_bytes -= self.size(self._answers.pop(oldest))

    def _made(self, mark: str, question: Hashable, task: "asyncio.Task[Any]") -> None:
        self._making.pop((mark, question), None)
        if not task.cancelled():
            task.exception()  # seen: all who waited may have left
