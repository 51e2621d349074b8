"""What can stop the relayer or its bus, beyond `corechain.service.errors`."""

from corechain.protocol.errors import TransportError
from corechain.service.errors import Halt


class LaneHalted(Halt):
    """A transaction ended in a way that must not happen; nothing more is sent for its key."""

    def __init__(self, intent: str, reason: str) -> None:
        super().__init__(f"intent {intent} stopped its lane: {reason}")
        self.intent, self.reason = intent, reason


class ResumeImpossible(Halt):
    """The chain is ahead of the journal, and what is needed to catch up cannot be found."""

    def __init__(self, lane: int, reason: str) -> None:
        super().__init__(f"lane {lane} cannot be resumed: {reason}")
        self.lane, self.reason = lane, reason


class BusFull(TransportError):
    """The bus is at its written limit: nothing was appended."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the bus is at its limit of {limit} frames")
        self.limit = limit


class BusUnavailable(TransportError):
    """The bus did not answer: whether a frame was appended is unknown."""
