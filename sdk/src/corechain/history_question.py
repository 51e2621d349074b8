"""What is asked of a history: whose readings, of which metric and time, in which order. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from corechain.protocol.errors import InvalidValue
from corechain.protocol.hashing import keccak
from corechain.protocol.history_ranges import device_ranges, region_ranges
from corechain.protocol.reading import U40_MAX, DeviceId
from corechain.protocol.regions import KeyRange
from corechain.protocol.values import (
    CellLike,
    OctetsLike,
    TimeLike,
    address,
    one_of,
    seconds,
    whole,
)
from corechain.protocol.vocabulary import METRICS, Metric, MetricLike
from corechain.protocol.vocabulary import metric as metric_of
from corechain.regions import RegionLike, region_cells
from corechain.views import MAX_BLOCK, View, view_params


@dataclass(frozen=True, slots=True)
class HistoryQuestion:
    """`metric` None: all of the vocabulary. With a device, `cells` are those it was at, empty for
    wherever the API says it was. `end` None: as far as the index is. Times in seconds."""

    metric: Metric | None
    device: DeviceId | None
    cells: tuple[int, ...]
    start: int
    end: int | None
    newest_first: bool
    since_block: int
    resolution: int
    view: Mapping[str, str | int]

    @classmethod
    def of(
        cls,
        device: OctetsLike | None,
        metric: MetricLike | None,
        start: TimeLike | None,
        end: TimeLike | None,
        region: RegionLike | CellLike | None,
        newest_first: bool,
        since_block: int | None,
        resolution: int,
        view: View,
    ) -> "HistoryQuestion":
        """Raises InvalidValue, ValueOutOfRange, UnknownMetric, InvalidCell."""
        if device is None and region is None:
            raise InvalidValue("device", None, "is needed, or a region")
        level = whole("resolution", resolution, 0, 15)
        begin = 0 if start is None else seconds("start", start)
        last = None if end is None else seconds("end", end)
        if last is not None and begin > last:
            raise InvalidValue("start", begin, f"is not after the end, {last}")
        found = cls(
            None if metric is None else metric_of(metric),
            None if device is None else DeviceId(address("device", device)),
            () if region is None else tuple(region_cells(region, level)),
            begin,
            last,
            one_of("newest_first", newest_first, bool, "takes True or False"),
            0 if since_block is None else whole("since_block", since_block, 0, MAX_BLOCK),
            level,
            view_params(view),
        )
        found.ranges()
        return found

    @property
    def window(self) -> tuple[int, int]:
        return self.start, U40_MAX if self.end is None else self.end

    @property
    def as_of(self) -> int | None:
        found = self.view.get("as_of")
        return None if found is None else int(found)

    @property
    def is_bounded(self) -> bool:
        """Whether it is of some blocks only."""
        return self.as_of is not None or self.view.get("finality", "pending") != "pending"

    @property
    def has_end(self) -> bool:
        """Whether it is said up to where it goes, so that the end can be proven: not where the
        finality of blocks ends it."""
        return self.end is not None and self.view.get("finality", "pending") == "pending"

    def at(self, cells: Sequence[int]) -> "HistoryQuestion":
        """The same of the cells that the API named."""
        return self if self.cells else replace(self, cells=tuple(cells))

    def ranges(self) -> list[KeyRange]:
        """Raises InvalidValue, InvalidCell."""
        metrics = METRICS if self.metric is None else (self.metric,)
        codes = [one.code for one in metrics]
        if self.device is None:
            return region_ranges(codes, self.cells, self.resolution)
        return device_ranges(codes, self.cells, self.device, *self.window)

    def params(self) -> dict[str, str | int]:
        given: dict[str, str | int | None] = {
            "device": None if self.device is None else "0x" + self.device.hex(),
            "metric": None if self.metric is None else self.metric.name,
            "cell": ",".join(f"{cell:015x}" for cell in self.cells) or None,
            "resolution": self.resolution if self.device is None else None,
            "from": self.start or None,
            "to": self.end,
            "order": "newest" if self.newest_first else None,
            "since_block": self.since_block or None,
        }
        return {name: value for name, value in given.items() if value is not None} | {**self.view}

    def digest(self) -> str:
        """What tells a cursor of another question from one of this."""
        return keccak(repr(sorted(self.params().items())).encode()).hex()[:16]
