"""Deposits into payment channels: one that was sent is not sent again while it may still be mined.

Blocking. What is in doubt is kept by the client that sent it; another process cannot know of it.
"""

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


@dataclass(frozen=True, slots=True)
class _Sent:
    """A deposit in doubt; the channel holds at least `holds` once it is mined."""

    pending: DepositPending
    holds: int


@dataclass(slots=True)
class Deposits:
    """Makes deposits, and keeps those that were sent and have no receipt, by channel."""

    _sent: dict[ChannelConfig, _Sent] = field(default_factory=dict)

    def doubtful(self, amount: int | None = None) -> list[ChannelConfig]:
        """Channels with a deposit that may not be mined yet; with `amount`, whose first one is of
        that much."""
        return [
            config
            for config, sent in list(self._sent.items())
            if amount is None or sent.holds == sent.pending.amount == amount
        ]

    def put(
        self, chain: "Chain", account: "LocalAccount", channel: "PaymentChannel", amount: int
    ) -> None:
        """Deposits so much, and counts it. Raises as `Chain.open_channel`."""
        try:
            chain.open_channel(account, channel.config, amount)
        except DepositPending as pending:
            self._sent[channel.config] = _Sent(pending, channel.deposit + amount)
            raise
        self.forget(channel.config)
        channel.deposit += amount

    def landed(self, chain: "Chain", account: "LocalAccount", config: ChannelConfig) -> int:
        """What a channel holds at least by a deposit that was in doubt and is mined; 0 where there
        is none to count. Raises DepositPending while it may still be mined."""
        sent = self._sent.get(config)
        if sent is None:
            return 0
        try:
            succeeded = _has_succeeded(chain.node, sent.pending.transaction)
            waits = succeeded is None and _may_be_mined(chain.node, account, sent.pending)
        except ChainUnavailable as error:
            raise sent.pending.with_traceback(None) from error
        if waits:
            raise sent.pending.with_traceback(None)
        if succeeded is False:
            self.forget(config)
        return sent.holds if succeeded else 0

    def count(self, chain: "Chain", account: "LocalAccount", channel: "PaymentChannel") -> bool:
        """Whether a deposit that was in doubt is mined now: then it is counted, once. Raises
        DepositPending while it may still be mined."""
        holds = self.landed(chain, account, channel.config)
        if holds:
            channel.deposit = max(channel.deposit, holds)
            self.forget(channel.config)
        return holds > 0

    def forget(self, config: ChannelConfig) -> None:
        """Once it is counted, or void."""
        self._sent.pop(config, None)
