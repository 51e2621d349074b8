"""A chain of any age as a model: its blocks are made when somebody asks for one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, overload

from corechain.protocol.events import Event
from corechain.protocol.hashing import keccak
from support.fake_chain import FakeBlock


@dataclass(frozen=True)
class LongBlock(FakeBlock):
    """Its hash follows from its number and its branch alone."""

    @cached_property
    def hash(self) -> bytes:
        return hash_of(self.number, self.salt)


def hash_of(number: int, branch: int) -> bytes:
    return keccak(f"{branch}:{number}".encode())


@dataclass
class LongBlocks(Sequence[FakeBlock]):
    """A node of FakeChain with blocks up to `height`. `happened`: (address, event) by block.
    `branches`: from which block on which branch it is of; all blocks are of branch 0 at first."""

    height: int
    happened: dict[int, list[tuple[bytes, Event]]] = field(default_factory=dict)
    branches: dict[int, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.height + 1

    @overload
    def __getitem__(self, place: int) -> FakeBlock: ...
    @overload
    def __getitem__(self, place: slice) -> list[FakeBlock]: ...
    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):  # who asks for a range wants its logs
            span = range(*place.indices(len(self)))
            return [self[number] for number in sorted(self.happened) if number in span]
        number = place if place >= 0 else len(self) + place
        happened = tuple(self.happened.get(number, ()))
        parent = hash_of(number - 1, self._branch(number - 1)) if number else bytes(32)
        return LongBlock(number, parent, self._branch(number), happened)

    def __iter__(self) -> Iterator[FakeBlock]:
        """Those that are asked for by their hash: with logs, or near the head."""
        near = range(max(0, self.height - 300), self.height + 1)
        return (self[number] for number in sorted({*self.happened, *near}))

    def _branch(self, number: int) -> int:
        begun = [start for start in self.branches if start <= number]
        return self.branches[max(begun)] if begun else 0
