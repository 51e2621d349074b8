"""The registry view, with one more look at the chain when a device is unknown."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import structlog

from corechain.protocol.errors import Unavailable
from corechain.protocol.reading import DeviceId
from corechain.service.errors import NodeUnavailable, WrongNode
from corechain_relayer.following import Follower
from corechain_relayer.registry.view import RegistryView
from corechain_relayer.wiring import check_chain

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class RegistryFollower(Follower[RegistryView]):
    """`view` holds the devices. Nothing is read from a node of another chain than `chain_id`."""

    chain_id: int = field(kw_only=True)
    _is_right: bool = False

    async def refresh_for(self, devices: Iterable[DeviceId]) -> None:
        """Asks the node once more when one of the devices is unknown; an outage changes nothing."""
        if not self.view.unknown(devices):
            return
        try:
            await self.refresh_or_log()
        except WrongNode as error:
            log.error("registry not read", error=str(error))

    async def read_once(self) -> None:
        """Returns when the registry was read at some time. Raises NodeUnavailable, WrongNode."""
        if self.seen is None:
            await self.refresh_since(0.0)
        if self.seen is None:  # somebody else asked at the same moment, and failed
            raise NodeUnavailable("the registry has not been read yet")

    def require(self) -> None:
        """Raises Unavailable before the registry was read once: nobody is known then, and a device
        must not hear that it is unknown."""
        if self.seen is None:
            raise Unavailable("the registry has not been read yet: the node is away")

    async def _step(self) -> bool:
        # At start the node may be away, so the chain is asked for when it answers first.
        if not self._is_right:
            await check_chain(self.rpc, self.chain_id)
            self._is_right = True
        return await Follower._step(self)
