"""Events that this version decodes and an older one did not, or otherwise: rows of their past logs.

The mirror keeps every log of its contracts raw, whatever it makes of them, so nothing is asked of
the node. Range by range the rows of those logs are made as this version makes them, in one
transaction with the place reached: a restart goes on from there. It ends at the mirror's newest
block, whichever branch that is of: a rollback takes raw logs and rows alike. Until then the rows of
newer blocks may lack what the database completes them by (`FOLLOWS`), so that they are made again.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from corechain_indexer.kinds import Decoder, decoders
from corechain_indexer.projections import Projected
from corechain_indexer.store.decoded import Decoded, DecodedStore

log = structlog.get_logger(__name__)

LOGS_AT_ONCE = 10_000
"""Raw logs of a range, of any kind: about 20 ms of Postgres, for which a new block may wait."""
BEFORE_EVERYTHING = -1
FOLLOWS = {
    "RedeemedMany": frozenset({"PaymentChannelCreated", "VoucherClaimed", "Redeemed"}),
}
"""Kinds whose rows the database completes from those of others."""


def to_decode(
    known: Mapping[bytes, Decoded], ours: Mapping[bytes, Decoder]
) -> tuple[list[Decoder], list[bytes]]:
    """Kinds whose rows are to be made anew, and topics of which this version makes none: whoever
    does later must know that it has all of them to make."""
    anew = {
        topic
        for topic, decoder in ours.items()
        if topic not in known or known[topic].revision != decoder.revision
    }
    names = {ours[topic].name for topic in anew}
    anew |= {topic for topic, d in ours.items() if FOLLOWS.get(d.name, frozenset()) & names}
    return [ours[topic] for topic in sorted(anew)], sorted(known.keys() - ours.keys())


@dataclass(slots=True)
class Decoding:
    """Some kinds of events, of which the rows `through` a block are there."""

    store: DecodedStore
    chain_id: int
    kinds: Mapping[bytes, str]
    """Topics and names."""
    through: int
    count: Callable[[Projected], None]
    done: bool = False

    async def step(self, tip: int) -> None:
        """A range, while the mirror is at `tip` and nothing is above it. Raises
        StoreUnavailable."""
        topics = list(self.kinds)
        last = await self.store.end_of_range(self.through, tip, LOGS_AT_ONCE)
        place = None if last >= tip else last
        logs = await self.store.logs(self.through, last, topics)
        found = Projected.of(logs, self.chain_id)
        odd = found.malformed
        if logs:
            change = await self.store.change(logs, found.tables)
            odd = odd + await self.store.apply(change, topics, place)
        else:
            await self.store.reach(topics, place)
        # Events were counted when they came.
        self.count(replace(found, malformed=odd, counts=Counter()))
        self.through, self.done = last, place is None
        if self.done:
            log.info("events decoded", events=sorted(self.kinds.values()), block=last)


async def begin(
    store: DecodedStore, tip: int | None, chain_id: int, count: Callable[[Projected], None]
) -> Decoding | None:
    """What is to be decoded by this version; None where that is nothing. `tip`: the mirror's
    newest block, None for an index that has no block yet. Raises StoreUnavailable."""
    known = {kind.topic: kind for kind in await store.all()}
    anew, forgotten = to_decode(known, decoders())
    if anew or forgotten:
        await store.begin(anew, None if tip is None else BEFORE_EVERYTHING, forgotten)
    left = {kind: kind.through for kind in await store.all() if kind.through is not None}
    if not left:
        return None
    # Those that are at different places go on from the lowest: to make rows again changes none.
    through, names = min(left.values()), {kind.topic: kind.name for kind in left}
    log.info("events are decoded", events=sorted(names.values()), after=through)
    return Decoding(store, chain_id, names, through, count)
