"""That a request wants receipts, and what it got: which of its reports are in which, or why not."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from corechain.protocol.errors import ProtocolError, ReplayedSequence

NOT_OFFERED = "ReceiptsNotOffered"
"""Said of all reports where the gateway has no key for receipts."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Ascending indexes of reports of the request, and their receipt with its proof packed, or the
    name of the reason why they have none."""

    indexes: Sequence[int]
    packed: bytes = b""
    reason: str = ""

    def runs(self) -> list[tuple[int, int]]:
        """The indexes as spans (first, behind the last): nearly always one."""
        if isinstance(self.indexes, range):
            return [(self.indexes.start, self.indexes.stop)]
        runs: list[tuple[int, int]] = []
        for index in self.indexes:
            if runs and runs[-1][1] == index:
                runs[-1] = (runs[-1][0], index + 1)
            else:
                runs.append((index, index + 1))
        return runs


@dataclass(slots=True)
class Wish:
    """Goes with a request to its frame, and comes back with the answer."""

    entries: list[Entry] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether any report has a receipt."""
        return any(entry.packed for entry in self.entries)

    def renumber(self, places: Sequence[int]) -> None:
        """Index i becomes places[i]: of a part's reports those of the whole, of a request's reports
        its items. `places` ascend."""
        if isinstance(places, range) and places.start == 0:
            return
        self.entries = [
            Entry([places[index] for index in entry.indexes], entry.packed, entry.reason)
            for entry in self.entries
        ]

    def refuse_all(self, faults: Sequence[ProtocolError | None], reason: str) -> None:
        """Of all reports that are durable."""
        durable = [index for index, fault in enumerate(faults) if is_delivered(fault)]
        if durable:
            self.entries.append(Entry(durable, reason=reason))


def is_delivered(fault: ProtocolError | None) -> bool:
    """Whether a report is durable: accepted now or before. The gateway says ReplayedSequence of the
    very same report alone."""
    return fault is None or isinstance(fault, ReplayedSequence)
