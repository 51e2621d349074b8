"""Deposits into payment channels: one that may have been sent is not made a second time.

What was signed is kept by the client that signed it. Who calls again goes on with the same bytes,
which a chain takes once. Another process cannot know of it. Blocking.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from corechain.deployment import Deployment
from corechain.node import ChainUnavailable
from corechain.protocol.channel import ChannelConfig, payment_domain
from corechain.protocol.errors import CoreChainError
from corechain.sent import Sent
from corechain.transactions import TransactionPending

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from corechain.chain import Chain

TURN_S = 10.0
"""How long a call waits for the deposit of another one. Not as long as that may take, minutes: an
asyncio program has a few threads for all that blocks, and each that waits is one less."""


class DepositPending(TransactionPending):
    """The same of a deposit of `amount` (base units) into a channel. The client that sent it goes
    on with it when the call is repeated."""

    def __init__(
        self, pending: TransactionPending, channel_id: bytes, amount: int, advice: str
    ) -> None:
        ChainUnavailable.__init__(
            self, f"{pending}: it deposits {amount} into channel 0x{channel_id.hex()}. {advice}"
        )
        self.sent, self.channel_id, self.amount = pending.sent, channel_id, amount
        self.before = pending


def deposit_pending(
    pending: TransactionPending,
    deployment: Deployment,
    config: ChannelConfig,
    amount: int,
    advice: str,
) -> DepositPending:
    return DepositPending(pending, _channel_id(deployment, config), amount, advice)


def _channel_id(deployment: Deployment, config: ChannelConfig) -> bytes:
    contract = bytes(deployment.address("PaymentChannels"))
    return config.channel_id(payment_domain(deployment.chain_id, contract))


BY_CALL = (
    "The same call of the same client goes on with it; another client cannot know of it, so look "
    "for the channel first (`corechain channel list`)"
)


class DepositUnderWay(ChainUnavailable):
    """Another call of this client deposits: it is not known yet what there will be."""

    def __init__(self) -> None:
        super().__init__(
            f"another call of this client has not ended its deposit in {TURN_S:g} s: ask again"
        )


@dataclass(slots=True, eq=False)
class Deposit:
    """Of one call, which goes on with it until it is in use."""

    config: ChannelConfig
    amount: int
    holds: int
    """What the channel holds at least once it is mined."""
    sent: Sent | None = None
    block: int = 0
    """Of its receipt, where it was gone on with."""

    def signed(self, sent: Sent) -> None:
        self.sent = sent


@dataclass(slots=True)
class Deposits:
    """Of one client. `turn` first: each deposit replaces the allowance of the one before."""

    _left: list[Deposit] = field(default_factory=list)
    """Nobody goes on with these."""
    # By process: a lock that a thread holds at a fork would stay locked in the child.
    _locks: dict[int, threading.Lock] = field(default_factory=dict, repr=False)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Raises DepositUnderWay."""
        lock = self._locks.setdefault(os.getpid(), threading.Lock())
        if not lock.acquire(timeout=TURN_S):
            raise DepositUnderWay
        try:
            yield
        finally:
            lock.release()

    def first(self, config: ChannelConfig, amount: int) -> Deposit:
        """Into a new channel, or one of these terms that was left with a deposit of so much."""
        for left in list(self._left):
            is_first = left.holds == left.amount == amount
            if is_first and replace(left.config, salt=config.salt) == config and self._take(left):
                return left
        return Deposit(config, amount, amount)

    def left_in(self, config: ChannelConfig) -> Deposit | None:
        """One that was left into this channel."""
        mine = (left for left in list(self._left) if left.config == config)
        return next((left for left in mine if self._take(left)), None)

    def _take(self, left: Deposit) -> bool:
        try:
            self._left.remove(left)
        except ValueError:  # another thread was first
            return False
        return True

    def leave(self, deposit: Deposit) -> None:
        """Its call has failed, or was given up, and its thread may go on: whoever calls again goes
        on with it. What was never sent costs its successor nothing: the salt is as good."""
        self._left.append(deposit)

    def used(self, config: ChannelConfig, holds: int) -> None:
        """A channel is in use by another way, with so much in it: what is left into it is in
        that."""
        for left in list(self._left):
            if left.config == config and left.holds <= holds:
                self._take(left)

    def make(self, chain: "Chain", account: "LocalAccount", deposit: Deposit) -> None:
        """Returns when it is mined, by whatever call. Raises as `Chain.open_channel`."""
        if not self.is_mined(chain, deposit):
            self._put(chain, account, deposit)

    def _put(self, chain: "Chain", account: "LocalAccount", deposit: Deposit) -> None:
        try:
            chain.open_channel(account, deposit.config, deposit.amount, deposit.signed)
        except DepositPending as pending:
            raise _of_call(pending) from pending
        except TransactionPending:  # of the allowance
            raise
        except CoreChainError:  # it was not sent, or it failed. Of a Ctrl-C nobody knows that.
            deposit.sent = None
            raise

    def is_mined(self, chain: "Chain", deposit: Deposit) -> bool:
        """Goes on with what was sent. Raises DepositPending while it may still be mined."""
        if deposit.sent is None:
            return False
        try:
            receipt = chain.again(deposit.sent)
        except TransactionPending as pending:
            which = chain.deployment, deposit.config, deposit.amount, BY_CALL
            raise deposit_pending(pending, *which) from pending
        # Void: a last look at the channel, which nobody else fills as long as it is new.
        is_there = _holds(chain, deposit) if receipt is None else receipt["status"] == 1
        deposit.block = 0 if receipt is None else receipt["blockNumber"]
        deposit.sent = deposit.sent if is_there else None
        return is_there


def _of_call(pending: DepositPending) -> DepositPending:
    return DepositPending(pending.before, pending.channel_id, pending.amount, BY_CALL)


def _holds(chain: "Chain", deposit: Deposit) -> bool:
    channel_id = _channel_id(chain.deployment, deposit.config)
    return chain.channel_balance(channel_id)[0] >= deposit.holds
