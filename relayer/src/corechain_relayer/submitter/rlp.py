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
