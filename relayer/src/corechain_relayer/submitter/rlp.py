"""Recursive length prefix, as the yellow paper defines it in appendix B: how transactions are
written. Only writing: nothing here reads what others send.

Of its own, and not eth-account's, because that imports a tenth of a second of CPU of other things
(key files, mnemonics, a parser of ABI types) into each process of the relayer.
"""

from collections.abc import Sequence
from typing import TypeAlias

Item: TypeAlias = bytes | int | Sequence["Item"]
SHORT = 55
"""The longest payload whose length fits into the first byte."""
BYTES, LIST = 0x80, 0xC0


def _prefixed(kind: int, payload: bytes) -> bytes:
    size = len(payload)
    if size <= SHORT:
        return bytes([kind + size]) + payload
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([kind + SHORT + len(length)]) + length + payload


def rlp(item: Item) -> bytes:
    """Numbers, which must not be negative, without leading zeros: 0 is the empty string."""
    if isinstance(item, int):
        item = item.to_bytes((item.bit_length() + 7) // 8, "big")
    if not isinstance(item, bytes):
        return _prefixed(LIST, b"".join(map(rlp, item)))
    if len(item) == 1 and item[0] < BYTES:
        return item
    return _prefixed(BYTES, item)


def gas_limit(raw: bytes) -> int:
    """Of a signed transaction with a priority fee (EIP-1559): the fifth of its fields."""
    at = 1 + _head(raw, 1)[0]
    for _ in range(4):
        size, length = _head(raw, at)
        at += size + length
    size, length = _head(raw, at)
    return int.from_bytes(raw[at + size : at + size + length], "big")


def _head(raw: bytes, at: int) -> tuple[int, int]:
    """Bytes of an item's length, and of the item behind them (a byte below 128 is itself)."""
    first = raw[at]
    if first < 0x80:
        return 0, 1
    short = 0x80 if first < 0xC0 else 0xC0
    if first - short <= SHORT:
        return 1, first - short
    size = first - short - SHORT
    return 1 + size, int.from_bytes(raw[at + 1 : at + 1 + size], "big")
