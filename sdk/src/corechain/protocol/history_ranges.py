"""A history's readings as ranges of keys of a batch: the same list, in the same order, at the API
that shows them and at the client that checks them. Pure."""

from collections.abc import Sequence

from corechain.protocol.errors import InvalidValue
from corechain.protocol.reading import pack_key
from corechain.protocol.regions import KeyRange, keys_of, spans_of

MAX_RANGES = 1_024
"""Of a batch: thirteen metrics at the 64 cells that a region may have, and some to spare."""
Shown = list[tuple[int, int]]
"""Spans of positions, each from the first to behind the last, ascending and apart."""


def region_ranges(metrics: Sequence[int], cells: Sequence[int], resolution: int) -> list[KeyRange]:
    """All readings of these metrics (codes, ascending) at the cells of a resolution in some coarser
    ones, of every device and time. Raises InvalidValue, InvalidCell."""
    spans = spans_of(cells, resolution)
    return _some([keys_of(code, span) for code in metrics for span in spans])


def device_ranges(
    metrics: Sequence[int], cells: Sequence[int], device: bytes, start: int, end: int
) -> list[KeyRange]:
    """One device's readings at these cells, observed in [start, end] seconds. Raises
    InvalidValue."""
    return _some(
        [
            (pack_key(code, cell, device, start), pack_key(code, cell, device, end))
            for code in metrics
            for cell in sorted(cells)
        ]
    )


def _some(ranges: list[KeyRange]) -> list[KeyRange]:
    if len(ranges) > MAX_RANGES:
        right = f"makes over {MAX_RANGES} ranges of readings: name a metric, or fewer cells"
        raise InvalidValue("cells", len(ranges), right)
    return ranges


def shown_spans(ranges: Sequence[tuple[int, int]], count: int) -> Shown:
    """What a batch of `count` leaves shows for ranges of positions in ascending order: each with
    the leaf before it and the leaf behind it, which prove that nothing of it was left out."""
    spans: Shown = []
    for start, end in ranges:
        first, behind = max(0, start - 1), min(count, end + 1)
        if spans and first <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(behind, spans[-1][1])
        else:
            spans.append((first, behind))
    return spans
