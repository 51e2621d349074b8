"""Device keys on two curves: secp256k1 (wallets) and P-256 (secure elements)."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Protocol

from coincurve import PrivateKey, PublicKey
from coincurve._libsecp256k1 import ffi as _libsecp256k1

from corechain.protocol.errors import InvalidSignature, InvalidValue
from corechain.protocol.hashing import keccak
from corechain.protocol.reading import DeviceId
from corechain.protocol.signature import (
    P256_ORDER,
    SECP256K1_ORDER,
    compact_signature,
    split_p256,
    split_secp256k1,
)
from corechain.protocol.values import octets

if TYPE_CHECKING:
    from corechain.protocol import p256


class KeyType(IntEnum):
    SECP256K1 = 1
    P256 = 2


def device_id(public_key: bytes) -> DeviceId:
    """The id of an uncompressed public key without its prefix (x ‖ y, 64 bytes)."""
    return DeviceId(keccak(public_key)[12:])


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """What a verifier needs. `public_key` (x ‖ y) is known for P-256, optional for secp256k1."""

    device: DeviceId
    key_type: KeyType
    public_key: bytes | None = None


class DeviceKey(Protocol):
    """A key that can sign for a device."""

    @property
    def identity(self) -> DeviceIdentity: ...

    def sign(self, digest: bytes) -> bytes: ...


def _secret(value: object, order: int) -> bytes:
    """Raises InvalidValue, which does not show it."""
    try:
        found = octets("secret", value, 32)
    except InvalidValue:
        found = bytes(32)
    if not 0 < int.from_bytes(found, "big") < order:
        right = "takes 32 bytes, or 0x and 64 hex digits, above zero and below the curve's order"
        raise InvalidValue("secret", "what is not shown", right)
    return found


@dataclass(frozen=True, slots=True)
class Secp256k1Key:
    """A secp256k1 device key, of 32 bytes or hex. Its repr shows the id, never the secret."""

    secret: bytes
    _made: PrivateKey | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "secret", _secret(self.secret, SECP256K1_ORDER))

    def __repr__(self) -> str:
        return f"Secp256k1Key(0x{self.identity.device.hex()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.secret,)  # what the library has made of it stays in this process

    def _private(self) -> PrivateKey:
        # Made once a key: it computes the public key, which takes twice as long as to sign.
        if self._made is None:
            object.__setattr__(self, "_made", PrivateKey(self.secret))
        assert self._made is not None
        return self._made

    @property
    def identity(self) -> DeviceIdentity:
        public = self._private().public_key.format(compressed=False)[1:]
        return DeviceIdentity(device_id(public), KeyType.SECP256K1, public)

    def sign(self, digest: bytes, entropy: bytes | None = None) -> bytes:
        """64 bytes, EIP-2098, low-s, deterministic (RFC 6979; `entropy`: 32 bytes for its §3.6)."""
        null = _libsecp256k1.NULL
        # coincurve has no other way to hand over RFC 6979's additional data than a C pointer.
        extra = null if entropy is None else _libsecp256k1.new("unsigned char [32]", entropy)
        nonce = (null, extra)
        recoverable = self._private().sign_recoverable(digest, hasher=None, custom_nonce=nonce)
        return compact_signature(recoverable[:64] + bytes([27 + recoverable[64]]))


@dataclass(frozen=True, slots=True)
class P256Key:
    """A P-256 device key, as a secure element holds it. Its repr shows the id, never the secret."""

    secret: bytes
    _made: "p256.PrivateKey | None" = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "secret", _secret(self.secret, P256_ORDER))

    def __repr__(self) -> str:
        return f"P256Key(0x{self.identity.device.hex()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.secret,)

    def _private(self) -> "p256.PrivateKey":
        from corechain.protocol.p256 import private_key

        if self._made is None:
            object.__setattr__(self, "_made", private_key(self.secret))
        assert self._made is not None
        return self._made

    @property
    def identity(self) -> DeviceIdentity:
        from corechain.protocol.p256 import public_key

        public = public_key(self._private())
        return DeviceIdentity(device_id(public), KeyType.P256, public)

    def sign(self, digest: bytes) -> bytes:
        """64 bytes r ‖ s, low-s, deterministic (RFC 6979)."""
        from corechain.protocol.p256 import sign

        return sign(self._private(), digest)


def _verify_p256(identity: DeviceIdentity, digest: bytes, signature: bytes) -> None:
    r, s = split_p256(signature)
    if identity.public_key is None or device_id(identity.public_key) != identity.device:
        raise InvalidSignature("the public key does not belong to the device")
    from corechain.protocol.p256 import verify as verify_p256

    verify_p256(identity.public_key, digest, r, s)


def recover_signer(digest: bytes, signature: bytes) -> DeviceId:
    """The address that made a 64-byte secp256k1 signature. Raises HighS, InvalidSignature."""
    _, _, parity = split_secp256k1(signature)
    # The bytes of r and s as they lie there: yParity is the highest bit of s.
    low = signature[32:33] if not parity else bytes([signature[32] & 0x7F])
    raw = signature[:32] + low + signature[33:64] + (b"\1" if parity else b"\0")
    try:
        public = PublicKey.from_signature_and_message(raw, digest, hasher=None)
    except ValueError as error:
        raise InvalidSignature("no key can have made this signature") from error
    return device_id(public.format(compressed=False)[1:])


def _verify_secp256k1(identity: DeviceIdentity, digest: bytes, signature: bytes) -> None:
    # Recovery, not verification with a cached key (8 us cheaper): only recovery looks at yParity
    # as the contract does, so that a report has exactly one valid encoding.
    if recover_signer(digest, signature) != identity.device:
        raise InvalidSignature("signed by another key than the device's")


def verify(identity: DeviceIdentity, digest: bytes, signature: bytes) -> None:
    """Checks a device's 64-byte signature. Raises HighS or InvalidSignature."""
    if identity.key_type is KeyType.P256:
        _verify_p256(identity, digest, signature)
    else:
        _verify_secp256k1(identity, digest, signature)
