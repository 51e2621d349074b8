"""Payment channels as the chain has them, and the way out that needs nobody's help. Blocking.

A payer leaves a channel in two steps: it starts a withdrawal, and ends it once the channel's delay
is over, in which the payee redeems its vouchers (contracts/PaymentChannels.sol).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from corechain.contracts import Reverted
from corechain.deposits import Deposit, Deposits
from corechain.node import ChainUnavailable
from corechain.payments import PaymentChannel, Price
from corechain.protocol.channel import ChannelConfig
from corechain.protocol.errors import PaymentRequired
from corechain.protocol.events import Event, WithdrawFinalized, WithdrawInitiated
from corechain.protocol.logs import decode_log, topic_of

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from corechain.chain import Chain
    from corechain.transactions import Receipt

E = TypeVar("E", bound=Event)
T = TypeVar("T")
LAG_TRIES, LAG_PAUSE_S = 40, 0.25
"""How long a node may lag behind what is known of it otherwise: some blocks of a layer 2."""


@dataclass(frozen=True, slots=True)
class HeldChannel:
    """A channel and its money, base units. `withdrawing` is 0 where no withdrawal runs; it can be
    ended from `withdrawable_at` on (seconds since 1970)."""

    channel_id: bytes
    config: ChannelConfig
    deposit: int
    claimed: int
    withdrawing: int = 0
    withdrawable_at: int | None = None

    @property
    def left(self) -> int:
        """What no voucher has drawn yet. The payee may hold vouchers for a part of it."""
        return self.deposit - self.claimed

    def is_mature(self, now: float) -> bool:
        """Whether the withdrawal that runs can be ended."""
        return self.withdrawable_at is not None and now >= self.withdrawable_at


def held_channel(chain: "Chain", channel_id: bytes, config: ChannelConfig) -> HeldChannel:
    """Raises ChainUnavailable, WrongChain."""
    deposit, claimed = chain.channel_balance(channel_id)
    amount, since = chain.pending_withdrawal(channel_id)
    at = since + config.withdraw_delay_s if since else None
    return HeldChannel(channel_id, config, deposit, claimed, amount, at)


def held_channels(chain: "Chain", found: Mapping[bytes, ChannelConfig]) -> list[HeldChannel]:
    """By id, without those that hold nothing (any more): they are nobody's concern."""
    held = [held_channel(chain, channel_id, found[channel_id]) for channel_id in sorted(found)]
    return [one for one in held if one.left > 0]


def await_block(chain: "Chain", block: int, sleep: Callable[[float], object] = time.sleep) -> None:
    """Until the node has seen a block in which something of ours is said to be. Raises
    ChainUnavailable where it does not come."""
    for _ in range(LAG_TRIES):
        head = chain.node.head()
        if head >= block:
            return
        sleep(LAG_PAUSE_S)
    raise ChainUnavailable(
        f"a channel of this account is said to be in block {block}, the node has seen block {head}:"
        " ask again when it has"
    )


def is_untouched(
    chain: "Chain",
    channel_id: bytes,
    deposit: Deposit,
    sleep: Callable[[float], object] = time.sleep,
) -> bool:
    """Whether a channel still holds its deposit, which is mined: nothing is drawn or withdrawn.
    Raises ChainUnavailable, also for a node that lags behind the deposit."""
    await_block(chain, deposit.block, sleep)
    held = held_channel(chain, channel_id, deposit.config)
    return not (held.withdrawing or held.claimed) and held.deposit >= deposit.holds


@dataclass(slots=True)
class Refilling:
    """Deposits again where a channel holds too little: `amount` each time, until it holds `most`,
    base units. What it holds is asked of the chain, for other processes fill it, too; a node that
    lags is believed no less than was deposited here, or was signed for already."""

    chain: "Chain"
    account: "LocalAccount"
    amount: int
    most: int
    sleep: Callable[[float], object] = time.sleep
    deposits: Deposits = field(default_factory=Deposits)

    def _held(self, channel: PaymentChannel) -> int:
        """Raises ChainUnavailable where the node does not come to know of another process's
        deposit: without it, `most` would be exceeded."""
        for _ in range(LAG_TRIES):
            found = max(channel.deposit, self.chain.channel_balance(channel.channel_id)[0])
            # No payee takes a voucher that the deposit does not cover.
            if found >= channel.spent:
                return found
            self.sleep(LAG_PAUSE_S)
        raise ChainUnavailable(
            f"{channel.spent} is spent from the channel, and the node knows of a deposit of {found}"
            " only: ask again when it has caught up, or ask another one"
        )

    def __call__(self, channel: PaymentChannel, price: Price) -> None:
        """Raises PaymentRequired when more than `most` would be deposited, ChainUnavailable,
        DepositPending, and what the contract refuses by its name."""
        with self.deposits.turn():
            self._refill(channel, price)

    def _refill(self, channel: PaymentChannel, price: Price) -> None:
        left = self.deposits.left_in(channel.config)
        if left is not None and self._kept(self.deposits.is_mined, left):
            channel.deposit = max(channel.deposit, left.holds)
        channel.deposit = self._held(channel)
        lacks = channel.lacks(price)
        if not lacks:
            return
        wanted = min(max(self.amount, lacks), self.most - channel.deposit)
        if wanted < lacks:
            raise PaymentRequired(
                f"the channel holds {channel.deposit}, {channel.spent} is spent, and {self.most} "
                "may be deposited in all: raise `most`, or open another channel"
            )
        deposit = Deposit(channel.config, wanted, channel.deposit + wanted)
        self._kept(lambda chain, new: self.deposits.make(chain, self.account, new), deposit)
        channel.deposit = deposit.holds

    def _kept(self, step: "Callable[[Chain, Deposit], T]", deposit: Deposit) -> T:
        try:
            return step(self.chain, deposit)
        except BaseException:
            self.deposits.leave(deposit)
            raise


def _told(receipt: "Receipt", kind: type[E]) -> list[E]:
    """The events of one kind in a receipt: what a transaction has done, without asking again."""
    mine = [log for log in receipt["logs"] if log.topics[:1] == (topic_of(kind),)]
    events = [decode_log(log.topics, log.data) for log in mine]
    return [event for event in events if isinstance(event, kind)]


def start_withdrawal(chain: "Chain", account: "LocalAccount", held: HeldChannel) -> HeldChannel:
    """Asks for all that no voucher has drawn; a withdrawal that runs already stays as it is.

    Raises ChainUnavailable, TransactionPending, and what the contract refuses by its name. After a
    TransactionPending it may be called again: the contract starts one withdrawal at a time.
    """
    if held.withdrawing or not held.left:
        return held
    try:
        receipt = chain.initiate_withdraw(account, held.config, held.left)
    except Reverted:
        now = held_channel(chain, held.channel_id, held.config)
        if not now.withdrawing:  # else an earlier transaction, or another process, was first
            raise
        return now
    for event in _told(receipt, WithdrawInitiated):
        at = event.finalize_after
        held = replace(held, withdrawing=event.amount, withdrawable_at=at)
    return held


def end_withdrawal(chain: "Chain", account: "LocalAccount", held: HeldChannel) -> HeldChannel:
    """Takes what is still there out, once it is mature. Raises WithdrawDelayNotElapsed and what
    else the contract refuses by its name, ChainUnavailable, TransactionPending: it may be called
    again, for a withdrawal ends once."""
    try:
        receipt = chain.finalize_withdraw(account, held.config)
    except Reverted:
        now = held_channel(chain, held.channel_id, held.config)
        # It had begun, and has ended: by an earlier transaction, or another process.
        if now.withdrawing or not held.withdrawing:
            raise
        return now
    for event in _told(receipt, WithdrawFinalized):
        left = held.deposit - event.amount
        held = replace(held, deposit=left, withdrawing=0, withdrawable_at=None)
    return held
