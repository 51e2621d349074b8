"""Fleets: many devices of one owner under one root. The list is in the log, the root in the state.

The tree is the plain positional one with four ids (80 bytes) to a leaf, the last leaf filled up
with zeros: a quarter of the hashing, for a proof of the same size.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from corechain.protocol.errors import InvalidProof, MalformedList, NotAscending
from corechain.protocol.hashing import Digest26, hash26
from corechain.protocol.keys import KeyType, device_id
from corechain.protocol.merkle import MerkleTree, root_from_proof
from corechain.protocol.reading import DeviceId

ID_BYTES, KEY_BYTES, NODE_BYTES = 20, 64, 26
IDS_A_LEAF = 4
LEAF_BYTES = IDS_A_LEAF * ID_BYTES
OTHER_IDS_BYTES = LEAF_BYTES - ID_BYTES
MAX_DEVICES = 4096
MAX_DEPTH = 10


def split(packed: bytes, size: int) -> list[bytes]:
    """Items of equal size. Raises MalformedList."""
    if not packed or len(packed) % size:
        raise MalformedList(f"{len(packed)} bytes are no list of items of {size} bytes")
    return [packed[i : i + size] for i in range(0, len(packed), size)]


def device_ids(packed: bytes) -> list[DeviceId]:
    """The devices of a `FleetEnrolled`. Raises MalformedList."""
    return [DeviceId(item) for item in split(packed, ID_BYTES)]


def published_keys(packed: bytes) -> list[tuple[DeviceId, bytes]]:
    """Id and public key of what a `KeysPublished` holds. Raises MalformedList."""
    return [(device_id(key), key) for key in split(packed, KEY_BYTES)]


def seal(top: bytes, owner: bytes, key_type: int) -> Digest26:
    """The root that names a fleet: its tree, its owner and its key type."""
    return hash26(top + owner + bytes([key_type]))


@dataclass(frozen=True, slots=True)
class Fleet:
    """A list of devices with its owner. Raises MalformedList, NotAscending."""

    owner: bytes
    key_type: KeyType
    devices: Sequence[DeviceId]
    tree: MerkleTree = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 < len(self.devices) <= MAX_DEVICES:
            raise MalformedList(f"{len(self.devices)} devices, not 1 to {MAX_DEVICES}")
        before = bytes(ID_BYTES)
        for device in self.devices:
            if len(device) != ID_BYTES or device <= before:
                raise NotAscending(f"0x{device.hex()} does not come after 0x{before.hex()}")
            before = device
        object.__setattr__(self, "tree", MerkleTree.over(self._leaves()))

    @classmethod
    def of(cls, owner: bytes, key_type: KeyType, devices: Iterable[DeviceId]) -> "Fleet":
        """In the order in which the contract wants them."""
        return cls(owner, key_type, tuple(sorted(devices)))

    @property
    def packed(self) -> bytes:
        """The ids as the contract takes them, and as the log has them."""
        return b"".join(self.devices)

    @property
    def root(self) -> Digest26:
        return seal(self.tree.root, self.owner, self.key_type)

    def _leaves(self) -> list[bytes]:
        packed = self.packed
        chunks = (packed[i : i + LEAF_BYTES] for i in range(0, len(packed), LEAF_BYTES))
        return [chunk.ljust(LEAF_BYTES, b"\0") for chunk in chunks]

    def position(self, device: DeviceId) -> int:
        """Raises ValueError for a device of another fleet."""
        return self.devices.index(device)

    def proof(self, position: int) -> bytes:
        """The three other ids of the leaf, then the siblings. Raises IndexError."""
        if not 0 <= position < len(self.devices):
            raise IndexError(f"position {position} of {len(self.devices)} devices")
        leaf, place = self._leaves()[position // IDS_A_LEAF], position % IDS_A_LEAF * ID_BYTES
        others = leaf[:place] + leaf[place + ID_BYTES :]
        return others + b"".join(self.tree.proof(position // IDS_A_LEAF))

    def listing(self, device: DeviceId) -> bytes:
        """What shows in a dispute that the fleet lists the device. Raises ValueError."""
        position = self.position(device)
        return self.root + position.to_bytes(2, "big") + self.proof(position)


def top_from_proof(device: bytes, position: int, proof: bytes) -> Digest26:
    """The top of the tree that a proof leads to. Raises InvalidProof."""
    siblings = proof[OTHER_IDS_BYTES:]
    depth, rest = divmod(len(siblings), NODE_BYTES)
    if not any(device) or len(proof) < OTHER_IDS_BYTES or rest or depth > MAX_DEPTH:
        raise InvalidProof(f"{len(proof)} bytes are no proof of 0x{device.hex()}")
    place = position % IDS_A_LEAF * ID_BYTES
    leaf = hash26(proof[:place] + device + proof[place:OTHER_IDS_BYTES])
    nodes = [siblings[i : i + NODE_BYTES] for i in range(0, len(siblings), NODE_BYTES)]
    return root_from_proof(leaf, position // IDS_A_LEAF, nodes)


def verify_member(
    fleet: bytes, owner: bytes, key_type: int, device: bytes, position: int, proof: bytes
) -> None:
    """Raises InvalidProof unless the device stands at that position of the fleet."""
    if seal(top_from_proof(device, position, proof), owner, key_type) != fleet:
        raise InvalidProof(f"0x{device.hex()} is not at position {position} of the fleet")
