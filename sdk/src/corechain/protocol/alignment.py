"""What a committed list is, as far as a list that we hold and single shown items tell. Pure.

Both lists ascend by the first bytes of their items (reports by 28, readings by 35). Where one lacks
an item or has one more, all that follows stands elsewhere: so items are compared by their rank, and
by their position only where the tree's hashes say that they are the same.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from corechain.protocol.evidence import Shown
from corechain.protocol.merkle import MerkleTree


class Alignment(NamedTuple):
    """`gaps`: spans of positions in which something was left out or put in. `items`: the list, if
    there are none, and nothing differs between two shown items."""

    items: Sequence[bytes]
    gaps: Sequence[range]


def align(
    held: Sequence[bytes], shown: Mapping[int, Shown], count: int, key_bytes: int
) -> Alignment:
    """Of a committed list of `count` items. `shown`: by position."""
    by_rank = _align_by_rank(held, shown, count, key_bytes)
    if len(held) != count or not by_rank.gaps:
        return by_rank
    same = list(_same(MerkleTree.over(held), shown.values()))
    gaps = [part for gap in by_rank.gaps for part in _without(gap, same)]
    if gaps:
        return Alignment((), gaps)
    return Alignment([shown[n].content if n in shown else held[n] for n in range(count)], ())


def _align_by_rank(
    held: Sequence[bytes], shown: Mapping[int, Shown], count: int, key_bytes: int
) -> Alignment:
    ranks = {item[:key_bytes]: rank for rank, item in reversed(list(enumerate(held)))}
    items, gaps = list[bytes](), list[range]()

    def between(positions: range, ours: Sequence[bytes]) -> None:
        if len(positions) == len(ours):
            items.extend(ours)
        elif positions:  # without any, ours were left out: nothing is hidden there
            gaps.append(positions)

    at = rank = 0
    for position, leaf in sorted(shown.items()):
        key = leaf.content[:key_bytes]
        before = ranks.get(key, bisect_left(held, key))
        between(range(at, position), held[rank:before])
        items.append(leaf.content)
        at, rank = position + 1, before + (key in ranks)
    between(range(at, count), held[rank:])
    return Alignment(items, gaps)


def _same(tree: MerkleTree, shown: Iterable[Shown]) -> Iterator[range]:
    """Positions below the nodes beside shown leaves that are ours, and those of the leaves."""
    for leaf in shown:
        yield range(leaf.position, leaf.position + 1)
        for level, sibling in enumerate(leaf.proof[: len(tree.levels) - 1]):
            index, row = leaf.position >> level ^ 1, tree.levels[level]
            if index < len(row) and sibling == row[index]:
                yield range(index << level, (index + 1) << level)


def _without(gap: range, known: Iterable[range]) -> Iterator[range]:
    """What is left of a gap."""
    at = gap.start
    for one in sorted(known, key=lambda span: span.start):
        if at < one.start:
            yield range(at, min(one.start, gap.stop))
        at = max(at, one.stop)
        if at >= gap.stop:
            return
    yield range(at, gap.stop)
