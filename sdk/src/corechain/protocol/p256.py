"""The curve P-256, by OpenSSL. `corechain.protocol.keys` loads it for the first key or signature on
it: most programs never meet one, and the library takes a tenth of an import of the client."""

from functools import lru_cache

from cryptography.exceptions import InvalidSignature as _Refused
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256

from corechain.protocol.errors import InvalidSignature
from corechain.protocol.signature import P256_ORDER

PrivateKey = ec.EllipticCurvePrivateKey
# The digest is keccak-256; SHA-256 only tells the library that 32 bytes were hashed elsewhere.
_PREHASHED = ec.ECDSA(Prehashed(SHA256()))
_DETERMINISTIC = ec.ECDSA(Prehashed(SHA256()), deterministic_signing=True)


def private_key(secret: bytes) -> PrivateKey:
    """Of 32 bytes above zero and below the curve's order."""
    return ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())


def public_key(private: PrivateKey) -> bytes:
    """x ‖ y, 64 bytes."""
    numbers = private.public_key().public_numbers()
    return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def sign(private: PrivateKey, digest: bytes) -> bytes:
    """64 bytes r ‖ s, low-s, deterministic (RFC 6979)."""
    r, s = decode_dss_signature(private.sign(digest, _DETERMINISTIC))
    return r.to_bytes(32, "big") + min(s, P256_ORDER - s).to_bytes(32, "big")


@lru_cache(maxsize=65_536)
def _key(public: bytes) -> ec.EllipticCurvePublicKey:
    x, y = int.from_bytes(public[:32], "big"), int.from_bytes(public[32:], "big")
    try:
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except ValueError as error:
        raise InvalidSignature("the public key is not on the P-256 curve") from error


def verify(public: bytes, digest: bytes, r: int, s: int) -> None:
    """Raises InvalidSignature."""
    try:
        _key(public).verify(encode_dss_signature(r, s), digest, _PREHASHED)
    except (_Refused, ValueError) as error:
        raise InvalidSignature("the P-256 signature does not verify") from error
