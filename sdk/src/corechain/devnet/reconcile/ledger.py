"""What was acknowledged, and how often each of it was seen in a committed file.

Two bytes a report of the logs, however long they are: ten million reports take 20 MB.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from corechain.devnet.fleet.acklog import Kind, LogReader
from corechain.devnet.fleet.shape import Shape

Key = tuple[bytes, int]
"""Device and sequence."""
SILENT = 0
"""The log does not say what became of a report: it was not sent, or the log is cut off."""
MOST = 255


@dataclass(slots=True)
class Ledger:
    """One log: the fate of each report as its sender knows it, and the times it was seen."""

    log: LogReader
    _fates: bytearray = field(init=False)
    _seen: bytearray = field(init=False)
    _numbers: dict[bytes, int] = field(init=False)

    def __post_init__(self) -> None:
        self._fates, self._seen = bytearray(self.shape.total), bytearray(self.shape.total)
        self._numbers = {device: at for at, device in enumerate(self.log.head.devices)}
        for entry in self.log.entries():
            fates = bytes([entry.kind]) * entry.count
            self._fates[entry.first : entry.first + entry.count] = fates

    @property
    def shape(self) -> Shape:
        return self.log.head.shape

    def see(self, keys: Iterable[Key]) -> list[Key]:
        """Counts what a committed file holds; returns what is not of this log."""
        others, numbers, shape, seen = [], self._numbers, self.shape, self._seen
        for key in keys:
            device = numbers.get(key[0])
            number = None if device is None else shape.number(device, key[1])
            if number is None:
                others.append(key)
            elif seen[number] < MOST:
                seen[number] += 1
        return others

    def count(self, kind: int) -> int:
        """Reports of this fate."""
        return self._fates.count(kind)

    def count_seen(self, kind: int) -> int:
        """Reports of this fate that are in a committed file."""
        return self.count(kind) - self._count_where(kind, 0)

    def _count_where(self, kind: int, seen: int) -> int:
        return sum(1 for _ in self._where(kind, seen))

    def _where(self, kind: int, seen: int) -> Iterator[int]:
        """Numbers of the reports of a fate that were seen so many times."""
        at = self._seen.find(seen)
        while at >= 0:
            if self._fates[at] == kind:
                yield at
            at = self._seen.find(seen, at + 1)

    def lost(self) -> Iterator[Key]:
        """Acknowledged, and in no committed file."""
        return map(self._key, self._where(Kind.ACKNOWLEDGED, 0))

    def doubled(self) -> Iterator[Key]:
        """In committed files more than once, whatever the sender was told."""
        return (self._key(at) for at, times in enumerate(self._seen) if times > 1)

    @property
    def any_doubled(self) -> bool:
        # Ten million bytes in a moment; `doubled` would take a second.
        return bool(self._seen.translate(None, b"\0\1"))

    def _key(self, number: int) -> Key:
        device, sequence = self.shape.place(number)
        return self.log.head.devices[device], sequence
