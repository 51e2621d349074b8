"""Deposits into payment channels: one that was sent is not sent again while it may still be mined,
nor one that was mined for a caller who had gone (a cancelled task).

Blocking. What is in doubt is kept by the client that sent it; another process cannot know of it.
"""

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from corechain.node import ChainUnavailable, Node, quantity
from corechain.protocol.channel import ChannelConfig
from corechain.transactions import TransactionPending

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from corechain.chain import Chain
    from corechain.payments import PaymentChannel


class DepositPending(TransactionPending):
    """The same of a deposit of `amount` (base units) into a channel. The client that sent it looks
    for it before it deposits again. `nonce` is the transaction's, or a lower one."""

    def __init__(
        self, pending: TransactionPending, channel_id: bytes, amount: int, nonce: int
    ) -> None:
        ChainUnavailable.__init__(
            self,
            f"{pending}: it deposits {amount} into channel 0x{channel_id.hex()}. The same client "
            "looks for it before it deposits again; another one cannot know of it, so look for the "
            "channel first (`corechain channel list`)",
        )
        self.transaction, self.channel_id = pending.transaction, channel_id
        self.amount, self.nonce = amount, nonce


def next_nonce(node: Node, account: "LocalAccount") -> int:
    """Which the account's next transaction gets. Raises ChainUnavailable."""
    raw = node.call("eth_getTransactionCount", account.address, "pending")
    return quantity(raw, "a number of transactions")


def _has_succeeded(node: Node, transaction: bytes) -> bool | None:
    """None without a receipt. Raises ChainUnavailable."""
    raw = node.call("eth_getTransactionReceipt", "0x" + transaction.hex())
    if raw is None or (isinstance(raw, Mapping) and raw.get("blockNumber") is None):
        return None
    if not isinstance(raw, Mapping) or raw.get("transactionHash") != "0x" + transaction.hex():
        raise ChainUnavailable(f"the node sent {raw!r:.80} as a receipt")
    return quantity(raw.get("status"), "the status of a receipt") == 1


def _may_be_mined(node: Node, account: "LocalAccount", sent: DepositPending) -> bool:
    """Of one without a receipt. Not where the node has not heard of it, and gives its nonce to the
    next transaction: of two with one nonce a chain takes one. A node that has merely lost it, or
    lags, does no harm then; one that gives a later nonce might. Raises ChainUnavailable."""
    found = node.call("eth_getTransactionByHash", "0x" + sent.transaction.hex())
    return found is not None or next_nonce(node, account) != sent.nonce


@dataclass(slots=True)
class _Deposit:
    """Under way, in doubt, or mined and not in use yet; the channel holds at least `holds` then."""

    amount: int
    holds: int
    pending: DepositPending | None = None
    is_mined: bool = False


@dataclass(slots=True)
class Deposits:
    """Makes deposits one after the other, for each replaces the allowance of the one before; keeps
    each, by its channel, until it is said to be in use."""

    _made: dict[ChannelConfig, _Deposit] = field(default_factory=dict)
    # By process: a lock that a thread holds at a fork would stay locked in the child.
    _locks: dict[int, threading.Lock] = field(default_factory=dict, repr=False)

    def unused(self, amount: int | None = None) -> list[ChannelConfig]:
        """Channels with a deposit that nobody uses yet; with `amount`, whose first one is of that
        much."""
        return [
            config
            for config, made in list(self._made.items())
            if amount is None or made.holds == made.amount == amount
        ]

    def put(
        self, chain: "Chain", account: "LocalAccount", channel: "PaymentChannel", amount: int
    ) -> None:
        """Deposits so much, and counts it. Raises as `Chain.open_channel`."""
        config, made = channel.config, _Deposit(amount, channel.deposit + amount)
        with self._turn():
            before, self._made[config] = self._made.get(config), made
            try:
                chain.open_channel(account, config, amount)
            except DepositPending as pending:
                made.pending = pending
                raise
            except BaseException:
                self._made.pop(config)  # one before it stays in doubt
                self._made |= {config: before} if before is not None else {}
                raise
            made.is_mined, channel.deposit = True, made.holds

    def landed(self, chain: "Chain", account: "LocalAccount", config: ChannelConfig) -> int:
        """What a channel holds at least by a deposit that is mined and not in use; 0 where there is
        none. Waits for one that is under way. Raises DepositPending while one may be mined."""
        with self._turn():
            made = self._made.get(config)
        if made is None or made.is_mined or made.pending is None:
            return 0 if made is None else made.holds
        sent = made.pending
        try:
            succeeded = _has_succeeded(chain.node, sent.transaction)
            waits = succeeded is None and _may_be_mined(chain.node, account, sent)
        except ChainUnavailable as error:
            raise sent.with_traceback(None) from error
        if waits:
            raise sent.with_traceback(None)
        made.is_mined = bool(succeeded)
        if succeeded is False:
            self.use(config)
        return made.holds if made.is_mined else 0

    def _turn(self) -> threading.Lock:
        return self._locks.setdefault(os.getpid(), threading.Lock())

    def use(self, config: ChannelConfig) -> None:
        """Its deposit is in use, or void: whoever comes next makes another one."""
        self._made.pop(config, None)
