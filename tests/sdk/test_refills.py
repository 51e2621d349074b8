"""A channel that is empty while a query is paid.

Given a channel that holds less than one more query costs
  ├── without leave to deposit, nothing is signed
  ├── with it, just so much is deposited as was allowed in all, before the voucher is signed
  └── an API that has not mirrored the deposit yet is asked again with the same voucher
"""

from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, repeat
from types import SimpleNamespace
from typing import Any

import pytest
from sdk.test_sdk_payments import CONTRACT, PRICE, Reply, channel, offer, refusal

from corechain import Client
from corechain.account import account_from_key
from corechain.deployment import DeployedContract, Deployment
from corechain.documents import MalformedAnswer
from corechain.held_channels import HeldChannel, Refilling, await_block
from corechain.listing import API
from corechain.node import ChainUnavailable
from corechain.opening import Opening
from corechain.paying import LOST_TRIES, UNSEEN_TRIES, pay
from corechain.payments import PaymentChannel, corrects, decode_header
from corechain.protocol.channel import ChannelConfig
from corechain.protocol.errors import NotFound, PaymentRequired, ProtocolError
from corechain.steps import ApiUnavailable, Pause, Request, Send

DEPLOYED = Deployment(
    1,
    {name: DeployedContract(name, CONTRACT, 1) for name in ("PaymentChannels", "StateChannels")},
)
NOWHERE = "http://127.0.0.1:9"


@dataclass
class Deposits:
    """A contract that takes deposits, and says how much."""

    held: int = 0
    taken: list[int] = field(default_factory=list)

    def channel_balance(self, channel_id: bytes) -> tuple[int, int]:
        return self.held, 0

    def open_channel(
        self, account: object, config: ChannelConfig, amount: int, signed: object
    ) -> None:
        self.taken.append(amount)
        self.held += amount


def refilling(chain: Deposits, amount: int, most: int) -> Refilling:
    return Refilling(chain, object(), amount, most)  # type: ignore[arg-type]


def paid(
    mine: PaymentChannel, refill: Refilling | None, *replies: Reply
) -> tuple[Reply, list[int]]:
    """The last reply, and the amounts of the vouchers that were sent."""
    first = Reply(402, refusal(offer()))
    flow = pay(mine, Request(API, "GET", "/v1/latest"), first, None, lambda: 0, refill)
    script, sent, said = list(replies), list[int](), None
    while True:
        try:
            step: Any = flow.send(said)
        except StopIteration as done:
            return done.value, sent
        if isinstance(step, Send):
            voucher = decode_header(step.header)["payload"]["voucher"]
            sent.append(int(voucher["maxClaimableAmount"]))
            said = script.pop(0)
        else:
            said = None if isinstance(step, Pause) else step.question()


def test_an_empty_channel_pays_nothing_without_leave_to_deposit() -> None:
    with pytest.raises(PaymentRequired, match="is spent"):
        paid(channel(deposit=PRICE - 1), None)


def test_an_empty_channel_is_filled_before_the_voucher_is_signed() -> None:
    chain, mine = Deposits(5 * PRICE), channel(deposit=5 * PRICE, spent=5 * PRICE)
    reply, sent = paid(mine, refilling(chain, 3 * PRICE, 9 * PRICE), Reply(200))
    assert (reply.status_code, sent, chain.taken) == (200, [6 * PRICE], [3 * PRICE])
    assert mine.deposit == 8 * PRICE


def test_no_more_is_deposited_than_was_allowed_in_all() -> None:
    chain = Deposits()
    refill = refilling(chain, 3 * PRICE, 4 * PRICE)
    paid(channel(deposit=0), refill, Reply(200))
    paid(channel(deposit=0, spent=3 * PRICE), refill, Reply(200))
    with pytest.raises(PaymentRequired, match="deposited in all"):
        paid(channel(deposit=0, spent=4 * PRICE), refill)
    assert chain.taken == [3 * PRICE, PRICE]


def test_what_another_process_has_deposited_is_not_deposited_again() -> None:
    chain, mine = Deposits(3 * PRICE), channel(deposit=PRICE, spent=PRICE)
    _, sent = paid(mine, refilling(chain, 3 * PRICE, 9 * PRICE), Reply(200))
    assert (sent, chain.taken, mine.deposit) == ([2 * PRICE], [], 3 * PRICE)


@dataclass
class Behind(Deposits):
    """The same behind a node that has seen no deposit since `held`, or comes to see them."""

    seen: int = 0
    comes: bool = False

    def channel_balance(self, channel_id: bytes) -> tuple[int, int]:
        return self.seen, 0

    def pause(self, _: float) -> None:
        if self.comes:
            self.seen = self.held


def test_behind_a_node_that_lags_no_more_is_deposited_than_was_allowed_in_all() -> None:
    lagging, mine = Behind(), channel(deposit=0)
    refill = refilling(lagging, 2 * PRICE, 3 * PRICE)
    for _ in range(3):
        paid(mine, refill, Reply(200))
        mine.spent += PRICE
    with pytest.raises(PaymentRequired, match="deposited in all"):
        paid(mine, refill)
    assert lagging.taken == [2 * PRICE, PRICE]


@pytest.mark.parametrize("comes", [True, False])
def test_a_node_that_does_not_know_of_another_deposit_yet_is_asked_again(comes: bool) -> None:
    lagging = Behind(3 * PRICE, seen=PRICE, comes=comes)
    refill, late = refilling(lagging, PRICE, 4 * PRICE), channel(deposit=PRICE, spent=3 * PRICE)
    refill.sleep = lagging.pause
    if not comes:
        with pytest.raises(ChainUnavailable, match="knows of a deposit of"):
            paid(late, refill)
    else:
        paid(late, refill, Reply(200))
    assert lagging.taken == [PRICE] * comes


@pytest.mark.parametrize(("heads", "is_seen"), [([4, 5, 7], True), ([4], False)])
def test_a_channel_is_looked_for_once_the_node_has_seen_its_block(heads, is_seen) -> None:
    seen = chain(heads, repeat(heads[-1]))
    node = SimpleNamespace(head=lambda: next(seen))
    asked = partial(await_block, SimpleNamespace(node=node), 6, lambda _: None)
    if is_seen:
        asked()
    else:
        with pytest.raises(ChainUnavailable, match="in block 6, the node has seen block 4"):
            asked()


@pytest.mark.parametrize(
    "wrong",
    [{"deposit": 0}, {"deposit": 2.5}, {"deposit": 5, "most": 4}, {"withdraw_delay_s": 1}],
    ids=str,
)
def test_what_is_wrong_with_the_money_is_said_before_anything_is_asked_or_deposited(wrong) -> None:
    client = Client(NOWHERE, NOWHERE, NOWHERE, DEPLOYED, account_from_key(b"\x01" * 32))
    with pytest.raises(ProtocolError, match=list(wrong)[-1]):
        client.pay_with(**({"deposit": 5} | wrong))
    with pytest.raises(ApiUnavailable):
        client.pay_with(5, most=5)


@pytest.mark.parametrize("leave", ["resumed", "without most"])
def test_leave_to_fill_a_channel_is_none_to_fill_the_next_one(leave: str) -> None:
    client = Client(NOWHERE, NOWHERE, NOWHERE, DEPLOYED, account_from_key(b"\x01" * 32))
    client.chain = Deposits()  # type: ignore[assignment]
    asked = Request(API, "GET", "/v1/latest"), Reply(402, refusal(offer()))
    first, second = channel(deposit=0), channel(deposit=0)
    client._refills(first, PRICE, 9 * PRICE)
    with closing(client._paying(first, *asked)) as flow:  # type: ignore[type-var]
        assert not isinstance(next(flow), Send)
    if leave == "resumed":
        client.channel = second
    else:
        client._refills(second, PRICE, None)
    with pytest.raises(PaymentRequired, match="is spent"):
        next(client._paying(second, *asked))  # type: ignore[type-var]


def test_a_query_dearer_than_the_usual_deposit_gets_what_it_lacks() -> None:
    chain = Deposits()
    paid(channel(deposit=0), refilling(chain, 1, 9 * PRICE), Reply(200))
    assert chain.taken == [PRICE]


def test_an_api_that_has_not_seen_the_deposit_gets_the_same_voucher_again() -> None:
    unseen = Reply(402, refusal(offer()))
    refill = refilling(Deposits(), PRICE, PRICE)
    reply, sent = paid(channel(deposit=0), refill, unseen, unseen, Reply(200))
    assert (reply.status_code, sent) == (200, [PRICE] * 3)


def test_an_api_that_never_sees_the_deposit_is_given_up() -> None:
    unseen = [Reply(402, refusal(offer()))] * (UNSEEN_TRIES + 1)
    reply, sent = paid(channel(deposit=0), refilling(Deposits(), PRICE, PRICE), *unseen)
    assert (reply.status_code, len(sent)) == (402, UNSEEN_TRIES + 1)


def test_a_correction_is_no_sign_of_an_unseen_deposit() -> None:
    state = {"channelState": {"chargedCumulativeAmount": "0"}}
    assert corrects(refusal(offer(extra=state)))
    assert not corrects(refusal(offer()))
    assert not corrects({"payment-required": "%"})


@pytest.mark.parametrize(("now", "mature"), [(999, False), (1_000, True)])
def test_a_withdrawal_matures_at_its_second(now: int, mature: bool) -> None:
    config = channel().config
    held = HeldChannel(CONTRACT, config, 5, 2, 3, 1_000)
    assert (held.left, held.is_mature(now)) == (3, mature)
    assert not HeldChannel(CONTRACT, config, 5, 2).is_mature(now)


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (NotFound("no such channel"), UNSEEN_TRIES),
        (ApiUnavailable("nothing in 30 s"), LOST_TRIES),
        (MalformedAnswer("no channel"), LOST_TRIES),
    ],
)
def test_whatever_an_api_says_behind_a_first_deposit_the_channel_is_the_payers(error, tries):
    account = account_from_key(b"\x01" * 32)
    opening = Opening(account, DEPLOYED, lambda: pytest.fail("not asked"), None)
    flow = opening._listed(bytes(32))
    steps: list[Any] = [next(flow)]
    with suppress(StopIteration):
        while True:
            asked = isinstance(steps[-1], Request)
            steps.append(flow.throw(error) if asked else next(flow))
    assert sum(isinstance(step, Request) for step in steps) == tries
