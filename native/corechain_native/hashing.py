"""keccak-256."""

from corechain_native._native import ffi, lib


def keccak256(data: bytes) -> bytes:
    """32 bytes; the hash of Ethereum (padding 0x01, not SHA-3's 0x06)."""
    digest = ffi.new("uint8_t[32]")
    lib.corechain_keccak256(data, len(data), digest)
    return bytes(digest)
