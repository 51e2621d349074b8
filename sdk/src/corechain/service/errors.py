"""What can stop or delay a service. What is wrong with a message is `corechain.protocol.errors`."""

from corechain.protocol.errors import CoreChainError, TransportError


class Halt(CoreChainError):
    """Going on could make it worse: an operator has to look. The process stops with exit 1."""


class WrongNode(Halt):
    """The node serves another chain than the deployment file names."""

    def __init__(self, expected: int, found: int) -> None:
        super().__init__(f"the node serves chain {found}, the deployment is on chain {expected}")
        self.expected, self.found = expected, found


class WriterLockHeld(TransportError):
    """Another process writes what only one may write."""

    def __init__(self, writer: str) -> None:
        super().__init__(f"another process is the writer {writer}")
        self.writer = writer


class StoreUnavailable(TransportError):
    """The database did not answer."""


class NodeUnavailable(TransportError):
    """The node did not answer, or not with JSON-RPC."""


class NodeRefused(TransportError):
    """The node answered a call with an error. `data` is the revert data, if there is any."""

    def __init__(self, method: str, code: int, message: str, data: str | None = None) -> None:
        super().__init__(f"{method}: {message} (code {code})")
        self.method, self.code, self.message, self.data = method, code, message, data
