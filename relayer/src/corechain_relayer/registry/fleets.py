"""Which fleets list a device, asked for thousands of devices at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from corechain.protocol.fleet import Fleet, device_ids
from corechain.protocol.keys import KeyType
from corechain.protocol.reading import DeviceId
from corechain_relayer.registry.view import RegistryView


@dataclass(slots=True)
class Fleets:
    """Each list, of 4,096 devices at most, is read and hashed once: for every device anew that
    takes 20 ms where there are 50,000."""

    _by_device: dict[DeviceId, list[Fleet]] = field(default_factory=dict)
    _read: set[bytes] = field(default_factory=set)

    def read(self, view: RegistryView) -> None:
        """Up to what the logs tell; all anew where a reorg has taken a fleet."""
        if not self._read <= view.fleets.keys():
            self._by_device, self._read = {}, set()
        for root in [one for one in view.fleets if one not in self._read]:
            event = view.fleets[root]
            ids = tuple(device_ids(event.ids))
            fleet = Fleet(event.owner, KeyType(event.key_type), ids)
            for device in ids:
                self._by_device.setdefault(device, []).append(fleet)
            self._read.add(root)

    def of(self, device: DeviceId) -> Sequence[Fleet]:
        """By whomever and whenever they were enrolled, in the order of the log."""
        return self._by_device.get(device, ())
