"""Years of logs are worked through in pieces, and between two of them the event loop turns.

Else a start stands still for as long as it folds: health checks, locks and leases with it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from operator import attrgetter
from typing import TypeVar

from corechain.protocol.logs import MalformedLog, decode_log
from corechain.service.words import Log

T = TypeVar("T")
block_of = attrgetter("block_number")
"""Of a log, for a search in logs that are in order."""
AT_ONCE = 1_000
"""Logs of a piece: some 15 ms of work."""
BYTES_OF_ONE = 64
"""A log with more data counts as several: a fleet's lists thousands of devices."""


def pieces_of(logs: Sequence[Log], at_once: int = AT_ONCE) -> Iterator[Sequence[Log]]:
    """All of them, oldest first; the pieces end with a block, so that a fold after each is a whole
    state. One that is empty where there is no log."""
    begin = weight = 0
    number = -1
    for place, entry in enumerate(logs):
        if weight >= at_once and entry.block_number != number:
            yield logs[begin:place]
            begin, weight = place, 0
        number = entry.block_number
        weight += 1 + len(entry.data) // BYTES_OF_ONE
    yield logs[begin:]


def with_last(pieces: Iterator[T]) -> Iterator[tuple[T, bool]]:
    """Each with whether it is the last one; there is one at least."""
    held = next(pieces)
    for piece in pieces:
        yield held, False
        held = piece
    yield held, True


async def in_turns(logs: Sequence[Log]) -> AsyncIterator[Sequence[Log]]:
    """`pieces_of`, with a turn of the loop between two."""
    for place, piece in enumerate(pieces_of(logs)):
        if place:
            await asyncio.sleep(0)
        yield piece


async def in_steps(items: Sequence[T]) -> AsyncIterator[T]:
    """Each, with a turn of the loop after many."""
    for place, item in enumerate(items, 1):
        yield item
        if place % AT_ONCE == 0:
            await asyncio.sleep(0)


def is_odd(entry: Log) -> bool:
    """Whether none of our contracts can have logged it so."""
    try:
        decode_log(list(entry.topics), entry.data)
    except MalformedLog:
        return True
    return False
