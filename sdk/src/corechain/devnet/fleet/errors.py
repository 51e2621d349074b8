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


class TooManyConnections(CoreChainError):
    """More connections than this process may have files open."""

    def __init__(self, wanted: int, most: int) -> None:
        super().__init__(
            f"{wanted} connections are more than the {most} that this process may open: "
            "raise `ulimit -Hn`, or take fewer"
        )
        self.wanted, self.most = wanted, most


class UnfinishedLog(CoreChainError):
    """Its sender was killed: what it says of acknowledgements is nowhere else."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is the log of a sender that was interrupted: go on with --resume, or remove it"
        )
        self.path = path
