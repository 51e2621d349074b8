"""AsyncClient: the same flows as `Client`, for asyncio. Chain calls run in a thread."""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import closing
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from corechain import flows
from corechain.client_base import S
from corechain.http import LoopClients, async_client, async_exchange, shown_url
from corechain.index_client import AsyncIndexClient
from corechain.listing import Page
from corechain.process_turns import awaited_process_turn
from corechain.protocol.channel import MIN_WITHDRAW_DELAY_S
from corechain.protocol.errors import CoreChainError
from corechain.protocol.keys import DeviceKey
from corechain.protocol.places import RESOLUTION
from corechain.protocol.reading import Reading, SignedReport
from corechain.protocol.rewards import RewardClaim
from corechain.protocol.values import CellLike, OctetsLike, TimeLike
from corechain.protocol.vocabulary import MetricLike
from corechain.readings import LocatedReading
from corechain.regions import RegionLike, RegionQuestion, region_statistics
from corechain.replies import UNANSWERED, payload_of
from corechain.steps import ApiUnavailable, ClientStep, Pause, PayingStep, Quote, Request, Send
from corechain.views import Fresh, View

if TYPE_CHECKING:
    import httpx

    from corechain.contract_answers import ContractAnswer
    from corechain.deliveries import Delivery
    from corechain.held_channels import HeldChannel
    from corechain.histories import AsyncHistory, Progress
    from corechain.history import Gaps
    from corechain.paying import Paying
    from corechain.payments import PaymentChannel
    from corechain.streaming import AsyncEventStream, Cells, Devices, Metrics

T = TypeVar("T")


class AsyncClient(AsyncIndexClient):
    """The same for asyncio. Chain calls run in a thread."""

    @cached_property
    def _clients(self) -> LoopClients:
        return LoopClients(partial(async_client, self.api_url, self.gateway_url))

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections of this event loop; the next call opens new ones."""
        await self._clients.close()
        self._close_chain()

    async def _send(self, request: Request, payment: Mapping[str, str]) -> "httpx.Response":
        import httpx

        try:
            return await async_exchange(self._clients, **self._call(request, payment))
        except (httpx.HTTPError, httpx.InvalidURL, *UNANSWERED) as error:
            raise ApiUnavailable(f"{shown_url(self._url(request))}: {error!r}") from error

    async def _carry_out(self, step: ClientStep) -> Any:
        if isinstance(step, Quote):
            return await self._send(step.request, {})
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        if not isinstance(step, Request):
            return await asyncio.to_thread(step.question)
        response = await self._send(step, {})
        channel = self._payer(response)
        if channel is not None:
            async with channel.turns.awaited(), awaited_process_turn(channel.channel_id):
                response = await self._paid(step, self._paying(channel, step, response))
        return payload_of(response)

    async def _paid(self, request: Request, flow: "Paying[httpx.Response]") -> "httpx.Response":
        # Closed also when this task is cancelled: then the payment is in doubt.
        with closing(flow):
            return await self._drive(flow, lambda step: self._pay_step(request, step))

    async def _pay_step(self, request: Request, step: PayingStep) -> Any:
        if isinstance(step, Send):
            return await self._send(request, self._payment(step))
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        return await asyncio.to_thread(step.question)

    async def run(self, flow: Generator[ClientStep, Any, T]) -> T:
        """Carries a flow out to its result."""
        return await self._drive(flow, self._carry_out)

    @staticmethod
    async def _drive(
        flow: Generator[S, Any, T], carry_out: Callable[[S], Coroutine[Any, Any, Any]]
    ) -> T:
        try:
            step = next(flow)
            while True:
                try:
                    result = await carry_out(step)
                except CoreChainError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(result)
        except StopIteration as done:
            outcome: T = done.value
            return outcome
        finally:
            flow.close()  # at once, also when a Ctrl-C or a cancellation ends it from outside

    async def register_device(self, key: DeviceKey, owner: OctetsLike | None = None) -> Any:
        return await asyncio.to_thread(self._register, key, owner)

    async def send_reports(
        self, reports: Sequence[SignedReport], patience_s: float = 0.0, *, receipts: bool = False
    ) -> "list[Delivery]":
        from corechain.deliveries import send_reports

        check = self._receipt_check()
        return await self.run(send_reports(reports, patience_s, receipts, check))

    async def next_sequence(self, device: OctetsLike) -> int:
        return await self.run(flows.next_sequence(device))

    def stream(
        self,
        since: str | None = None,
        *,
        finality: str = "pending",
        device: "Devices" = None,
        metric: "Metrics" = None,
        cell: "Cells" = None,
        patience_s: float = 300.0,
    ) -> "AsyncEventStream":
        """As `Client.stream`, for `async for`."""
        from corechain.streaming import PATH, AsyncEventStream, resuming

        only = {"device": device, "metric": metric, "cell": cell}
        state = resuming(since, finality, patience_s, **only)
        return AsyncEventStream(self._clients, self.api_url.rstrip("/") + PATH, state)

    async def reading(self, batch_id: int, position: int, **fresh: Unpack[Fresh]) -> Reading:
        ask = self.chain.commitments_of
        return (await self.run(flows.proven_reading(batch_id, position, ask, fresh))).reading

    async def readings(
        self,
        *,
        device: OctetsLike,
        metric: MetricLike | None = None,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        limit: int = 100,
        cursor: str | None = None,
        **view: Unpack[View],
    ) -> Page[LocatedReading]:
        question = self.readings_question(metric, device, start, end)
        return await self.run(flows.readings(question, limit, self._commitments(), view, cursor))

    def history(
        self,
        *,
        device: OctetsLike | None = None,
        metric: MetricLike | None = None,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        region: RegionLike | None = None,
        newest_first: bool = False,
        since_block: int | None = None,
        resolution: int = RESOLUTION,
        cursor: str | None = None,
        gaps: "Gaps" = "raise",
        progress: "Progress | None" = None,
        **view: Unpack[View],
    ) -> "AsyncHistory":
        """As `Client.history`, for `async for`."""
        from corechain.histories import AsyncHistory
        from corechain.history_question import HistoryQuestion

        question = HistoryQuestion.of(
            *(device, metric, start, end, region, newest_first, since_block, resolution, view)
        )
        return AsyncHistory(self.run, self._history_stand(question, cursor, gaps, progress))

    async def statistics(
        self,
        metric: MetricLike,
        device: OctetsLike,
        cell: CellLike,
        start: TimeLike,
        end: TimeLike,
        **view: Unpack[View],
    ) -> flows.StatisticsResult:
        question = self.question(metric, device, cell, start, end)
        return await self.run(flows.statistics(question, self._commitments(), view))

    async def contract_answer(
        self,
        metric: MetricLike,
        device: OctetsLike,
        cell: CellLike,
        start: TimeLike,
        end: TimeLike,
        *,
        after: int = 0,
        closes_at: TimeLike | None = None,
    ) -> "ContractAnswer":
        from corechain.contract_answers import contract_answer

        question = self.question(metric, device, cell, start, end)
        return await self.run(contract_answer(question, self.chain, after, closes_at))

    async def region_statistics(
        self,
        metric: MetricLike,
        region: RegionLike,
        start: TimeLike,
        end: TimeLike,
        resolution: int = RESOLUTION,
        **view: Unpack[View],
    ) -> flows.StatisticsResult:
        question = RegionQuestion.of(metric, region, start, end, resolution)
        return await self.run(region_statistics(question, self._commitments(), view))

    async def reward_claim(self, owner: OctetsLike, **fresh: Unpack[Fresh]) -> RewardClaim:
        return await self.run(flows.reward_claim(owner, self._active_root(), fresh))

    async def rewards_claimable(self, owner: OctetsLike) -> bool:
        return await self.run(flows.rewards_claimable(owner, *self._reward_books()))

    async def claim_rewards(self, owner: OctetsLike) -> Any:
        claim = await self.reward_claim(owner)
        return await asyncio.to_thread(self._claim, claim)

    async def open_channel(
        self,
        receiver: OctetsLike | None = None,
        amount: int = 0,
        withdraw_delay_s: int = MIN_WITHDRAW_DELAY_S,
        *,
        max_price: int | None = None,
    ) -> "PaymentChannel":
        opening = self._opening(max_price)
        self.channel = await self.run(opening.open(receiver, amount, withdraw_delay_s))
        return self.channel

    async def resume_channel(
        self, channel_id: OctetsLike, *, max_price: int | None = None
    ) -> "PaymentChannel":
        self.channel = await self.run(self._opening(max_price).resume(channel_id))
        return self.channel

    async def pay_with(
        self,
        deposit: int,
        max_price: int | None = None,
        *,
        most: int | None = None,
        receiver: OctetsLike | None = None,
        withdraw_delay_s: int = MIN_WITHDRAW_DELAY_S,
    ) -> "PaymentChannel":
        opening, most = self._opening(max_price), self._most(deposit, most)
        async with awaited_process_turn(opening.name):
            opened = await self.run(opening.ready(receiver, deposit, withdraw_delay_s))
        return self._refills(opened, deposit, most)

    async def channels(self) -> "list[HeldChannel]":
        return await self.run(self._opening(None).mine())

    async def close_channel(self) -> "HeldChannel":
        return await asyncio.to_thread(self._leave, self._paid_channel())
