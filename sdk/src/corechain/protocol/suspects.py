"""What a search for frauds looks at: a batch, where it stands, what the registry says. Pure.

Facts come from outside: whoever searches asks the chain. What is missing here accuses nobody.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from corechain.protocol.archive import Place, Revealed
from corechain.protocol.eip712 import Domain
from corechain.protocol.evidence import Dossier, Evidence, Fragments, Fraud, Witness
from corechain.protocol.fleet import Fleet
from corechain.protocol.keys import DeviceIdentity, KeyType
from corechain.protocol.reading import DeviceId


class Slot(NamedTuple):
    """A device's slot of the registry. Seconds; zeros: there is none, it was not revoked."""

    key_type: int = 0
    registered_at: int = 0
    revoked_at: int = 0


NO_SLOT = Slot()


class Listing(NamedTuple):
    """A fleet that lists a device, and the second it was enrolled in."""

    fleet: Fleet
    enrolled_at: int


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What registry and published keys say of a device. `public_key` hashes to its id, or is None
    where nobody knows it."""

    slot: Slot = NO_SLOT
    listings: Sequence[Listing] = ()
    public_key: bytes | None = None

    def signers_at(self, device: DeviceId, time: int) -> "list[Signer]":
        """Who may sign for the device as of a second: by its slot if that is of no later date, else
        by each fleet of no later date (DeviceEvidence.sol). Nobody: it was not registered."""
        registered = self.slot.registered_at
        if registered and registered <= time:
            return [self._signer(device, self.slot.key_type, None)]
        listed = (one.fleet for one in self.listings if one.enrolled_at <= time)
        return [self._signer(device, fleet.key_type, fleet) for fleet in listed]

    def _signer(self, device: DeviceId, key_type: int, fleet: Fleet | None) -> "Signer":
        return Signer(DeviceIdentity(device, KeyType(key_type), self.public_key), fleet)


class Signer(NamedTuple):
    """A device's key, and the fleet that has to be shown for it."""

    identity: DeviceIdentity
    fleet: Fleet | None

    @property
    def is_verifiable(self) -> bool:
        """Whether anybody can check its signatures: on P-256 only with the key."""
        on_p256 = self.identity.key_type is KeyType.P256
        return not on_p256 or self.identity.public_key is not None


class Standing(NamedTuple):
    """A commitment on chain: under which id, where, and in which second."""

    batch_id: int
    commitment: bytes
    place: Place
    committed_at: int


@dataclass(frozen=True, slots=True)
class Suspect:
    """A batch that a search looks at. `dossier.header` is what the commitment covers."""

    standing: Standing
    dossier: Dossier | Fragments
    domain: Domain
    devices: Mapping[DeviceId, DeviceFacts] = field(default_factory=dict)
    """Of those that its reports name. One that is not in here was never registered."""

    def witness(self) -> Witness:
        """Of this batch, in a dispute about another one."""
        number, _, place, _ = self.standing
        return Witness(number, self.dossier.revealed, place)


class Neighbour(NamedTuple):
    """Another batch of the same lane and the same bond that stands on chain."""

    standing: Standing
    revealed: Revealed

    def witness(self) -> Witness:
        return Witness(self.standing.batch_id, self.revealed, self.standing.place)


@dataclass(frozen=True, slots=True)
class Lane:
    """What is known of a lane under its bond: the headers of its batches. By batch id; of a batch
    that was committed twice, all."""

    neighbours: Mapping[int, Sequence[Neighbour]] = field(default_factory=dict)
    headers: Mapping[bytes, Revealed] = field(default_factory=dict)
    """By commitment: also of batches whose word in the ring was written over."""

    @property
    def newest(self) -> int:
        return max(self.neighbours, default=0)


class Accusation(NamedTuple):
    """A fraud with what shows it, as `challenge` takes it."""

    fraud: Fraud
    evidence: Evidence
