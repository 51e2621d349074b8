"""Which block was the newest at a time: asked of a node in a few questions. Pure."""

from collections.abc import Generator

SPAN_BLOCKS = 10_000
"""So near the block has to be: what most hosted nodes tell the logs of in one answer."""
GUESSES = 4
"""Guesses by the pace of the blocks; a chain whose pace changes so much is halved from then on."""


def first_since(
    timestamp: int, lowest: int, head: tuple[int, int]
) -> Generator[int, int | None, int]:
    """A block before which all are older than `timestamp` (s), at most SPAN_BLOCKS too early.

    Yields numbers of blocks, and is sent their timestamps, or None where the node does not show
    one: then it is `lowest`. `head`: the newest block's number and timestamp. Six questions on a
    chain of even pace, however old it is.
    """
    low, (high, high_time) = lowest, head
    if high - low <= SPAN_BLOCKS:
        return low
    low_time = yield low
    for turn in range(2**10):  # far more than halving needs
        if low_time is None or low_time >= timestamp:
            return lowest
        if high - low <= SPAN_BLOCKS:
            break
        middle = (low + high) // 2
        if turn < GUESSES and high_time > low_time:
            middle = low + (high - low) * (timestamp - low_time) // (high_time - low_time)
        for place in (middle - SPAN_BLOCKS // 2, middle + SPAN_BLOCKS // 2 - 1):
            number = min(max(place, low + 1), high - 1)
            time = yield number
            if time is None:
                return lowest
            if time < timestamp:
                low, low_time = number, time
            else:
                high, high_time = number, time
                break
    return low
