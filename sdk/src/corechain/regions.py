"""What is asked of a region, and the flow that has it proven. No I/O."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from corechain.answers import Bounds, CommitmentsOf, parse_statistics
from corechain.flows import StatisticsResult
from corechain.listing import API
from corechain.protocol.errors import InvalidValue
from corechain.protocol.places import RESOLUTION, cells_in
from corechain.protocol.places import cell as place
from corechain.protocol.regions import MAX_CELLS, keys_of, spans_of
from corechain.protocol.values import CellLike, TimeLike, seconds, whole
from corechain.protocol.vocabulary import Metric, MetricLike
from corechain.protocol.vocabulary import metric as metric_of
from corechain.steps import Ask, Flow, Request
from corechain.views import View, view_params

CellsLike = CellLike | Iterable[CellLike]
RegionLike = CellsLike | Mapping[str, object] | tuple[float, float, float, float]
"""Cells; a GeoJSON polygon; or a box (south, west, north, east) in degrees."""
BOX_EDGES = 4


@dataclass(frozen=True, slots=True)
class RegionQuestion:
    """Statistics of one metric of all devices at the cells of one resolution that lie in the given
    cells, observed in [start, end] seconds."""

    metric: Metric
    cells: Sequence[int]
    start: int
    end: int
    resolution: int = RESOLUTION

    @classmethod
    def of(
        cls,
        metric: MetricLike,
        region: RegionLike,
        start: TimeLike,
        end: TimeLike,
        resolution: int = RESOLUTION,
    ) -> "RegionQuestion":
        """`region`: a cell or several, of this or coarser resolutions, or an area that up to 64
        such cells cover by their centres. Raises InvalidValue, ValueOutOfRange, UnknownMetric,
        InvalidCell."""
        level = whole("resolution", resolution, 0, 15)
        begin, last = seconds("start", start), seconds("end", end)
        if begin > last:
            raise InvalidValue("start", begin, f"is not after the end, {last}")
        found = cls(metric_of(metric), region_cells(region, level), begin, last, level)
        found.bounds()
        return found

    def bounds(self) -> list[Bounds]:
        """A range for each row of neighbouring cells."""
        spans = spans_of(self.cells, self.resolution)
        return [Bounds(*keys_of(self.metric.code, span)) for span in spans]

    def params(self) -> dict[str, str | int]:
        return {
            "metric": self.metric.name,
            "cell": ",".join(f"{cell:015x}" for cell in self.cells),
            "resolution": self.resolution,
            "from": self.start,
            "to": self.end,
        }


def region_cells(region: Any, resolution: int = RESOLUTION) -> list[int]:
    """At most 64 cells: those given, or the finest that cover a polygon or a box by their centres.

    Raises InvalidValue, InvalidCell, ValueOutOfRange."""
    if not _is_area(region):
        return cells_of(region)
    found: list[int] = []
    for level in range(resolution + 1):
        finer = cells_in(region, level)
        if len(finer) > MAX_CELLS and not found:
            many = f"holds {len(finer)} cells of resolution {level}: {MAX_CELLS} are the most"
            raise InvalidValue("region", "…", many)
        if len(finer) > MAX_CELLS:
            break
        found = finer or found
    if not found:
        raise InvalidValue("region", "…", f"holds no cell of resolution {resolution}")
    return found


def _is_area(region: Any) -> bool:
    if isinstance(region, Mapping):
        return True
    is_box = isinstance(region, Sequence) and len(region) == BOX_EDGES
    # A cell is a whole number of 60 bits, or text.
    return is_box and all(isinstance(edge, int | float) and abs(edge) <= 180 for edge in region)


def cells_of(region: Any) -> list[int]:
    """Raises InvalidValue, InvalidCell."""
    # A pair of degrees is a cell, too; a list of two cells holds no floats.
    several = isinstance(region, Iterable) and not isinstance(region, str | bytes | bytearray)
    listed = list(region) if several else [region]
    if len(listed) == 2 and any(isinstance(one, float) for one in listed):
        listed = [tuple(listed)]
    return sorted({place("region", one) for one in listed})


def region_statistics(
    question: RegionQuestion, commitments_of: CommitmentsOf | None, view: View | None = None
) -> Flow[StatisticsResult]:
    """Statistics, proven batch by batch unless `commitments_of` is None (trust the API)."""
    params = question.params() | view_params(view or {})
    answer = yield Request(API, "GET", "/v1/statistics", params)
    parsed = parse_statistics(answer)
    if commitments_of is None:
        return StatisticsResult(question.metric, parsed.claimed, parsed)
    window = question.start, question.end
    commitments = yield Ask(lambda: commitments_of(parsed.batches))
    proven = parsed.verify_region(commitments.__getitem__, question.bounds(), window)
    return StatisticsResult(question.metric, proven, parsed)
