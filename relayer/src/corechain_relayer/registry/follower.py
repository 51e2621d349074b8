"""The registry view, with one more look at the chain when a device is unknown."""

from collections.abc import Iterable

from corechain.protocol.reading import DeviceId
from corechain_relayer.following import Follower
from corechain_relayer.registry.view import RegistryView


class RegistryFollower(Follower[RegistryView]):
    """`view` holds the devices."""

    async def refresh_for(self, devices: Iterable[DeviceId]) -> None:
        """Asks the node once more when one of the devices is unknown; an outage changes nothing."""
        if self.view.unknown(devices):
            await self.refresh_or_log()
