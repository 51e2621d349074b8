"""The one accepted encoding of a signature: 64 bytes, low-s."""

from corechain.protocol.errors import HighS, InvalidSignature

SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_PARITY = 1 << 255


def compact_signature(signature: bytes) -> bytes:
    """EIP-2098 form of a 65-byte `r ‖ s ‖ v`; 64 bytes pass unchanged.

    Raises InvalidSignature for another v than 27 or 28 (EIP-155 values would be second encodings),
    HighS when s does not leave its top bit free.
    """
    if len(signature) != 65:
        return signature
    s, v = int.from_bytes(signature[32:64], "big"), signature[64]
    if v not in (27, 28):
        raise InvalidSignature(f"v is 27 or 28, not {v}")
    if s > SECP256K1_ORDER // 2:
        raise HighS("s is above half the curve order")
    return signature[:32] + (s | (_PARITY if v == 28 else 0)).to_bytes(32, "big")


def split_secp256k1(signature: bytes) -> tuple[int, int, int]:
    """(r, s, yParity) of a 64-byte EIP-2098 signature. Raises HighS."""
    word = int.from_bytes(signature[32:64], "big")
    s = word & (_PARITY - 1)
    if s > SECP256K1_ORDER // 2:
        raise HighS("s is above half the curve order")
    return int.from_bytes(signature[:32], "big"), s, word >> 255


def split_p256(signature: bytes) -> tuple[int, int]:
    """(r, s) of a 64-byte P-256 signature. Raises HighS."""
    s = int.from_bytes(signature[32:64], "big")
    if s > P256_ORDER // 2:
        raise HighS("s is above half the curve order")
    return int.from_bytes(signature[:32], "big"), s


def wallet_signature(signature: bytes) -> bytes:
    """The 65-byte `r ‖ s ‖ v` that most contracts take, from the 64-byte form."""
    r, s, parity = split_secp256k1(signature)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([27 + parity])
