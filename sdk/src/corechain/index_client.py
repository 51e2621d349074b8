"""What both clients ask an index for that no proof comes with: status, lists, series, channels.

All of it is the API's word. Each method raises ApiUnavailable, MalformedAnswer, WrongAnswer, and
InvalidValue or ValueOutOfRange for what it cannot ask.
"""

from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack

from corechain import index_flows as flows
from corechain.client_base import ClientBase
from corechain.listing import Page, Row
from corechain.protocol.values import OctetsLike, TimeLike
from corechain.protocol.vocabulary import MetricLike
from corechain.readings import ReadingsQuestion
from corechain.steps import ClientStep
from corechain.views import Fresh, View

if TYPE_CHECKING:
    from corechain.indexed import (
        Epoch,
        IndexedDevice,
        IndexedNetwork,
        IndexedPaymentChannel,
        IndexedStateChannel,
        Series,
        Station,
    )

T = TypeVar("T")
HOUR_S = 3600
FileState = Literal["pending", "withheld", "mismatch", "verified"]


class _Contracts(ClientBase):
    def _contract(self, name: str) -> flows.Of:
        return self.contracts.chain_id, self.contracts.address(name)

    def _both_kinds(self) -> tuple[flows.Of, flows.Of]:
        return self._contract("PaymentChannels"), self._contract("StateChannels")


class IndexClient(_Contracts, ABC):
    """The blocking client's part."""

    @abstractmethod
    def run(self, flow: Generator[ClientStep, Any, T]) -> T:
        """Carries a flow out to its result."""

    def status(self, **fresh: Unpack[Fresh]) -> Row:
        """How far the chain is mirrored."""
        return self.run(flows.status(fresh))

    def network(self, **fresh: Unpack[Fresh]) -> "IndexedNetwork":
        """The chain and the contracts that the index follows: compare them with your manifest."""
        return self.run(flows.network(fresh))

    def batch(self, batch_id: int, **fresh: Unpack[Fresh]) -> Row:
        """One batch and its state. Raises UnknownBatch."""
        return self.run(flows.batch(batch_id, fresh))

    def batches(
        self,
        limit: int = 100,
        *,
        after: int | None = None,
        state: FileState | None = None,
        newest_first: bool = False,
        cursor: str | None = None,
        **view: Unpack[View],
    ) -> Page[Row]:
        """Up to `limit` batches by id, the oldest first, or of all lanes the newest first; `after`:
        only those with greater ids; `state`: only those whose data file is in it. What is behind
        the last one comes with `cursor=` the `next_cursor` of the list."""
        asked = flows.batches(limit, view, after, cursor, state, newest_first)
        return self.run(asked)

    def devices(
        self, limit: int = 100, *, cursor: str | None = None, **fresh: Unpack[Fresh]
    ) -> Page[Row]:
        """Up to `limit` devices by id, those without readings too."""
        return self.run(flows.devices(limit, fresh, cursor))

    def device(self, device: OctetsLike, **fresh: Unpack[Fresh]) -> "IndexedDevice":
        """One device: who owns it, whether it is revoked. Raises UnknownDevice."""
        return self.run(flows.device(device, fresh))

    def stations(
        self,
        metric: MetricLike,
        limit: int = 100,
        *,
        cursor: str | None = None,
        **fresh: Unpack[Fresh],
    ) -> "Page[Station]":
        """Up to `limit` devices that have readings, by id, with their place and their newest value
        of a metric, from the cache: not proven (`reading` proves one by its batch and position).
        May be fewer and go on: there is more as long as `next_cursor` is not None."""
        return self.run(flows.stations(metric, limit, fresh, cursor))

    def latest(self, device: OctetsLike, **view: Unpack[View]) -> Row:
        """Newest value per metric, from the cache: not proven."""
        return self.run(flows.latest(device, view))

    def series(
        self,
        metric: MetricLike,
        device: OctetsLike,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        bucket_s: int = HOUR_S,
        limit: int = 1000,
        **view: Unpack[View],
    ) -> "Series":
        """A device's readings by the bucket, for a chart: count, mean, min and max in the metric's
        own unit; not proven (`statistics` proves one). `bucket_s`: whole hours, or whole minutes
        within a week. The window is widened to whole hours, or minutes."""
        question = ReadingsQuestion.of(device, metric, start, end)
        return self.run(flows.series(metric, question, bucket_s, limit, view))

    def rejections(
        self,
        batch_id: int,
        limit: int = 1000,
        *,
        cursor: str | None = None,
        **fresh: Unpack[Fresh],
    ) -> Page[Row]:
        """Observations of a batch that failed, with the reasons."""
        return self.run(flows.rejections(batch_id, limit, fresh, cursor))

    def epochs(
        self, limit: int = 100, *, cursor: str | None = None, **fresh: Unpack[Fresh]
    ) -> "Page[Epoch]":
        """Up to `limit` reward roots by epoch, and what the index found of them."""
        return self.run(flows.epochs(limit, fresh, cursor))

    def payment_channels(
        self,
        payer: OctetsLike | None = None,
        limit: int = 100,
        *,
        cursor: str | None = None,
        **fresh: Unpack[Fresh],
    ) -> "Page[IndexedPaymentChannel]":
        """Up to `limit` payment channels by id, of everybody or of a payer. Your own, as the chain
        has them: `channels`."""
        of = self._contract("PaymentChannels")
        return self.run(flows.payment_channels(of, payer, limit, fresh, cursor))

    def state_channels(
        self,
        party: OctetsLike | None = None,
        limit: int = 100,
        *,
        cursor: str | None = None,
        **fresh: Unpack[Fresh],
    ) -> "Page[IndexedStateChannel]":
        """Up to `limit` two-way channels by id, of everybody or of a party."""
        of = self._contract("StateChannels")
        return self.run(flows.state_channels(of, party, limit, fresh, cursor))

    def find_channel(
        self, channel_id: OctetsLike, **fresh: Unpack[Fresh]
    ) -> "IndexedPaymentChannel | IndexedStateChannel":
        """A channel of either kind. Raises NotFound."""
        return self.run(flows.channel(*self._both_kinds(), channel_id, fresh))


class AsyncIndexClient(_Contracts, ABC):
    """The same for asyncio."""

    @abstractmethod
    async def run(self, flow: Generator[ClientStep, Any, T]) -> T:
        """Carries a flow out to its result."""

    async def status(self, **fresh: Unpack[Fresh]) -> Row:
        return await self.run(flows.status(fresh))

    async def network(self, **fresh: Unpack[Fresh]) -> "IndexedNetwork":
        return await self.run(flows.network(fresh))

    async def batch(self, batch_id: int, **fresh: Unpack[Fresh]) -> Row:
        return await self.run(flows.batch(batch_id, fresh))

    async def batches(
        self,
        limit: int = 100,
        *,
        after: int | None = None,
        state: FileState | None = None,
        newest_first: bool = False,
        cursor: str | None = None,
        **view: Unpack[View],
    ) -> Page[Row]:
        asked = flows.batches(limit, view, after, cursor, state, newest_first)
        return await self.run(asked)

    async def devices(
        self, limit: int = 100, *, cursor: str | None = None, **fresh: Unpack[Fresh]
    ) -> Page[Row]:
        return await self.run(flows.devices(limit, fresh, cursor))

    async def device(self, device: OctetsLike, **fresh: Unpack[Fresh]) -> "IndexedDevice":
        return await self.run(flows.device(device, fresh))

    async def stations(
        self,
        metric: MetricLike,
        limit: int = 100,
        *,
        cursor: str | None = None,
        **fresh: Unpack[Fresh],
    ) -> "Page[Station]":
        return await self.run(flows.stations(metric, limit, fresh, cursor))

    async def latest(self, device: OctetsLike, **view: Unpack[View]) -> Row:
        return await self.run(flows.latest(device, view))

    async def series(
        self,
        metric: MetricLike,
        device: OctetsLike,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        bucket_s: int = HOUR_S,
        limit: int = 1000,
        **view: Unpack[View],
    ) -> "Series":
        question = ReadingsQuestion.of(device, metric, start, end)
        return await self.run(flows.series(metric, question, bucket_s, limit, view))

    async def rejections(
        self,
        batch_id: int,
        limit: int = 1000,
        *,
        cursor: str | None = None,
        **fresh: Unpack[Fresh],
    ) -> Page[Row]:
        return await self.run(flows.rejections(batch_id, limit, fresh, cursor))

    async def epochs(
        self, limit: int = 100, *, cursor: str | None = None, **fresh: Unpack[Fresh]
    ) -> "Page[Epoch]":
        return await self.run(flows.epochs(limit, fresh, cursor))

    async def payment_channels(
        self,
        payer: OctetsLike | None = None,
        limit: int = 100,
        *,
        cursor: str | None = None,
        **fresh: Unpack[Fresh],
    ) -> "Page[IndexedPaymentChannel]":
        of = self._contract("PaymentChannels")
        return await self.run(flows.payment_channels(of, payer, limit, fresh, cursor))

    async def state_channels(
        self,
        party: OctetsLike | None = None,
        limit: int = 100,
        *,
        cursor: str | None = None,
        **fresh: Unpack[Fresh],
    ) -> "Page[IndexedStateChannel]":
        of = self._contract("StateChannels")
        return await self.run(flows.state_channels(of, party, limit, fresh, cursor))

    async def find_channel(
        self, channel_id: OctetsLike, **fresh: Unpack[Fresh]
    ) -> "IndexedPaymentChannel | IndexedStateChannel":
        return await self.run(flows.channel(*self._both_kinds(), channel_id, fresh))
