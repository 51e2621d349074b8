"""The downsampled buckets of an InfluxDB 2, made anew by the Flux that its tasks run too."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from corechain_indexer.store.influx import LONGEST_S, InfluxSeries, Place
from corechain_indexer.store.points import LAST_S, Span
from corechain_indexer.store.tiers import TIERS, Tier, again, within

LAYOUT = 1
"""Of what is in a tier: buckets that were filled in another one are filled anew."""
MARGIN_S = 600
"""What is about to leave a bucket by its retention is not written any more: a point that is too old
fails the whole query, which may take so long."""


@dataclass(slots=True)
class InfluxTiers:
    """Every method raises SeriesUnavailable."""

    series: InfluxSeries
    clock: Callable[[], float] = time.time
    _places: Mapping[str, Place] = field(default_factory=dict)

    async def target(self) -> str:
        """Which buckets they are, and how they are filled, as a digest."""
        raw = self.series.bucket
        names = {"": raw} | {tier.suffix: tier.bucket(raw) for tier in TIERS}
        self._places = {key: await self.series.find(name) for key, name in names.items()}
        ids = " ".join(place.bucket_id for place in self._places.values())
        text = f"{self.series.client.url} {self.series.org} {ids} {LAYOUT}"
        return hashlib.sha256(text.encode()).hexdigest()

    def _places_of(self, tier: Tier) -> tuple[Place, Place]:
        """Source and target."""
        keys = ["", *(one.suffix for one in TIERS)]
        return self._places[keys[keys.index(tier.suffix) - 1]], self._places[tier.suffix]

    def _oldest(self, *places: Place) -> int:
        """The first second that all of them keep."""
        now = int(self.clock())
        return max((now - p.kept_s + MARGIN_S for p in places if p.kept_s), default=0)

    async def clear(self) -> None:
        """Takes out what can be made anew: not what readings are kept for no more."""
        for tier in TIERS:
            source, target = self._places_of(tier)
            oldest = self._oldest(self._places[""], source)
            first = -(-oldest // tier.every_s) * tier.every_s
            await self.series.erase_in(target.bucket_id, (first, LAST_S))

    async def remake(self, tier: Tier, windows: Span, *, vanished: bool) -> int:
        """Makes the windows of [start, stop) anew; how many there were to make. Windows of which
        the readings are not all kept any more stay as they are."""
        source, target = self._places_of(tier)
        oldest = -(-self._oldest(source, target) // tier.every_s) * tier.every_s
        kept = within(windows, oldest)
        if kept is None:
            return 0
        start, stop = kept
        if vanished:
            await self.series.erase_in(target.bucket_id, (start, stop - 1))
        query = again(tier, source.bucket_id, target.bucket_id, start, stop)
        await self.series.ask(query, LONGEST_S)
        return (stop - start) // tier.every_s
