"""The registry as a fold over its events. Pure: no socket, no clock."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import filterfalse

from corechain.protocol.errors import RevokedDevice, UnknownDevice
from corechain.protocol.events import (
    DeviceMaterialised,
    DeviceRegistered,
    DeviceRevoked,
    DeviceTransferred,
    Event,
    FleetEnrolled,
    KeysPublished,
)
from corechain.protocol.fleet import device_ids, published_keys
from corechain.protocol.keys import DeviceIdentity, KeyType
from corechain.protocol.reading import DeviceId


@dataclass(frozen=True, slots=True)
class Device:
    """A registered device, or one of an enrolled fleet."""

    identity: DeviceIdentity
    owner: bytes
    revoked: bool = False

    @property
    def is_verifiable(self) -> bool:
        """A fleet's list holds ids: a secure element's key has to be published before it counts."""
        is_named = self.identity.public_key is not None
        return is_named or self.identity.key_type is KeyType.SECP256K1


def _registered(event: DeviceRegistered) -> Device:
    key_type = KeyType(event.key_type)
    public_key = event.x + event.y if key_type is KeyType.P256 else None
    return Device(DeviceIdentity(DeviceId(event.device), key_type, public_key), event.owner)


@dataclass(slots=True)
class RegistryView:
    """Devices by id, and the fleets that list them by root."""

    devices: dict[DeviceId, Device] = field(default_factory=dict)
    fleets: dict[bytes, FleetEnrolled] = field(default_factory=dict)
    senders: dict[DeviceId, DeviceIdentity] = field(default_factory=dict, init=False)
    """Of those devices that may send (`active`): a frame asks for all of its devices at once."""
    identities: dict[DeviceId, DeviceIdentity] = field(default_factory=dict, init=False)
    """Of those whose signatures can be checked, revoked or not (`identity`)."""
    revoked_at: dict[DeviceId, int] = field(default_factory=dict, init=False)
    """Seconds of chain time."""

    def __post_init__(self) -> None:
        for known in self.devices.values():
            self._put(known)

    def __deepcopy__(self, memo: object) -> "RegistryView":
        """What the dictionaries hold is frozen: 50,000 devices are copied in a millisecond."""
        copied = RegistryView()
        copied.devices, copied.fleets = dict(self.devices), dict(self.fleets)
        copied.senders, copied.identities = dict(self.senders), dict(self.identities)
        copied.revoked_at = dict(self.revoked_at)
        return copied

    def apply(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, DeviceRegistered):
                self._put(_registered(event))
            elif isinstance(event, FleetEnrolled):
                self._enrol(event)
            elif isinstance(event, DeviceMaterialised):
                self._materialise(event)
            elif isinstance(event, KeysPublished):
                self._learn_keys(event)
            elif isinstance(event, DeviceTransferred):
                self._change(event.device, owner=event.after)
            elif isinstance(event, DeviceRevoked):
                self._change(event.device, revoked=True)
                self.revoked_at[DeviceId(event.device)] = event.revoked_at

    def _enrol(self, event: FleetEnrolled) -> None:
        # What a device has already, by its own word or an earlier fleet's, counts before this.
        key_type = KeyType(event.key_type)
        self.fleets[event.fleet] = event
        for device in device_ids(event.ids):
            if device not in self.devices:
                self._put(Device(DeviceIdentity(device, key_type), event.owner))

    def _materialise(self, event: DeviceMaterialised) -> None:
        # Of two fleets with one device the one that was materialised counts: it may be the later.
        device, key_type = DeviceId(event.device), KeyType(event.key_type)
        known = self.devices[device].identity
        public_key = known.public_key if key_type is KeyType.P256 else None
        identity = DeviceIdentity(device, key_type, public_key)
        self._put(Device(identity, event.owner))

    def _learn_keys(self, event: KeysPublished) -> None:
        for device, public_key in published_keys(event.keys):
            self.learn_key(device, public_key)

    def learn_key(self, device: DeviceId, public_key: bytes) -> None:
        """Of its id: anyone may publish keys, and only those of known devices are kept."""
        known = self.devices.get(device)
        if known is not None and known.identity.key_type is KeyType.P256:
            self._change(device, identity=replace(known.identity, public_key=public_key))

    def _change(self, device: bytes, **fields: object) -> None:
        known = self.devices[DeviceId(device)]
        self._put(replace(known, **fields))  # type: ignore[arg-type]

    def _put(self, found: Device) -> None:
        device = found.identity.device
        self.devices[device] = found
        _keep_if(found.is_verifiable, self.identities, found.identity)
        _keep_if(found.is_verifiable and not found.revoked, self.senders, found.identity)

    def identity(self, device: DeviceId) -> DeviceIdentity:
        """Of a device, revoked or not. Raises UnknownDevice."""
        return self._known(device).identity

    def active(self, device: DeviceId) -> DeviceIdentity:
        """Of a device that may send. Raises UnknownDevice, RevokedDevice."""
        known = self._known(device)
        if known.revoked:
            raise RevokedDevice(device)
        return known.identity

    def _known(self, device: DeviceId) -> Device:
        known = self.devices.get(device)
        if known is None or not known.is_verifiable:
            raise UnknownDevice(device)
        return known

    def unknown(self, devices: Iterable[DeviceId]) -> bool:
        others = filterfalse(self.senders.__contains__, devices)  # nearly always none
        found = map(self.devices.get, others)
        return any(known is None or not known.is_verifiable for known in found)


def _keep_if(wanted: bool, kept: dict[DeviceId, DeviceIdentity], identity: DeviceIdentity) -> None:
    if wanted:
        kept[identity.device] = identity
    else:
        kept.pop(identity.device, None)
