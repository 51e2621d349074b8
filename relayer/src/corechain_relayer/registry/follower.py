"""The registry view, with one more look at the chain when a device is unknown."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import filterfalse

import structlog

from corechain.protocol.errors import Unavailable
from corechain.protocol.keys import DeviceIdentity, device_id
from corechain.protocol.reading import DeviceId
from corechain.service.errors import NodeRefused, NodeUnavailable, WrongNode
from corechain.service.rpc import Log
from corechain_relayer.following import Follower
from corechain_relayer.registry.view import RegistryView
from corechain_relayer.wiring import check_chain

log = structlog.get_logger(__name__)

ANY_TYPE = 0
"""As a key type that is wanted: whichever it has."""
CANNOT_ASK = "the chain cannot be asked now whether the device is registered: the node is away"
"""Said to strangers, so without the cause: that is in the log, and in `/ready`."""


@dataclass(slots=True)
class RegistryFollower(Follower[RegistryView]):
    """`view` holds the devices. Nothing is read from a node of another chain than `chain_id`."""

    chain_id: int = field(kw_only=True)
    _is_right: bool = False
    _introduced: dict[DeviceId, bytes] = field(default_factory=dict)
    """Keys that no log of the registry has, for views that are made anew: a reorg, a restart of the
    node. As many as there are demands for reports of such devices."""

    def introduce(self, keys: Mapping[DeviceId, bytes]) -> None:
        """Keys (x ‖ y) of devices on P-256 that somebody else has shown; those that do not hash to
        their device are passed over."""
        good = {device: key for device, key in keys.items() if device_id(key) == device}
        self._introduced |= good
        for view in (self.view, self._fold.newest, self._fold.settled):
            _teach(view, good)

    def fold(self, view: RegistryView, logs: Sequence[Log]) -> None:
        Follower.fold(self, view, logs)
        _teach(view, self._introduced)

    async def refresh_for(self, devices: Iterable[DeviceId]) -> None:
        """Asks the node once more when one of the devices is unknown.

        Raises Unavailable when it cannot be asked: a device may have been registered meanwhile, and
        must not hear that it is unknown.
        """
        if not self.view.unknown(devices):
            return
        # `follow_forever` goes on asking. Strangers cause no look during an outage, and nobody who
        # shares a request with one waits until a node that hangs has timed out.
        if self._is_away:
            raise Unavailable(CANNOT_ASK)
        try:
            await self.refresh_since(time.monotonic())
        except WrongNode as error:
            log.error("registry not read", error=str(error))
            raise Unavailable(CANNOT_ASK) from error
        except (NodeUnavailable, NodeRefused) as error:
            raise Unavailable(CANNOT_ASK) from error

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

    def unsettled(self, devices: Iterable[DeviceId]) -> set[DeviceId]:
        """Those whose registration a reorg may still undo; nearly always none."""
        fold = self._fold
        if fold.newest is not self.view:  # read anew from the beginning at this moment
            return set(devices)
        # None: no log of the registry is younger than the final block. Asked for all the same: a
        # reorg may have taken the device, and nothing have come since.
        settled = self.view if fold.settled is None else fold.settled
        return set(filterfalse(settled.senders.__contains__, devices))

    def missing(self, wanted: Mapping[DeviceId, int]) -> list[DeviceId]:
        """Those of some devices that the view does not have, or has with another key type (0: any),
        or without the key that it needs; ascending. Revoked ones are there."""
        known = self.view.identities
        return sorted(d for d, key_type in wanted.items() if not _is_there(known.get(d), key_type))

    def rests(self, devices: Collection[DeviceId]) -> dict[DeviceId, int]:
        """Of some devices those whose registration a reorg may still undo, with their key types; 0
        of one that is gone at this moment."""
        known = self.view.identities
        found = ((device, known.get(device)) for device in self.unsettled(devices))
        return {d: ANY_TYPE if i is None else int(i.key_type) for d, i in found}

    async def _step(self) -> bool:
        # At start the node may be away, so the chain is asked for when it answers first.
        if not self._is_right:
            await check_chain(self.rpc, self.chain_id)
            self._is_right = True
        return await Follower._step(self)


def _is_there(found: DeviceIdentity | None, key_type: int) -> bool:
    return found is not None and key_type in (ANY_TYPE, found.key_type)


def _teach(view: RegistryView | None, keys: Mapping[DeviceId, bytes]) -> None:
    if view is not None:
        for device, key in keys.items():
            view.learn_key(device, key)
