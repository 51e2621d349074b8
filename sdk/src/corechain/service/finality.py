"""Which blocks are final: as the tag `finalized` says, or by depth where a node knows no such tag.

That a node has no tag follows from the one error that says so. Null, a refusal, or a block above
the head says nothing: what was final stays final, and nothing else becomes so, because a block that
was once called final by mistake cannot be taken back.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from corechain.rpc_errors import denies_tag
from corechain.service.errors import NodeRefused
from corechain.service.known_chain import Final
from corechain.service.words import Block, parse_block

log = structlog.get_logger(__name__)


AHEAD_BLOCKS = 256
"""So far above our head an honest node's final block may be: a minute on the fastest chains."""


def has_no_tag(raw: object) -> bool:
    """Whether an answer says that the node does not know the tag it was asked for."""
    return isinstance(raw, NodeRefused) and denies_tag(raw.code, raw.message)


@dataclass(slots=True)
class Finality:
    """What is known of a node's final block. `noticed` is called for each answer without one.

    `tagged`: whether the node ever named its final block; from then on no other rule counts. None
    while neither that is known nor the contrary: nothing is final then.
    """

    confirmations: int
    noticed: Callable[[], None] = lambda: None
    tagged: bool | None = None
    odd: str = ""
    """What is wrong with the last answer; empty where nothing is."""
    _said: Final = field(default_factory=lambda: Final(0))
    _ahead: Block | None = None

    def judge(self, raw: Any, head: Block) -> Final:
        """The final block from an answer to `finalized`, as of a head. Raises NodeUnavailable for
        a malformed block."""
        self._take_ahead(head)
        if has_no_tag(raw) and not self.tagged:
            self.tagged = False
        elif isinstance(raw, NodeRefused):
            self._note(f"it refuses ({raw.message})")
        elif raw is None:
            self._note("it says null")
        else:
            self._hear(parse_block(raw), head)
        return self._now(head)

    def _now(self, head: Block) -> Final:
        if self.tagged is False:
            self.odd = ""
            return Final(max(0, head.number - self.confirmations))
        # A chain that is shorter now is another one, or its node lags: of it nothing is known.
        return self._said if self._said.number <= head.number else Final(0, tagged=self._is_tagged)

    @property
    def _is_tagged(self) -> bool:
        return self.tagged is True

    def _hear(self, block: Block, head: Block) -> None:
        # Also of a node that had no such tag before: it may have been replaced by a newer one.
        self.tagged = True
        if block.number > head.number:
            self._wait_for(block, head)
            return
        self._settle(block)
        self.odd = ""

    def _wait_for(self, block: Block, head: Block) -> None:
        """Where blocks are final at once, the tag is asked after the head and may be newer than it.
        It counts when the head has come there, or it would never do so on a fast chain."""
        if block.number - head.number > AHEAD_BLOCKS:
            self._note(f"it names block {block.number}, far above the head {head.number}")
        else:
            self._ahead, self.odd = block, ""

    def _take_ahead(self, head: Block) -> None:
        if self._ahead is not None and self._ahead.number <= head.number:
            self._settle(self._ahead)
            self._ahead = None

    def _settle(self, block: Block) -> None:
        self._said = Final(block.number, block.hash, tagged=True)

    def _note(self, why: str) -> None:
        if self.tagged is False:
            return
        if not self.odd:  # once: a node may say so for hours
            log.warning("the node names no final block", why=why)
        self.odd = why
        self.noticed()

    def forget(self) -> None:
        """Whoever relied on it begins anew, maybe with another node."""
        self.tagged, self._said, self._ahead, self.odd = None, Final(0), None, ""

    def warnings(self) -> list[str]:
        """For `/ready`."""
        if not self.odd:
            return []
        out = "where nodes never name one, set FINALITY=depth"
        return [f"the node names no final block, nothing new is final: {self.odd}; {out}"]
