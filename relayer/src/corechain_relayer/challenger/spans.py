"""Which batches of a lane have reports of a device whose numbers cross. Pure.

A report that comes twice lies in two batches whose numbers of that device cross. Honest devices
count up, so that nearly no two cross: only then both files are opened.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from corechain.protocol.chain_findings import places_of
from corechain.protocol.evidence import Dossier, Fragments

Key = tuple[int, bytes]
"""Batch id and commitment."""


def name_of(key: Key) -> str:
    """Of a batch, in logs, alerts and keys of the journal: of two commitments for it too."""
    return f"{key[0]}.{key[1].hex()[:16]}"


class Span(NamedTuple):
    """The first and the last number of a device in a batch."""

    first: int
    last: int
    batch: Key


def spans_of(dossier: Dossier | Fragments, batch: Key) -> dict[bytes, Span]:
    """By device."""
    numbers = defaultdict[bytes, list[int]](list)
    for place in places_of(dossier):
        numbers[place[:20]].append(int.from_bytes(place[20:], "big"))
    return {device: Span(min(of), max(of), batch) for device, of in numbers.items()}


@dataclass(slots=True)
class Spans:
    """Of one lane under one bond."""

    _by_device: dict[bytes, list[Span]] = field(default_factory=lambda: defaultdict(list))
    _batches: set[Key] = field(default_factory=set)

    def add(self, new: dict[bytes, Span], batch: Key) -> list[Key]:
        """Other batches that may have one of its reports. Of one of which answers show more and
        more, the widest span of a device counts."""
        crossing = dict.fromkeys(self._crossing(new, batch))
        is_known = batch in self._batches
        self._batches.add(batch)
        for device, span in new.items():
            spans = self._by_device[device]
            if not is_known:
                spans.append(span)
            elif span not in spans:
                spans[:] = [*(one for one in spans if one.batch != batch), span]
        return list(crossing)

    def _crossing(self, new: dict[bytes, Span], batch: Key) -> Iterator[Key]:
        for device, span in new.items():
            for other in self._by_device.get(device, ()):
                if other.first <= span.last and span.first <= other.last and other.batch != batch:
                    yield other.batch

    def drop(self, gone: set[Key]) -> None:
        """Batches whose window is over."""
        self._batches -= gone
        for device, spans in list(self._by_device.items()):
            kept = [span for span in spans if span.batch not in gone]
            if kept:
                self._by_device[device] = kept
            else:
                del self._by_device[device]
