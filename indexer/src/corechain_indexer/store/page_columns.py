"""Pages of single readings as Postgres gives them: arrays in its binary format, by columns.

Rows are made of them where somebody looks at rows; what is only shown as JSON is written from the
arrays by the native module.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np

ReadingRow = tuple[int, int, int, int, int, int, int, str]
"""A `StoredReading` but for its device, as a plain tuple: a page makes a thousand of them, and a
named one costs three times as much. Places differ, so nothing behind them ever decides an order."""
SECOND_BITS, FLAG_BITS = 40, 8
_HEADER_BYTES = 20
"""Dimensions, whether there are nulls, type, length and lower bound (array_send)."""
_WIDTHS = (8, 8, 4, 8, 8)
_ELEMENTS = [np.dtype([("bytes", ">i4"), ("number", f">i{width}")]) for width in _WIDTHS]


class PageColumns(Sequence[ReadingRow]):
    """`arrays`: metric << 40 | second, batch, position, value << 8 | flag, cell; `finality` of each
    of their batches."""

    __slots__ = ("_count", "_rows", "arrays", "finality")

    def __init__(self, count: int, arrays: Sequence[bytes], finality: Mapping[int, str]) -> None:
        self._count, self.arrays, self.finality = count, arrays, finality
        self._rows: list[ReadingRow] | None = None

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[ReadingRow]:
        return iter(self._all())

    @overload
    def __getitem__(self, place: int) -> ReadingRow: ...

    @overload
    def __getitem__(self, place: slice) -> list[ReadingRow]: ...

    def __getitem__(self, place: int | slice) -> Any:
        return self._all()[place]

    def place(self, at: int) -> tuple[int, int, int, int]:
        """(metric, observed_at, batch, position) of the reading at a place from 0 on, as a cursor
        says it: without the others."""
        place, batch, position = (
            int.from_bytes(array[start - width : start], signed=True)
            for array, width in zip(self.arrays, _WIDTHS[:3], strict=False)
            for start in (_HEADER_BYTES + (at + 1) * (4 + width),)
        )
        return place >> SECOND_BITS, place & (1 << SECOND_BITS) - 1, batch, position

    def _all(self) -> list[ReadingRow]:
        if self._rows is None:
            self._rows = list(self._made()) if self._count else []
        return self._rows

    def _made(self) -> Iterator[ReadingRow]:
        places, batches, positions, values, cells = (
            np.frombuffer(array, kind, offset=_HEADER_BYTES)["number"]
            for array, kind in zip(self.arrays, _ELEMENTS, strict=True)
        )
        batch_ids = batches.tolist()
        return zip(
            (places >> SECOND_BITS).tolist(),
            (places & (1 << SECOND_BITS) - 1).tolist(),
            batch_ids,
            positions.tolist(),
            (values >> FLAG_BITS).tolist(),
            (values & (1 << FLAG_BITS) - 1).tolist(),
            cells.tolist(),
            map(self.finality.__getitem__, batch_ids),
            strict=True,
        )
