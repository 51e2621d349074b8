"""Client: a thin sender of the flows. Verification is on by default."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from corechain import flows
from corechain.client_base import S
from corechain.http import ProcessClients, client, exchange, shown_url
from corechain.index_client import IndexClient
from corechain.listing import Page
from corechain.process_turns import process_turn
from corechain.protocol.channel import MIN_WITHDRAW_DELAY_S
from corechain.protocol.errors import CoreChainError
from corechain.protocol.keys import DeviceKey
from corechain.protocol.places import RESOLUTION
from corechain.protocol.reading import Reading, SignedReport
from corechain.protocol.rewards import RewardClaim
from corechain.protocol.values import (
    CellLike,
    OctetsLike,
    TimeLike,
)
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
    from corechain.histories import History, Progress
    from corechain.history import Gaps
    from corechain.paying import Paying
    from corechain.payments import PaymentChannel
    from corechain.streaming import Cells, Devices, EventStream, Metrics


T = TypeVar("T")


class Client(IndexClient):
    """Blocking client. Use as a context manager, or call `close`."""

    @cached_property
    def _clients(self) -> ProcessClients:
        return ProcessClients(partial(client, self.api_url, self.gateway_url))

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections of this process; the next call opens new ones."""
        self._clients.close()
        self._close_chain()

    def _send(self, request: Request, payment: Mapping[str, str]) -> "httpx.Response":
        import httpx

        try:
            return exchange(self._clients, **self._call(request, payment))
        except (httpx.HTTPError, httpx.InvalidURL, *UNANSWERED) as error:
            raise ApiUnavailable(f"{shown_url(self._url(request))}: {error!r}") from error

    def _carry_out(self, step: ClientStep) -> Any:
        if isinstance(step, Quote):
            return self._send(step.request, {})
        if isinstance(step, Pause):
            return time.sleep(step.seconds)
        if not isinstance(step, Request):
            return step.question()
        response = self._send(step, {})
        channel = self._payer(response)
        if channel is not None:
            with channel.turns.taken(), process_turn(channel.channel_id):
                response = self._paid(step, self._paying(channel, step, response))
        return payload_of(response)

    def _paid(self, request: Request, flow: "Paying[httpx.Response]") -> "httpx.Response":
        with closing(flow):
            return self._drive(flow, lambda step: self._pay_step(request, step))

    def _pay_step(self, request: Request, step: PayingStep) -> Any:
        if isinstance(step, Send):
            return self._send(request, self._payment(step))
        if isinstance(step, Pause):
            return time.sleep(step.seconds)
        return step.question()

    def run(self, flow: Generator[ClientStep, Any, T]) -> T:
        """Carries a flow out to its result."""
        return self._drive(flow, self._carry_out)

    @staticmethod
    def _drive(flow: Generator[S, Any, T], carry_out: Callable[[S], Any]) -> T:
        try:
            step = next(flow)
            while True:
                try:
                    result = carry_out(step)
                except CoreChainError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(result)
        except StopIteration as done:
            outcome: T = done.value
            return outcome
        finally:
            flow.close()  # at once, also when a Ctrl-C or a cancellation ends it from outside

    def register_device(self, key: DeviceKey, owner: OctetsLike | None = None) -> Any:
        """Registers a device for an owner (default: this account)."""
        return self._register(key, owner)

    def send_reports(
        self, reports: Sequence[SignedReport], patience_s: float = 0.0, *, receipts: bool = False
    ) -> "list[Delivery]":
        """Sends up to a body's worth of reports; returns when the gateway holds them durably. A
        busy gateway is asked again when it says, for at most `patience_s` seconds.

        With `receipts` each delivery has a receipt, or the reason why not: proven to be of its
        report, and signed by whom the lane's submitter has named on chain, unless `verify` is off.
        Raises then also InvalidProof, MalformedReceipt, InvalidSignature, HighS,
        UnknownReceiptSigner, ReceiptUnsecured, ReceiptOutOfRange, ChainUnavailable: the reports
        were taken all the same, and may be sent again.
        """
        from corechain.deliveries import send_reports

        return self.run(send_reports(reports, patience_s, receipts, self._receipt_check()))

    def next_sequence(self, device: OctetsLike) -> int:
        """The first sequence number the gateway has not seen from a device."""
        return self.run(flows.next_sequence(device))

    def stream(
        self,
        since: str | None = None,
        *,
        finality: str = "pending",
        device: "Devices" = None,
        metric: "Metrics" = None,
        cell: "Cells" = None,
        patience_s: float = 300.0,
    ) -> "EventStream":
        """What happens to batches, from now on or after a cursor, again and again across outages of
        up to `patience_s`; only what is final with `finality="finalised"`, only of batches that
        hold a reading of these devices, metrics and cells (all in one; lists of up to 64).
        Raises InvalidValue, UnknownMetric, InvalidCell; while it is read, CursorUnknown,
        CursorExpired, MalformedAnswer, ApiUnavailable."""
        from corechain.streaming import PATH, EventStream, resuming

        only = {"device": device, "metric": metric, "cell": cell}
        state = resuming(since, finality, patience_s, **only)
        return EventStream(self._clients, self.api_url.rstrip("/") + PATH, state)

    def reading(self, batch_id: int, position: int, **fresh: Unpack[Fresh]) -> Reading:
        """One reading, always proven."""
        ask = self.chain.commitments_of
        return self.run(flows.proven_reading(batch_id, position, ask, fresh)).reading

    def readings(
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
        """Up to `limit` of a device's readings by metric and time (seconds, both ends included), by
        metric and time; one request a page of 1,000, each reading proven unless `verify` is off.
        What is behind the last one comes with `cursor=` the `next_cursor` of the list.

        That nothing was left out is not proven; `statistics` proves that.
        """
        question = self.readings_question(metric, device, start, end)
        return self.run(flows.readings(question, limit, self._commitments(), view, cursor))

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
    ) -> "History":
        """All readings of a device or a region in [start, end] seconds, page by page, each page
        proven at once unless `verify` is off: every reading, that none is missing in a batch, that
        no batch is missing between the first and the last of its lane, and that those are where
        the time begins and ends (`end` None: where the index is).

        `region`: cells, a GeoJSON polygon, or a box (south, west, north, east); with a device, the
        cells it stands at (else the API says which). `since_block`: batches committed in it or
        later. `cursor`: that of an earlier history of the same question. `gaps="report"`: what is
        missing is listed in `gaps`, and not raised. `progress`: called with a HistoryProgress after
        each page. Raises InvalidValue, ValueOutOfRange, UnknownMetric, InvalidCell; while it is
        read HistoryGap, HistoryBehind, HistoryReorged, InvalidProof, RangeIncomplete, WrongAnswer,
        ApiUnavailable, ChainUnavailable.
        """
        from corechain.histories import History
        from corechain.history_question import HistoryQuestion

        question = HistoryQuestion.of(
            *(device, metric, start, end, region, newest_first, since_block, resolution, view)
        )
        return History(self.run, self._history_stand(question, cursor, gaps, progress))

    def statistics(
        self,
        metric: MetricLike,
        device: OctetsLike,
        cell: CellLike,
        start: TimeLike,
        end: TimeLike,
        **view: Unpack[View],
    ) -> flows.StatisticsResult:
        """Count, mean, min and max of a metric in [start, end], proven unless `verify` is off.

        Complete over all batches between the first and the last that hold such readings, in each
        lane that the answer names; that the device is in no other lane is the API's word.
        """
        question = self.question(metric, device, cell, start, end)
        return self.run(flows.statistics(question, self._commitments(), view))

    def contract_answer(
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
        """The same as calldata for a contract that uses `contracts/consumer`: every batch of the
        lane behind the batch `after` (a lane's number 0: from its first one) that was committed
        up to `closes_at` seconds; None: up to the newest.

        Raises as `statistics`, SpanNotClosed while no later batch is on chain and verified.
        """
        from corechain.contract_answers import contract_answer

        question = self.question(metric, device, cell, start, end)
        return self.run(contract_answer(question, self.chain, after, closes_at))

    def region_statistics(
        self,
        metric: MetricLike,
        region: RegionLike,
        start: TimeLike,
        end: TimeLike,
        resolution: int = RESOLUTION,
        **view: Unpack[View],
    ) -> flows.StatisticsResult:
        """The same of all devices in a region: a cell or several, of `resolution` or coarser, or a
        GeoJSON polygon or a box (south, west, north, east), covered by up to 64 such cells whose
        centres lie in it; of readings at cells of `resolution`.

        Complete over all batches between the first and the last whose time touches the window.
        """
        question = RegionQuestion.of(metric, region, start, end, resolution)
        return self.run(region_statistics(question, self._commitments(), view))

    def reward_claim(self, owner: OctetsLike, **fresh: Unpack[Fresh]) -> RewardClaim:
        """What an owner may claim, proven under the root on chain unless `verify` is off."""
        return self.run(flows.reward_claim(owner, self._active_root(), fresh))

    def rewards_claimable(self, owner: OctetsLike) -> bool:
        """Whether there is a claim that the contract would take now."""
        return self.run(flows.rewards_claimable(owner, *self._reward_books()))

    def claim_rewards(self, owner: OctetsLike) -> Any:
        """Claims what an owner has earned; the contract checks the proof and pays the owner."""
        return self._claim(self.reward_claim(owner))

    def open_channel(
        self,
        receiver: OctetsLike | None = None,
        amount: int = 0,
        withdraw_delay_s: int = MIN_WITHDRAW_DELAY_S,
        *,
        max_price: int | None = None,
    ) -> "PaymentChannel":
        """Opens a payment channel; paid queries draw on it from now on. Amounts in base units.

        Asks the API first who is paid and what a query costs: nothing is deposited for another
        `receiver` than that (None: whoever the API names), nor when the price is above `max_price`.
        The price at this moment is what the channel agrees to where no `max_price` is given, here
        or to the client. Raises WrongPayee, PriceTooHigh, PaymentRequired, NoPaymentAsked,
        ApiUnavailable, ChainUnavailable, or what the contract refuses by its name; DepositPending:
        call it again, and it looks for what was sent before it deposits anything.
        """
        opening = self._opening(max_price)
        self.channel = self.run(opening.open(receiver, amount, withdraw_delay_s))
        return self.channel

    def resume_channel(
        self, channel_id: OctetsLike, *, max_price: int | None = None
    ) -> "PaymentChannel":
        """Goes on with a channel of an earlier run: its terms from the API, checked by their hash,
        its money from the chain; what is spent, from the first 402.

        Raises as `open_channel`, NotFound.
        """
        self.channel = self.run(self._opening(max_price).resume(channel_id))
        return self.channel

    def pay_with(
        self,
        deposit: int,
        max_price: int | None = None,
        *,
        most: int | None = None,
        receiver: OctetsLike | None = None,
        withdraw_delay_s: int = MIN_WITHDRAW_DELAY_S,
    ) -> "PaymentChannel":
        """Pays for queries from now on: with this account's channel to whoever the API names, or
        with a new one of `deposit`, in base units. One of an earlier run is found again.

        A query costs at most `max_price` (None: the price at this moment), and a channel that is
        empty gets `deposit` again until it holds `most` in all (None: it is never filled again).
        Processes of one user and account find the same channel and fill it once.
        Raises as `open_channel` and `resume_channel`.
        """
        opening, most = self._opening(max_price), self._most(deposit, most)
        with process_turn(opening.name):
            opened = self.run(opening.ready(receiver, deposit, withdraw_delay_s))
        return self._refills(opened, deposit, most)

    def channels(self) -> "list[HeldChannel]":
        """This account's channels that hold something, with what is left in each."""
        return self.run(self._opening(None).mine())

    def close_channel(self) -> "HeldChannel":
        """Leaves the channel: starts the withdrawal of what is left, or ends it when its delay is
        over (`withdrawable_at`, seconds since 1970). No query is paid from it after that.

        Raises InvalidValue when there is no channel, ChainUnavailable, TransactionPending, or what
        the contract refuses by its name.
        """
        return self._leave(self._paid_channel())
