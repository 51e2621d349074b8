"""What Redis holds of a device's newest values, and whether Postgres says that it may be served."""

from collections.abc import Mapping
from dataclasses import dataclass, field

GENERATION = b"generation"
BATCHES = 65_536
"""Whose finality is kept until something changes, 150 bytes each."""
FINALITY = b'"finality":"'
"""Begins what ends the JSON of a value: the moment of its writing says how sure it was then."""
Found = bytes | str
"""A device's values by metric, as a JSON list; or why those of the cache are not served."""


class Held:
    """What Redis has of a device: the generation, and of each value the metric, the batch (digits)
    and the JSON."""

    __slots__ = ("generation", "values")

    def __init__(self, fields: Mapping[bytes, bytes]) -> None:
        self.generation = fields.get(GENERATION)
        self.values = [
            (int(name), batch, value)
            for name, packed in fields.items()
            if name != GENERATION
            for _, batch, _, value in (packed.split(b" ", 3),)
        ]

    @property
    def batches(self) -> set[bytes]:
        return {batch for _, batch, _ in self.values}


Finality = Mapping[bytes, bytes]
"""Of batches that stand, by the digits of their ids: the end of a value's JSON."""


@dataclass(frozen=True, slots=True)
class Check:
    """What Postgres says of what is cached for a group."""

    generation: bytes
    behind: bool
    stale: frozenset[bytes]
    finality: Finality

    def of(self, device: bytes, held: Held) -> Found:
        if held.generation is None:
            return "missing"
        if held.generation != self.generation:
            return "another life"
        if device in self.stale or not held.batches <= self.finality.keys():
            return "stale"
        if self.behind:
            return "behind"
        # The bytes as they are, but for their ends: to decode ten values and encode them again
        # takes 40 µs.
        values = [
            value[: value.rindex(FINALITY)] + self.finality[batch]
            for _, batch, value in sorted(held.values)
        ]
        return b"[" + b",".join(values) + b"]"


@dataclass(frozen=True, slots=True)
class Known:
    """Finality as of a change (decision 0033): it stands until the number of changes moves."""

    change: str = ""
    finality: Finality = field(default_factory=dict)

    def with_more(self, change: str, finality: Finality) -> "Known":
        is_same = change == self.change and len(self.finality) < BATCHES
        return Known(change, {**self.finality, **finality} if is_same else finality)
