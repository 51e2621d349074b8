"""What the registry says of the devices of a batch, as the judge would hear it."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from corechain.deployment import Deployment
from corechain.protocol.eip712 import address_word
from corechain.protocol.evidence import Demand
from corechain.protocol.findings import device_of, is_canonical
from corechain.protocol.fleet import KEY_BYTES
from corechain.protocol.inquiry import Answer
from corechain.protocol.keys import DeviceIdentity, KeyType, device_id
from corechain.protocol.reading import DeviceId
from corechain.protocol.suspects import DeviceFacts, Listing, Slot
from corechain.service.errors import NodeBehind
from corechain.service.rpc import Call, Questions, to_hex
from corechain_relayer.calldata import selector
from corechain_relayer.challenger.calls import words_of
from corechain_relayer.registry.fleets import Fleets
from corechain_relayer.registry.view import RegistryView

WITHOUT_S = 60.0
"""So long nobody asks again whether a device of a fleet has a slot: a batch may have thousands."""
DEVICE_OF, FLEET_OF = selector("deviceOf(address)"), selector("fleetOf(bytes26)")


@dataclass(slots=True)
class Facts:
    """Asks the contract, whose word counts, and remembers what can change no more: a slot's date
    and key type. Raises NodeUnavailable, NodeRefused; NodeBehind where it knows less than the logs:
    another node has answered, and what it has not seen is no verdict."""

    rpc: Questions
    deployment: Deployment
    _slots: dict[DeviceId, Slot] = field(default_factory=dict)
    _enrolled: dict[bytes, int] = field(default_factory=dict)
    _fleets: Fleets = field(default_factory=Fleets)
    _without: dict[DeviceId, float] = field(default_factory=dict)
    """When a device of a fleet was last told to have no slot of its own (monotonic seconds)."""

    async def of_batch(
        self,
        reports: Iterable[bytes],
        committed_at: int,
        view: RegistryView,
        named: Mapping[DeviceId, DeviceIdentity],
    ) -> dict[DeviceId, DeviceFacts]:
        """Of all devices that its reports name. `named`: keys as its data file and answers have
        them."""
        devices = {device_of(report) for report in reports if is_canonical(report)}
        await self._learn(devices, view)
        found = {}
        for device in devices:
            slot = self._slots.get(device, Slot())
            early = 0 < slot.registered_at <= committed_at
            # A slot of its own time counts before any fleet: then nobody has to look for one.
            listings = [] if early else await self._listings(device)
            found[device] = DeviceFacts(slot, listings, _key(device, view, named))
        return found

    async def _learn(self, devices: Iterable[DeviceId], view: RegistryView) -> None:
        self._fleets.read(view)
        asked = [device for device in devices if self._is_news(device, view)]
        calls = [self._call(DEVICE_OF + address_word(device)) for device in asked]
        for device, raw in zip(asked, await self.rpc.call_all(calls), strict=True):
            _, *slot = words_of(raw, 4)
            self._slots[device] = self._require_told(device, Slot(*slot), view)
            if not self._slots[device].registered_at:
                self._without[device] = time.monotonic()

    def forget(self) -> None:
        """A reorg may have changed all of it."""
        self._slots.clear()
        self._enrolled.clear()
        self._without.clear()

    def _is_news(self, device: DeviceId, view: RegistryView) -> bool:
        slot, known = self._slots.get(device), view.devices.get(device)
        if slot is None or (known is not None and known.revoked and not slot.revoked_at):
            return True
        if slot.registered_at:
            return False
        # Its fleet answers for it: with or without a slot it is judged alike, if not revoked.
        asked_at = self._without.get(device, -inf)
        return not self._fleets.of(device) or time.monotonic() > asked_at + WITHOUT_S

    def _require_told(self, device: DeviceId, slot: Slot, view: RegistryView) -> Slot:
        """Raises NodeBehind for a slot that lacks what the logs tell of it. One of a fleet has
        none."""
        known = view.devices.get(device)
        if known is not None:
            lacks_all = not slot.registered_at and not self._fleets.of(device)
            if lacks_all or (known.revoked and not slot.revoked_at):
                raise NodeBehind(f"device 0x{device.hex()} is in the logs, and its slot is older")
        return slot

    async def _listings(self, device: DeviceId) -> list[Listing]:
        found = []
        for fleet in self._fleets.of(device):
            if fleet.root not in self._enrolled:
                (raw,) = await self.rpc.call_all([self._call(FLEET_OF + fleet.root + bytes(6))])
                _, enrolled_at, _ = words_of(raw, 3)
                if not enrolled_at:
                    raise NodeBehind(f"fleet 0x{fleet.root.hex()} is in the logs, and not on chain")
                self._enrolled[fleet.root] = enrolled_at
            found.append(Listing(fleet, self._enrolled[fleet.root]))
        return found

    def _call(self, data: bytes) -> Call:
        registry = to_hex(self.deployment.address("DeviceRegistry"))
        return Call("eth_call", ({"to": registry, "data": to_hex(data)}, "latest"))


def told_in(answers: Sequence[Answer]) -> dict[DeviceId, DeviceIdentity]:
    """Devices whose key an answer has shown: on P-256 nobody may have known it before."""
    keys = [one.evidence.extra[:KEY_BYTES] for one in answers if one.kind is Demand.REGISTRATION]
    found = [(device_id(key), key) for key in keys if len(key) == KEY_BYTES]
    return {device: DeviceIdentity(device, KeyType.P256, key) for device, key in found}


def _key(
    device: DeviceId, view: RegistryView, named: Mapping[DeviceId, DeviceIdentity]
) -> bytes | None:
    """A public key that hashes to the id, whoever knows it."""
    known = view.devices.get(device)
    if known is not None and known.identity.public_key is not None:
        return known.identity.public_key
    return named[device].public_key if device in named else None
