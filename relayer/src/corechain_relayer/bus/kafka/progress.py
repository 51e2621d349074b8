"""How far an aggregator is on a lane, as its committed offset says it. Pure.

Kafka keeps one offset a partition: below it all is acknowledged. What is acknowledged above it, and
how far was read, goes into the metadata that Kafka keeps beside it: `r<offset> a<from>-<to>,…`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

METADATA_BYTES = 2000
"""The broker refuses more than 4,096 (`offset.metadata.max.bytes`). What does not fit is delivered
again after a restart, and counted once all the same."""


@dataclass(frozen=True, slots=True)
class Progress:
    """`low`: every frame below is acknowledged. `acked`: those at or above it that are, too."""

    low: int
    read: int
    acked: frozenset[int] = frozenset()

    def metadata(self) -> str:
        text = f"r{self.read}"
        for first, last in _ranges(sorted(self.acked)):
            part = f"{',' if ' a' in text else ' a'}{first}-{last}"
            if len(text) + len(part) > METADATA_BYTES:
                break
            text += part
        return text

    @classmethod
    def of(cls, low: int, metadata: str) -> "Progress":
        """What was committed. Metadata of anybody else's says nothing."""
        try:
            read, acked = _parsed(metadata)
        except ValueError:
            return cls(low, low)
        return cls(low, max(low, read), frozenset(offset for offset in acked if offset >= low))


def _ranges(offsets: list[int]) -> Iterable[tuple[int, int]]:
    start = 0
    for at in range(1, len(offsets) + 1):
        if at == len(offsets) or offsets[at] != offsets[at - 1] + 1:
            yield offsets[start], offsets[at - 1]
            start = at


def _parsed(metadata: str) -> tuple[int, list[int]]:
    """Raises ValueError."""
    read, _, rest = metadata.partition(" a")
    if not read.startswith("r"):
        raise ValueError("not ours")
    acked: list[int] = []
    for part in filter(None, rest.split(",")):
        first, last = map(int, part.split("-"))
        acked += range(first, min(last, first + 100_000) + 1)
    return int(read[1:]), acked


@dataclass(slots=True)
class Acks:
    """Acknowledgements of a session, in any order."""

    low: int
    read: int
    acked: set[int] = field(default_factory=set)

    @classmethod
    def after(cls, progress: Progress) -> "Acks":
        # Read again from the lowest: what is above it and not acknowledged was left by others.
        return cls(progress.low, progress.low, set(progress.acked))

    def add(self, offsets: Iterable[int]) -> None:
        self.acked.update(offset for offset in offsets if offset >= self.low)
        while self.low in self.acked:
            self.acked.discard(self.low)
            self.low += 1

    def is_acked(self, offset: int) -> bool:
        return offset < self.low or offset in self.acked

    @property
    def progress(self) -> Progress:
        return Progress(self.low, max(self.low, self.read), frozenset(self.acked))
