"""keccak-256 and its 208-bit form. Everything that is hashed in the protocol goes through here."""

from collections.abc import Callable
from typing import NewType

import sha3

Digest26 = NewType("Digest26", bytes)
"""First 26 bytes of a keccak-256 digest: 104-bit collision resistance; one word with a batch id."""

DIGEST_BYTES = 26
ZERO26 = Digest26(bytes(DIGEST_BYTES))


def _pysha3(data: bytes) -> bytes:
    return bytes(sha3.keccak_256(data).digest())


def _fastest() -> Callable[[bytes], bytes]:
    """tiny-keccak halves the cost of a tree, but it is a young package: used if it agrees."""
    try:
        from tiny_keccak import keccak256
    except ImportError:
        return _pysha3
    probes = (b"", b"\x00" * 52, bytes(range(136)), bytes(range(200)))
    agrees = all(bytes(keccak256(probe)) == _pysha3(probe) for probe in probes)
    return keccak256 if agrees else _pysha3


keccak: Callable[[bytes], bytes] = _fastest()


def hash26(data: bytes) -> Digest26:
    return Digest26(keccak(data)[:26])
