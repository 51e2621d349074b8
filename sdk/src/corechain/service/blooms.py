"""What a header's bloom filter says about the logs of its block (Yellow Paper 4.3.1). Pure.

A filter never denies a log that is there, so it can prove an answer incomplete, and prove a silent
block empty. It may claim one that is not there: with a share p of its bits set, with chance p³.
"""

from collections.abc import Iterable

from corechain.protocol.hashing import keccak
from corechain.service.words import Log

BITS = 2048
TELLING_BITS = 512
"""With a quarter of the bits set the filter is wrong about an address in one of 64 blocks."""


def mask_of(item: bytes) -> int:
    """The three bits of an address or topic, as a number."""
    digest = keccak(item)
    places = (int.from_bytes(digest[i : i + 2], "big") % BITS for i in (0, 2, 4))
    mask = 0
    for place in places:
        mask |= 1 << place
    return mask


def claims(bloom: bytes, masks: Iterable[int]) -> bool:
    """Whether the block may hold one of the items that the masks stand for."""
    held = int.from_bytes(bloom, "big")
    return any(held & mask == mask for mask in masks)


def is_telling(bloom: bytes) -> bool:
    """Whether so few bits are set that what the filter claims is hardly chance."""
    return int.from_bytes(bloom, "big").bit_count() <= TELLING_BITS


def explained(bloom: bytes, logs: Iterable[Log]) -> bool:
    """Whether these logs set every bit of the filter: then none is missing but by chance.

    More bits than the filter's are no fault: Polygon's state-sync logs are in no filter.
    """
    items = {item for log in logs for item in (log.address, *log.topics)}
    found = 0
    for item in items:
        found |= mask_of(item)
    return int.from_bytes(bloom, "big") & ~found == 0
