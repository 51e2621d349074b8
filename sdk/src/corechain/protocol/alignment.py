"""What a committed list is, as far as a list that we hold and single shown items tell. Pure.

Both lists ascend by the first bytes of their items (reports by 28, readings by 35). Where one lacks
an item or has one more, all that follows stands elsewhere: so items are compared by their rank and
not by their position.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Alignment(NamedTuple):
    """`items`: the list, if there are no gaps and nothing differs between two shown items. `gaps`:
    spans of positions in which something was left out or put in."""

    items: list[bytes]
    gaps: list[range]


def align(
    held: Sequence[bytes], shown: Mapping[int, bytes], count: int, key_bytes: int
) -> Alignment:
    """Of a committed list of `count` items. `shown`: by position."""
    ranks = {item[:key_bytes]: rank for rank, item in reversed(list(enumerate(held)))}
    found = Alignment([], [])
    at = rank = 0
    for position, item in sorted(shown.items()):
        key = item[:key_bytes]
        before = ranks.get(key, bisect_left(held, key))
        _between(found, range(at, position), held[rank:before])
        found.items.append(item)
        at, rank = position + 1, before + (key in ranks)
    _between(found, range(at, count), held[rank:])
    return found


def _between(found: Alignment, positions: range, held: Sequence[bytes]) -> None:
    if len(positions) == len(held):
        found.items.extend(held)
    elif positions:  # without any, ours were left out: nothing is hidden there
        found.gaps.append(positions)
