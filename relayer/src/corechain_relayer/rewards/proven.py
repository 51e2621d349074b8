"""What a root on chain proves of rewards: kept beside the data files, that none is read twice."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from corechain.protocol.errors import ProtocolError
from corechain.protocol.events import RootProposed
from corechain.protocol.rewards import Owner, RewardTree
from corechain_relayer.aggregator.files import sync_folder, write_durably

log = structlog.get_logger(__name__)

NAME = "reward-amounts.json"


class _Kept(msgspec.Struct):
    epoch: int
    root: str
    through: int
    amounts: dict[str, str]
    """Base units by owner; as text, they pass 2^53."""


@dataclass(slots=True)
class Proven:
    """The amounts after the newest epoch whose root came out. The root on chain is their proof, so
    what they were made of is not read again while it stands there."""

    place: Path | None = None
    """Where they are kept for the next start; None: nowhere."""
    epoch: int = 0
    root: bytes = b""
    through: int = 0
    amounts: Mapping[Owner, int] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> "Proven":
        """What was kept; nothing where it is damaged, or its own root does not prove it."""
        place = folder / NAME
        try:
            kept = msgspec.json.decode(place.read_bytes(), type=_Kept)
            words = ((bytes.fromhex(owner), int(of)) for owner, of in kept.amounts.items())
            amounts = {Owner(owner): amount for owner, amount in sorted(words)}
            if RewardTree(amounts).root == bytes.fromhex(kept.root):
                root = bytes.fromhex(kept.root)
                return cls(place, kept.epoch, root, kept.through, amounts)
            log.warning("reward amounts not taken", file=NAME, why="their root is another one")
        except FileNotFoundError:
            pass
        except (OSError, ValueError, ProtocolError) as error:
            log.warning("reward amounts not taken", file=NAME, why=repr(error))
        return cls(place)

    def within(self, epochs: Sequence[RootProposed]) -> "Proven":
        """Itself, where its root stands among some epochs, else that nothing is proven."""
        mine = (self.epoch, self.root, self.through)
        stands = any((one.epoch, one.root, one.through_block) == mine for one in epochs)
        return self if stands else Proven()

    async def take(self, epoch: RootProposed, amounts: Mapping[Owner, int]) -> None:
        self.epoch, self.root = epoch.epoch, epoch.root
        self.through, self.amounts = epoch.through_block, amounts
        if self.place is not None:
            await asyncio.to_thread(self._keep, self.place)

    def _keep(self, place: Path) -> None:
        """Without it the next start reads the data files once more, and no more than that."""
        amounts = {owner.hex(): str(amount) for owner, amount in self.amounts.items()}
        kept = _Kept(self.epoch, self.root.hex(), self.through, amounts)
        partial = place.with_suffix(f".{os.getpid()}.part")
        try:
            write_durably(partial, msgspec.json.encode(kept))
            partial.replace(place)
            sync_folder(place.parent)
        except OSError as error:
            log.warning("reward amounts not kept", file=NAME, why=repr(error))
