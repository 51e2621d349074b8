"""Keys of a fleet: each follows from the fleet's name and the device's number."""

from functools import lru_cache

from corechain.protocol.fleet import MAX_DEVICES as MAX_ENROLLED
from corechain.protocol.fleet import Fleet
from corechain.protocol.hashing import keccak
from corechain.protocol.keys import DeviceIdentity, DeviceKey, KeyType, P256Key, Secp256k1Key
from corechain.protocol.reading import DeviceId

_PURPOSE = b"CoreChain fleet of test devices"


def secret_of(name: str, number: int) -> bytes:
    """Anybody can compute it: such a device proves nothing but that the network works."""
    return keccak(_PURPOSE + keccak(name.encode()) + number.to_bytes(8, "big"))


# As many as the devices of one task of `signing`; it goes through them again at each sequence, and
# a key keeps what is computed from its secret: a signature takes 27 µs instead of 69.
@lru_cache(maxsize=16_384)
def fleet_key(name: str, number: int, key_type: KeyType = KeyType.SECP256K1) -> DeviceKey:
    """The key of one device of the fleet called `name`."""
    secret = secret_of(name, number)
    return P256Key(secret) if key_type is KeyType.P256 else Secp256k1Key(secret)


def identities(name: str, first: int, end: int, key_type: KeyType) -> list[DeviceIdentity]:
    return [fleet_key(name, number, key_type).identity for number in range(first, end)]


def enrolments(owner: bytes, key_type: KeyType, devices: list[DeviceId]) -> list[Fleet]:
    """The fleets, as the registry takes them, that these devices make."""
    parts = range(0, len(devices), MAX_ENROLLED)
    return [Fleet.of(owner, key_type, devices[i : i + MAX_ENROLLED]) for i in parts]
