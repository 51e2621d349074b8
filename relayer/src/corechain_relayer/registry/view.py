"""The registry as a fold over its events. Pure: no socket, no clock."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from corechain.protocol.errors import RevokedDevice, UnknownDevice
from corechain.protocol.events import (
    DeviceRegistered,
    DeviceRevoked,
    DeviceTransferred,
    Event,
)
from corechain.protocol.keys import DeviceIdentity, KeyType
from corechain.protocol.reading import DeviceId


@dataclass(frozen=True, slots=True)
class Device:
    """A registered device."""

    identity: DeviceIdentity
    owner: bytes
    revoked: bool = False


def _registered(event: DeviceRegistered) -> Device:
    key_type = KeyType(event.key_type)
    public_key = event.x + event.y if key_type is KeyType.P256 else None
    return Device(DeviceIdentity(DeviceId(event.device), key_type, public_key), event.owner)


@dataclass(slots=True)
class RegistryView:
    """Devices by id."""

    devices: dict[DeviceId, Device] = field(default_factory=dict)

    def apply(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, DeviceRegistered):
                self.devices[DeviceId(event.device)] = _registered(event)
            elif isinstance(event, DeviceTransferred):
                self._change(event.device, owner=event.after)
            elif isinstance(event, DeviceRevoked):
                self._change(event.device, revoked=True)

    def _change(self, device: bytes, **fields: object) -> None:
        known = self.devices[DeviceId(device)]
        self.devices[DeviceId(device)] = replace(known, **fields)  # type: ignore[arg-type]

    def identity(self, device: DeviceId) -> DeviceIdentity:
        """Of a device, revoked or not. Raises UnknownDevice."""
        known = self.devices.get(device)
        if known is None:
            raise UnknownDevice(device)
        return known.identity

    def active(self, device: DeviceId) -> DeviceIdentity:
        """Of a device that may send. Raises UnknownDevice, RevokedDevice."""
        known = self.devices.get(device)
        if known is None:
            raise UnknownDevice(device)
        if known.revoked:
            raise RevokedDevice(device)
        return known.identity

    def unknown(self, devices: Iterable[DeviceId]) -> bool:
        return any(device not in self.devices for device in devices)
