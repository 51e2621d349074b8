"""Follows the logs of all lanes, and says which blocks reorgs have taken."""

from collections.abc import Sequence
from dataclasses import dataclass

from corechain.service.known_chain import RolledBack
from corechain.service.rpc import Log
from corechain_relayer.challenger.lanes import LanesView
from corechain_relayer.following import Follower

ALL = -1
"""Below every block."""


@dataclass(slots=True)
class LanesFollower(Follower[LanesView]):
    """`view` holds the commitments of all lanes; it needs to know in which blocks they came."""

    _undone: int | None = None
    """The newest block that every reorg since has left."""

    def fold(self, view: LanesView, logs: Sequence[Log]) -> None:
        view.take(logs)

    def take_undone(self) -> int | None:
        """The number above which blocks are others than before; None when there was no reorg."""
        found, self._undone = self._undone, None
        return found

    def _roll_back(self, gone: RolledBack) -> None:
        Follower._roll_back(self, gone)
        self._note(gone.to.number)

    def _rebuild(self, reason: str) -> None:
        Follower._rebuild(self, reason)
        self._note(ALL)

    def _note(self, left: int) -> None:
        self._undone = left if self._undone is None else min(self._undone, left)
