"""Where data files come from: a folder, or a gateway."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from corechain.audit import fetch_data_file
from corechain.protocol.batch import rebuild
from corechain.protocol.errors import ProtocolError, TransportError
from corechain.protocol.hashing import Digest26

SUFFIX = ".ccdf"


class Files(Protocol):
    def read(self, commitment: Digest26) -> bytes | None:
        """The file that is kept under a commitment; None when there is none."""

    def all(self) -> Iterator[Digest26]:
        """The commitments under which files are kept, where that can be known."""


@dataclass(frozen=True, slots=True)
class Folder:
    """The data folder of a relayer."""

    path: Path

    def read(self, commitment: Digest26) -> bytes | None:
        try:
            return (self.path / f"{commitment.hex()}{SUFFIX}").read_bytes()
        except FileNotFoundError:
            return None

    def all(self) -> Iterator[Digest26]:
        for path in sorted(self.path.glob(f"*{SUFFIX}")):
            try:
                yield Digest26(bytes.fromhex(path.stem))
            except ValueError:
                continue


@dataclass(frozen=True, slots=True)
class FromGateway:
    """What a gateway hands out. Which other files it keeps it does not say."""

    url: str

    def read(self, commitment: Digest26) -> bytes | None:
        try:
            return fetch_data_file(self.url, commitment)
        except TransportError:
            raise
        except ProtocolError:
            return None

    def all(self) -> Iterator[Digest26]:
        return iter(())


def makes(data: bytes, commitment: Digest26) -> bool:
    """Whether a file is the one of a commitment: sealed again, some 4 µs a report with numpy, 25
    without."""
    try:
        return _commitment_of(data) == commitment
    except ProtocolError:
        return False


def _commitment_of(data: bytes) -> Digest26:
    """Raises ProtocolError."""
    try:
        from corechain.protocol.rebuilding import rebuild_columns
    except ImportError:  # no numpy: it comes with the services
        return rebuild(data)[0].commitment
    return rebuild_columns(data).batch.commitment
