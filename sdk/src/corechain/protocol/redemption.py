"""Packed redemptions: vouchers of many channels as the fewest bytes. Pure.

A group holds what its channels share, a row the rest (docs/protocol.md, Packed redemption).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from corechain.protocol.channel import NOBODY, ChannelConfig
from corechain.protocol.errors import ProtocolError
from corechain.protocol.signature import compact_signature

BY_PAYER, BY_AUTHORIZER, BY_ACCOUNT = range(3)
AS_BOTH, AS_RECEIVER, AS_AUTHORIZER = range(3)
SHORT_SALT_BYTES = 8
COMPACT_BYTES = 64
MAX_GROUP_ROWS = 0xFFFF
CHANNEL_PREFIX_BYTES = 20


class MalformedRows(ProtocolError):
    """Packed rows that are not of the layout, or cannot be put into it."""


@dataclass(frozen=True, slots=True)
class Redemption:
    """A signed voucher as it is redeemed: terms of the channel, cumulative amount, signature."""

    config: ChannelConfig
    amount: int
    signature: bytes

    @property
    def kind(self) -> int:
        """Who has signed: decides the form of the row."""
        if self.config.payer_authorizer == NOBODY:
            return BY_ACCOUNT
        return BY_PAYER if self.config.payer_authorizer == self.config.payer else BY_AUTHORIZER

    @property
    def salt_bytes(self) -> int:
        return len(self.config.salt.lstrip(b"\0"))


@dataclass(frozen=True, slots=True)
class _Shared:
    """What makes a group. Sent in this order: one transfer for each payee and token."""

    receiver: bytes
    token: bytes
    receiver_authorizer: bytes
    withdraw_delay_s: int
    kind: int
    short_salt: bool


def _shared(row: Redemption) -> _Shared:
    config = row.config
    short = row.salt_bytes <= SHORT_SALT_BYTES
    return _Shared(
        config.receiver,
        config.token,
        config.receiver_authorizer,
        config.withdraw_delay_s,
        row.kind,
        short,
    )


def _role(shared: _Shared, caller: bytes) -> tuple[int, bytes]:
    """The caller's side of the receiver, and the other one."""
    if caller == shared.receiver == shared.receiver_authorizer:
        return AS_BOTH, b""
    if caller == shared.receiver:
        return AS_RECEIVER, shared.receiver_authorizer
    if caller == shared.receiver_authorizer:
        return AS_AUTHORIZER, shared.receiver
    raise MalformedRows(
        "the caller is on the receiver's side of every channel, or cannot redeem it"
    )


def _row(row: Redemption, salt_bytes: int, amount_bytes: int) -> bytes:
    config, signature = row.config, row.signature
    authorizer = config.payer_authorizer if row.kind == BY_AUTHORIZER else b""
    if row.kind == BY_ACCOUNT:
        signature = len(signature).to_bytes(2, "big") + signature
    else:
        signature = compact_signature(signature)
        if len(signature) != COMPACT_BYTES:
            raise MalformedRows(
                f"a key's signature has {COMPACT_BYTES} bytes, not {len(signature)}"
            )
    salt = config.salt[32 - salt_bytes :]
    return config.payer + authorizer + salt + row.amount.to_bytes(amount_bytes, "big") + signature


def _group(shared: _Shared, rows: Sequence[Redemption], caller: bytes) -> bytes:
    role, other = _role(shared, caller)
    salt_bytes = max(row.salt_bytes for row in rows)
    amount_bytes = max(1, *((row.amount.bit_length() + 7) // 8 for row in rows))
    head = bytes([shared.kind + 4 * role, salt_bytes, amount_bytes])
    head += len(rows).to_bytes(2, "big") + shared.withdraw_delay_s.to_bytes(3, "big")
    head += shared.token + other
    return head + b"".join(_row(row, salt_bytes, amount_bytes) for row in rows)


def pack_redemptions(rows: Iterable[Redemption], caller: bytes) -> bytes:
    """What follows the selector of `redeemGroupsBrief`, for a caller on the receiver's side.


    Keeps the order of the rows within a group; groups of one payee and token follow one another.
    Raises MalformedRows.
    """
    groups: dict[_Shared, list[Redemption]] = {}
    for row in rows:
        if not 0 < row.amount < 2**128:
            raise MalformedRows(f"{row.amount} is no amount of a voucher")
        groups.setdefault(_shared(row), []).append(row)
    ordered = sorted(groups, key=lambda shared: (shared.receiver, shared.token))
    return b"".join(
        _group(shared, groups[shared][start : start + MAX_GROUP_ROWS], caller)
        for shared in ordered
        for start in range(0, len(groups[shared]), MAX_GROUP_ROWS)
    )


def redeemed_totals(rows: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
    """(first 20 bytes of the channel id, total claimed) of each word of a RedeemedMany log."""
    for word in rows:
        yield word[:CHANNEL_PREFIX_BYTES], int.from_bytes(word[CHANNEL_PREFIX_BYTES:], "big")
