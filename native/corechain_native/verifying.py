"""Signatures of whole frames."""

from collections.abc import Sequence
from os import urandom
from typing import Any

from corechain_native._native import ffi, lib

VALID, INVALID, LEARNED, UNJUDGED = (
    int(lib.CORECHAIN_VALID),
    int(lib.CORECHAIN_INVALID),
    int(lib.CORECHAIN_LEARNED),
    int(lib.CORECHAIN_UNJUDGED),
)
UNKNOWN_KEY = bytes(64)


def _octets(buffer: bytes | bytearray) -> Any:
    """Without a copy."""
    return ffi.from_buffer("uint8_t[]", buffer)


def verify_frame(
    packed: bytes,
    starts: Any,
    separator: bytes,
    devices: Sequence[bytes],
    curves: bytes,
    keys: bytearray,
) -> tuple[bytes, bytes]:
    """(verdicts, digests): one byte and 32 bytes a report.

    `starts` is a buffer of count + 1 unsigned 32-bit offsets into `packed`. `devices` (20 bytes
    each) are whose keys must have signed; `curves` 1 for secp256k1, others are UNJUDGED. `keys`
    (64 bytes a report, zeros where unknown) gets the keys of those that are LEARNED. The random
    factors are drawn here, after the frame has come. Raises ValueError, MemoryError.
    """
    count = len(curves)
    separator, joined = bytes(separator), b"".join(devices)
    if len(joined) != 20 * count or len(keys) != 64 * count or len(separator) != 32:
        raise ValueError("each report has a device of 20 bytes, a curve and a key of 64 bytes")
    offsets = ffi.from_buffer("uint32_t[]", starts)
    if len(offsets) != count + 1:
        raise ValueError("the offsets are one more than the reports")
    verdicts, digests = bytearray(count), bytearray(32 * count)
    failed = lib.corechain_verify_frame(
        _octets(packed), len(packed), offsets, count, separator, joined, curves, _octets(keys),
        urandom(16 * count + 40), _octets(digests), _octets(verdicts),
    )  # fmt: skip
    if failed == -1:
        raise ValueError("the offsets do not fit the packed reports")
    if failed:
        raise MemoryError("no memory to verify a frame")
    return bytes(verdicts), bytes(digests)
