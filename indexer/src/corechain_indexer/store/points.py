"""Verified readings as InfluxDB's line protocol: measurement, tags, fields and times. Pure.

    corechain_reading,device=0x…,metric=air_temperature,unit=Cel value=21.3,scaled=2130i <time>

`value` is in the unit, for people; `scaled` is what was signed, for exact sums. The time is the
second of the observation and, as its nanoseconds, the number of the batch: two batches that hold
the same device, metric and second are two points, as they are two readings (decision 0036).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from corechain.protocol.sealing import LEAF_ROWS
from corechain.protocol.vocabulary import BY_CODE

MEASUREMENT = "corechain_reading"
FIELD = "scaled"
NANO = 10**9
LAST_S = (2**63 - 1) // NANO - 1
"""The last second that InfluxDB's times hold whole, in 2262; a leaf's go on to the year 36812."""
LINES = 5_000
"""What InfluxData recommends for one request; some 600 kB before gzip."""
GAP_S, MOST_SPANS = 3_600, 8
"""Readings further apart are erased apart: each erasure costs a look at every series, and what it
takes of other batches is written again."""
Numbers = npt.NDArray[np.int64]
Span = tuple[int, int]
"""First and last second."""


@dataclass(frozen=True, slots=True)
class Points:
    """Lines, and the second of each."""

    lines: Sequence[str]
    times: Numbers

    @classmethod
    def together(cls, parts: Sequence["Points"]) -> Self:
        """Of at least one."""
        lines = [line for part in parts for line in part.lines]
        return cls(lines, np.concatenate([part.times for part in parts]))

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def span(self) -> Span:
        return int(self.times.min()), int(self.times.max())

    def part(self, start: int, end: int) -> "Points":
        return Points(self.lines[start:end], self.times[start:end])

    def chunks(self) -> Iterator["Points"]:
        for start in range(0, len(self), LINES):
            yield self.part(start, start + LINES)

    def halves(self) -> tuple["Points", "Points"]:
        middle = len(self) // 2
        return self.part(0, middle), self.part(middle, len(self))


@dataclass(frozen=True, slots=True)
class Leaves:
    """The readings of a batch as columns."""

    batch_id: int
    rows: npt.NDArray[np.void]
    times: Numbers

    @classmethod
    def of(cls, batch_id: int, packed: bytes) -> Self:
        """`packed`: 40 bytes a reading."""
        rows = np.frombuffer(packed, LEAF_ROWS)
        return cls(batch_id, rows, rows["high"].astype(np.int64) << 32 | rows["low"])

    def _kept(self, mask: npt.NDArray[np.bool_]) -> "Leaves":
        return Leaves(self.batch_id, self.rows[mask], self.times[mask])

    def within(self, spans: Sequence[Span]) -> "Leaves":
        """Those that were observed in one of the spans."""
        mask = np.zeros(len(self.times), np.bool_)
        for first, last in spans:
            mask |= (self.times >= first) & (self.times <= last)
        return self._kept(mask)

    def beyond(self) -> "Leaves":
        """Those that InfluxDB has no time for."""
        return self._kept(self.times > LAST_S)

    def spans(self) -> list[Span]:
        """Few spans that hold all of them."""
        return spans_of(self.times[self.times <= LAST_S])

    def points(self) -> Points:
        """Those that InfluxDB has a time for."""
        kept = self._kept(self.times <= LAST_S)
        return Points(list(kept._lines()), kept.times)

    def _lines(self) -> Iterator[str]:
        ids = np.ascontiguousarray(self.rows["device"]).tobytes()
        metrics, values = self.rows["metric"].tolist(), self.rows["value"].tolist()
        suffix = f"{self.batch_id % NANO:09d}"
        before, head, scale = (b"", -1), "", 1
        items = zip(metrics, values, self.times.tolist(), strict=True)
        for place, (metric, value, at) in enumerate(items):
            key = ids[20 * place : 20 * place + 20], metric
            # Leaves are sorted by metric and device: most have the head of the one before.
            if key != before:
                before, head, scale = key, _head(*key), _scale(metric)
            yield f"{head}{value / scale!r},scaled={value}i {at}{suffix}"


def _scale(code: int) -> int:
    metric = BY_CODE.get(code)
    return 1 if metric is None else metric.scale


def _head(device: bytes, code: int) -> str:
    metric = BY_CODE.get(code)
    name, unit = (str(code), "1") if metric is None else (metric.name, metric.unit)
    return f"{MEASUREMENT},device=0x{device.hex()},metric={name},unit={unit} value="


def name_of(code: int) -> str:
    """A metric as the tag says it."""
    metric = BY_CODE.get(code)
    return str(code) if metric is None else metric.name


def spans_of(times: Numbers) -> list[Span]:
    """Spans that hold all times, ascending: cut at gaps of more than GAP_S, and at the widest ones
    alone where that would make more than MOST_SPANS."""
    if not len(times):
        return []
    ordered = np.unique(times)
    gaps = np.diff(ordered)
    widest = np.argsort(gaps, kind="stable")[::-1][: MOST_SPANS - 1]
    cuts = np.sort(widest[gaps[widest] > GAP_S])
    firsts, lasts = np.append(0, cuts + 1), np.append(cuts, len(ordered) - 1)
    return list(zip(ordered[firsts].tolist(), ordered[lasts].tolist(), strict=True))
