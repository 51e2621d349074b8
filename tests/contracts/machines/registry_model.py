"""What the registry of devices must do, in Python only: the oracle of DeviceRegistry.

Everybody has a name here; no hash, key or ABI. The machine's chain has no P-256: what was signed on
that curve is then nobody's signature.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from support.evm import Refused

SECP256K1, P256 = 1, 2
NOBODY = "nobody"
SECURE = "device with a secure element"
"""The only device whose public key on P-256 is ever shown."""


@dataclass
class Device:
    """A slot. `transfers` counts every one in its life."""

    owner: str
    key_type: int
    registered_at: int
    revoked_at: int = 0
    transfers: int = 0


@dataclass(frozen=True, slots=True)
class Fleet:
    owner: str
    key_type: int
    devices: tuple[str, ...]

    def __deepcopy__(self, memo: object) -> "Fleet":
        return self

    @property
    def name(self) -> str:
        return f"fleet of {self.owner}, {self.key_type}: {self.devices}"


@dataclass
class RegistryModel:
    admin: str
    now: int
    order: Sequence[str]
    """All devices as their ids ascend."""
    candidate: str = NOBODY
    enrollers: set[str] = field(default_factory=set)
    devices: dict[str, Device] = field(default_factory=dict)
    fleets: dict[Fleet, int] = field(default_factory=dict)
    """Fleet → second of its enrolment."""

    # ---------------------------------------------------------------------------- a slot of its own

    def register(self, device: str, owner: str, key_type: int, hand: str) -> None:
        if key_type not in (SECP256K1, P256):
            raise Refused("UnknownKeyType", key_type)
        self._require_hand(device, key_type, hand)
        self._register(device, owner, key_type)

    def activate(self, device: str, owner: str) -> None:
        self._register(device, owner, SECP256K1)

    def rotate(self, sender: str, old: str, new: str, hand: str) -> None:
        self._require_hand(new, SECP256K1, hand)
        self.revoke(sender, old)
        self._register(new, sender, SECP256K1)

    def _register(self, device: str, owner: str, key_type: int) -> None:
        if owner == NOBODY:
            raise Refused("ZeroOwner")
        if device in self.devices:
            raise Refused("AlreadyRegistered", device)
        self.devices[device] = Device(owner, key_type, self.now)

    def _require_hand(self, device: str, key_type: int, hand: str) -> None:
        if key_type == P256 and device != SECURE:
            raise Refused("KeyMismatch", device, SECURE)
        if key_type == P256 or hand != device:
            raise Refused("InvalidSignature")

    # ------------------------------------------------------------------------------- life of a slot

    def transfer(self, sender: str, device: str, to: str) -> None:
        self._require_owner(sender, device)
        self._transfer(device, to)

    def transfer_signed(
        self, sender: str, device: str, to: str, deadline: int, nonce: int, hands: Sequence[str]
    ) -> None:
        if self.now > deadline:
            raise Refused("TransferExpired", deadline, self.now)
        found = self.active(device)
        right = nonce == found.transfers
        self._require_hand(device, found.key_type, hands[0] if right else NOBODY)
        if sender != found.owner and not (right and hands[1] == found.owner):
            raise Refused("InvalidSignature")
        self._transfer(device, to)

    def _transfer(self, device: str, to: str) -> None:
        if to == NOBODY:
            raise Refused("ZeroOwner")
        self.devices[device].owner = to
        self.devices[device].transfers += 1

    def revoke(self, sender: str, device: str) -> None:
        self._require_owner(sender, device)
        self.active(device).revoked_at = self.now

    def report(self, device: str, hand: str) -> None:
        self._require_hand(device, self.active(device).key_type, hand)

    def active(self, device: str) -> Device:
        found = self._known(device)
        if found.revoked_at:
            raise Refused("RevokedDevice", device)
        return found

    def _known(self, device: str) -> Device:
        if device not in self.devices:
            raise Refused("UnknownDevice", device)
        return self.devices[device]

    def _require_owner(self, sender: str, device: str) -> None:
        owner = self._known(device).owner
        if sender != owner:
            raise Refused("NotOwner", owner, sender)

    # --------------------------------------------------------------------------------------- fleets

    def enrol(self, sender: str, fleet: Fleet) -> None:
        if sender not in self.enrollers:
            raise Refused("NotEnroller", sender)
        if fleet.owner == NOBODY:
            raise Refused("ZeroOwner")
        if fleet.key_type not in (SECP256K1, P256):
            raise Refused("UnknownKeyType", fleet.key_type)
        if not fleet.devices:
            raise Refused("MalformedList", 0)
        places = [self.order.index(device) for device in fleet.devices]
        if places != sorted(set(places)):
            raise Refused("NotAscending")
        if fleet in self.fleets:
            raise Refused("AlreadyEnrolled", fleet.name)
        self.fleets[fleet] = self.now

    def materialise(self, fleet: Fleet, device: str, proven: bool) -> None:
        if fleet not in self.fleets:
            raise Refused("UnknownFleet", fleet.name)
        if not proven:
            raise Refused("InvalidProof")
        if device in self.devices:
            raise Refused("AlreadyRegistered", device)
        self.devices[device] = Device(fleet.owner, fleet.key_type, self.fleets[fleet])

    # ---------------------------------------------------------------------------------------- roles

    def set_enroller(self, sender: str, who: str, allowed: bool) -> None:
        self._require_admin(sender)
        (self.enrollers.add if allowed else self.enrollers.discard)(who)

    def offer_admin(self, sender: str, candidate: str) -> None:
        self._require_admin(sender)
        self.candidate = candidate

    def accept_admin(self, sender: str) -> None:
        if sender != self.candidate:
            raise Refused("NotAdmin", self.candidate, sender)
        self.admin, self.candidate = sender, NOBODY

    def _require_admin(self, sender: str) -> None:
        if sender != self.admin:
            raise Refused("NotAdmin", self.admin, sender)
