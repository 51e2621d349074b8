"""What was acknowledged, and how often each of it was seen in a committed file.

A byte a report of the logs, however long they are: ten million reports take 10 MB.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from corechain.devnet.fleet.acklog import Kind, LogReader
from corechain.devnet.fleet.shape import Shape
from corechain.devnet.reconcile.scan import Keys

if TYPE_CHECKING:
    from corechain.devnet.reconcile.columns import KeyColumns, Numbering

Key = tuple[bytes, int]
"""Device and sequence."""
SILENT = 0
"""The log does not say what became of a report: it was not sent, or the log is cut off."""
# A report's byte: its fate in the lower 3 bits, how often it was seen in the upper 5.
_ONCE, _MOST = 1 << 3, 0xFF - (1 << 3)
_SEEN_TWICE = re.compile(rb"[\x10-\xff]", re.DOTALL)


@dataclass
class Ledger:
    """One log: the fate of each report as its sender knows it, and the times it was seen."""

    log: LogReader
    _reports: bytearray = field(init=False)
    _fates: dict[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self._reports = bytearray(self.shape.total)
        for entry in self.log.entries():
            fates = bytes([entry.kind]) * entry.count
            self._reports[entry.first : entry.first + entry.count] = fates
        self._fates = {fate: self._reports.count(fate) for fate in (SILENT, *Kind)}

    @property
    def shape(self) -> Shape:
        return self.log.head.shape

    @cached_property
    def _numbers(self) -> dict[bytes, int]:
        return {device: at for at, device in enumerate(self.log.head.devices)}

    @cached_property
    def _numbering(self) -> "Numbering":
        from corechain.devnet.reconcile.columns import Numbering

        return Numbering.of(self.shape, self.log.head.devices)

    def see(self, keys: Keys) -> Keys:
        """Counts what a committed file holds; returns what is not of this log."""
        return self._see_each(keys) if isinstance(keys, list) else self._see_columns(keys)

    def _see_columns(self, keys: "KeyColumns") -> "KeyColumns":
        from corechain.devnet.reconcile.columns import count_seen

        numbers, ours = self._numbering.numbers(keys)
        count_seen(self._reports, numbers)
        return keys[~ours]

    def _see_each(self, keys: Iterable[Key]) -> list[Key]:
        others, numbers, number_of = list[Key](), self._numbers, self.shape.number
        reports = self._reports
        for key in keys:
            device = numbers.get(key[0])
            number = None if device is None else number_of(device, key[1])
            if number is None:
                others.append(key)
            elif reports[number] <= _MOST:
                reports[number] += _ONCE
        return others

    def count(self, fate: int) -> int:
        """Reports of this fate."""
        return self._fates[fate]

    def count_seen(self, fate: int) -> int:
        """Reports of this fate that are in a committed file."""
        return self._fates[fate] - self._reports.count(fate)

    def lost(self) -> Iterator[Key]:
        """Acknowledged, and in no committed file."""
        at = self._reports.find(Kind.ACKNOWLEDGED)
        while at >= 0:
            yield self._key(at)
            at = self._reports.find(Kind.ACKNOWLEDGED, at + 1)

    def doubled(self) -> Iterator[Key]:
        """In committed files more than once, whatever the sender was told."""
        return (self._key(match.start()) for match in _SEEN_TWICE.finditer(self._reports))

    def _key(self, number: int) -> Key:
        device, sequence = self.shape.place(number)
        return self.log.head.devices[device], sequence
