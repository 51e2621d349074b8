"""Turns what was charged by voucher into tokens: never more than that, whatever was signed.

A voucher is for exactly what was charged (`api.payments`), so it is redeemed to its ceiling, by
packed calls. Three kinds are claimed up to an amount by x402's own functions: vouchers that the
deposit does not cover any more, those for more than was charged (older versions took them), and
all of them on a contract without packed calls.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from corechain.account import account_from_key
from corechain.chain import Chain, Receipt
from corechain.protocol.channel import ChannelConfig
from corechain.protocol.errors import ProtocolError
from corechain.protocol.events import Event, RedeemedMany, VoucherClaimed, VoucherRefused
from corechain.protocol.logs import decode_log
from corechain.protocol.redemption import CHANNEL_PREFIX_BYTES, Redemption, redeemed_totals
from corechain.protocol.signature import wallet_signature
from corechain.service.database import connect, hang_up
from corechain_indexer.store.vouchers import Vouchers

if TYPE_CHECKING:
    from asyncpg import Record
    from eth_account.signers.local import LocalAccount

T = TypeVar("T")
AT_ONCE, CLAIMED_AT_ONCE = 500, 100
"""Vouchers of a transaction: about 6 million gas either way, far below every chain's limit, and
65 kB of packed calldata, half of what nodes take."""
PACKED_LIMIT = 1 << 96
"""A packed row has 12 bytes for the amount."""


@dataclass(frozen=True, slots=True)
class Redeemed:
    """What one run has redeemed; amounts in base units.

    `queries` counts all that these channels ever paid. `short` is what was charged and is not
    covered any more, `refused` what the contract left out, by channel and reason.
    """

    vouchers: int = 0
    queries: int = 0
    amount: int = 0
    short: int = 0
    gas_used: int = 0
    transactions: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def transaction(self) -> str | None:
        """The last one; None when nothing was sent."""
        return self.transactions[-1] if self.transactions else None

    def summary(self) -> dict[str, object]:
        return {
            "vouchers": self.vouchers,
            "queries": self.queries,
            "amount": str(self.amount),
            "short": str(self.short),
            "transaction": self.transaction,
            "transactions": list(self.transactions),
            "gas_used": self.gas_used,
            "refused": dict(self.refused),
        }


def config_of(stored: bytes) -> ChannelConfig:
    fields: dict[str, Any] = json.loads(stored)
    delay = int(fields.pop("withdraw_delay"))
    return ChannelConfig(
        **{name: bytes.fromhex(text) for name, text in fields.items()}, withdraw_delay_s=delay
    )


async def open_vouchers(database_url: str) -> list["Record"]:
    """Vouchers on which more is charged than what the mirrored chain says is claimed."""
    connection = await connect(database_url)
    try:
        return await Vouchers(connection).open()
    finally:
        await hang_up(connection)


@dataclass(frozen=True, slots=True)
class _Due:
    """A voucher with what there is to draw on it now: from `claimed` to `total`."""

    channel_id: bytes
    voucher: Redemption
    charged: int
    queries: int
    claimed: int
    total: int

    @property
    def packs(self) -> bool:
        return self.total == self.voucher.amount < PACKED_LIMIT


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def redeem(chain: Chain, secret: str, rows: Sequence["Record"]) -> Redeemed:
    """Draws what was charged. Raises the contract's error by its name, ChainUnavailable.

    What other runs have drawn meanwhile, and what the mirror has not seen yet, is looked up on the
    chain first: nothing is sent that would draw nothing.
    """
    run = _Run(chain, account_from_key(secret))
    for part in _parts(rows, AT_ONCE):
        run.look(part)
    by_packing = bool(run.due) and chain.takes_packed_redemptions()
    for chosen in _parts([due for due in run.due if by_packing and due.packs], AT_ONCE):
        run.pack(chosen)
    for tokens in _by_token([due for due in run.due if not (by_packing and due.packs)]):
        for chosen in _parts(tokens, CLAIMED_AT_ONCE):
            run.claim(chosen)
    return run.result()


def _by_token(found: Sequence[_Due]) -> Iterator[list[_Due]]:
    """Claims are settled by payee and token."""
    groups: dict[tuple[bytes, bytes], list[_Due]] = {}
    for due in found:
        config = due.voucher.config
        groups.setdefault((config.receiver, config.token), []).append(due)
    yield from groups.values()


@dataclass(slots=True)
class _Run:
    chain: Chain
    account: "LocalAccount"
    due: list[_Due] = field(default_factory=list)
    done: dict[bytes, _Due] = field(default_factory=dict)
    amount: int = 0
    short: int = 0
    receipts: list[Receipt] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    def look(self, rows: Sequence["Record"]) -> None:
        """What the chain has of these channels decides what there is to draw."""
        balances = self.chain.channel_balances([row["channel_id"] for row in rows])
        for row, (balance, claimed) in zip(rows, balances, strict=True):
            charged, config = int(row["charged"]), config_of(row["config"])
            if not self._is_ours(config):
                self.refused["0x" + row["channel_id"].hex()] = "the channel pays another account"
                continue
            total = min(charged, balance)
            self.short += max(0, charged - max(total, claimed))
            if total > claimed:
                voucher = Redemption(config, int(row["amount"]), row["signature"])
                found = (row["channel_id"], voucher, charged, row["queries"], claimed, total)
                self.due.append(_Due(*found))

    def _is_ours(self, config: ChannelConfig) -> bool:
        return bytes.fromhex(self.account.address[2:]) in (
            config.receiver,
            config.receiver_authorizer,
        )

    def pack(self, chosen: Sequence[_Due]) -> None:
        receipt = self.chain.redeem_packed(self.account, [due.voucher for due in chosen])
        self.receipts.append(receipt)
        of = {due.channel_id[:CHANNEL_PREFIX_BYTES]: due for due in chosen}
        for event in self._events(receipt):
            if isinstance(event, VoucherRefused):
                self.refused["0x" + event.channel_id.hex()] = "0x" + event.reason.hex()
            if isinstance(event, RedeemedMany):
                for prefix, total in redeemed_totals(event.rows):
                    self._count(of[prefix], total - of[prefix].claimed)

    def claim(self, chosen: Sequence[_Due]) -> None:
        """One voucher that is not covered any more reverts all: it is found by halving."""
        try:
            receipt = self._claimed(chosen)
        except ProtocolError as error:
            if len(chosen) == 1:
                self.refused["0x" + chosen[0].channel_id.hex()] = str(error)
                return
            for half in _parts(chosen, (len(chosen) + 1) // 2):
                self.claim(half)
            return
        self.receipts.append(receipt)
        of = {due.channel_id: due for due in chosen}
        for event in self._events(receipt):
            if isinstance(event, VoucherClaimed):
                self._count(of[event.channel_id], event.amount)

    def _claimed(self, chosen: Sequence[_Due]) -> Receipt:
        rows = []
        for due in chosen:
            # 65 bytes: x402's own contract knows no compact signatures.
            signature = wallet_signature(due.voucher.signature)
            rows.append((replace(due.voucher, signature=signature), due.total))
        return self.chain.claim_and_settle(self.account, rows)

    def _events(self, receipt: Receipt) -> Iterator[Event | None]:
        """What the contract of the channels has logged in a transaction."""
        contract = self.chain.deployment.address("PaymentChannels")
        for log in receipt["logs"]:
            if log.address == contract:
                yield decode_log(list(log.topics), log.data)

    def _count(self, due: _Due, amount: int) -> None:
        self.done[due.channel_id] = due
        self.amount += amount

    def result(self) -> Redeemed:
        return Redeemed(
            len(self.done),
            sum(due.queries for due in self.done.values()),
            self.amount,
            self.short,
            sum(receipt["gasUsed"] for receipt in self.receipts),
            tuple("0x" + receipt["transactionHash"].hex() for receipt in self.receipts),
            self.refused,
        )
