"""Who has sent a forged report lately: his requests share no frame with others.

A frame with a forged signature is checked one by one. Honest requests that shared it would pay for
a stranger's forgery; so the next requests of that sender are verified apart, with others like it.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from corechain.protocol.errors import HighS, InvalidSignature
from corechain.service.peers import source_of
from corechain_relayer.gateway.intake import Fault

MOST = 4_096
"""Senders that are remembered, about 1 MB; beyond that the one that was caught first is forgotten.
Each costs its neighbours one frame more, no other harm."""
FORGET_AFTER_S = 60.0
"""A device with a wrong clock or domain is mended in less time than its owner needs to look."""
_FORGED = (InvalidSignature, HighS)


@dataclass(slots=True)
class Suspects:
    """Sources by the time until which they are suspected, the oldest offence first."""

    clock: Callable[[], float] = time.monotonic
    most: int = MOST
    _until: OrderedDict[str, float] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._until)

    def note(self, peer: Callable[[], str], faults: Sequence[Fault]) -> None:
        """Remembers a sender for the forged reports among his; asked for his address only then."""
        if not any(faults) or not any(isinstance(fault, _FORGED) for fault in faults):
            return
        source = source_of(peer())
        self._until[source] = self.clock() + FORGET_AFTER_S
        self._until.move_to_end(source)
        if len(self._until) > self.most:
            self._until.popitem(last=False)

    def has(self, peer: Callable[[], str]) -> bool:
        """Whether this sender is one. Costs nothing while there is none."""
        if not self._until:
            return False
        source = source_of(peer())
        if self._until.get(source, 0.0) > self.clock():
            return True
        self._until.pop(source, None)
        return False
