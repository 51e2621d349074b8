"""What can stop the relayer itself. What is wrong with a message is `corechain.protocol.errors`."""

from corechain.protocol.errors import CoreChainError, TransportError


class Halt(CoreChainError):
    """Going on could make it worse: an operator has to look. The process stops with exit 1."""


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


class WrongNode(Halt):
    """The node serves another chain than the deployment file names. Nothing is signed for it."""

    def __init__(self, expected: int, found: int) -> None:
        super().__init__(f"the node serves chain {found}, the deployment is on chain {expected}")
        self.expected, self.found = expected, found


class WriterLockHeld(TransportError):
    """Another process writes for this lane or key. Two writers could commit a reading twice."""

    def __init__(self, writer: str) -> None:
        super().__init__(f"another process is the writer {writer}")
        self.writer = writer


class BusFull(TransportError):
    """The bus is at its written limit: nothing was appended."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the bus is at its limit of {limit} frames")
        self.limit = limit


class BusUnavailable(TransportError):
    """The bus did not answer: whether a frame was appended is unknown."""


class StoreUnavailable(TransportError):
    """The database did not answer."""


class NodeUnavailable(TransportError):
    """The node did not answer, or not with JSON-RPC."""


class NodeRefused(TransportError):
    """The node answered a call with an error. `data` is the revert data, if there is any."""

    def __init__(self, method: str, code: int, message: str, data: str | None = None) -> None:
        super().__init__(f"{method}: {message} (code {code})")
        self.method, self.code, self.message, self.data = method, code, message, data
