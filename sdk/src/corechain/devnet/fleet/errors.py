"""What can be wrong with the files of a fleet."""

from pathlib import Path

from corechain.protocol.errors import CoreChainError


class MalformedFleetFile(CoreChainError):
    """A file of signed reports or of acknowledgements is not one, or is damaged."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path, self.why = path, why


class ImpossibleFleet(CoreChainError):
    """No fleet has this shape."""
