"""Data files, each judged by the commitment that it is named by, which is what the chain has."""

import errno
import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import structlog

from corechain.protocol.data_file import as_written
from corechain.protocol.errors import ProtocolError
from corechain_relayer.aggregator.files import SUFFIX, data_path, sync_folder, write_durably
from corechain_relayer.backup.manifest import PART

log = structlog.get_logger(__name__)

DAMAGED, SUMS = ".damaged", "SHA256SUMS"
_SUM = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<name>[0-9a-f]+\.ccdf)")
# A sector that is gone is damage like any other; a folder without permission is not.
_LOST = {errno.ENOENT: "is not among the data files", errno.EIO: "cannot be read from the disk"}


def damage_of(path: Path) -> str | None:
    """What is wrong with a data file, one that is missing included; None if it is whole."""
    try:
        return _damage_in(path.read_bytes(), path.name)
    except OSError as error:
        return f"data file {path.name} cannot be read ({error.strerror})"


def _damage_in(content: bytes, name: str) -> str | None:
    try:
        written = as_written(content)
    except ProtocolError as error:
        return f"data file {name}: {error}"
    is_it = written.commitment.hex() == name.removesuffix(SUFFIX)
    return None if is_it else f"data file {name} has another batch's content"


def read_sums(folder: Path) -> dict[str, str]:
    """SHA-256 by name of the files that were found whole before. Lines that are none are left out:
    their files are judged by their commitments again. Raises OSError."""
    try:
        lines = (folder / SUMS).read_text("ascii", "replace").splitlines()
    except FileNotFoundError:
        return {}
    found = (_SUM.fullmatch(line) for line in lines)
    return {line["name"]: line["digest"] for line in found if line}


def write_sums(folder: Path, sums: Mapping[str, str]) -> None:
    """In the format of `sha256sum -c`. Raises OSError."""
    part = folder / f"{SUMS}{PART}"
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    write_durably(part, text.encode())
    part.replace(folder / SUMS)


def _read(path: Path, sums: dict[str, str]) -> tuple[bytes, str | None]:
    """Content, and what is wrong with it. Raises OSError where the file may be whole."""
    try:
        content = path.read_bytes()
    except OSError as error:
        if error.errno not in _LOST:
            raise
        return b"", f"{path.name} {_LOST[error.errno]}"
    return content, _damage_known(content, path.name, sums)


def _damage_known(content: bytes, name: str, sums: dict[str, str]) -> str | None:
    # A commitment is rebuilt at 8 MB a second, SHA-256 runs at 1,400 (414 kB of 3,000 reports).
    digest = hashlib.sha256(content).hexdigest()
    if sums.get(name) == digest:
        return None
    finding = _damage_in(content, name)
    if finding is None:
        sums[name] = digest
    return finding


def copy_missing(
    source: Path, target: Path, commitments: Iterable[bytes], sums: dict[str, str]
) -> list[str]:
    """Copies data files that the target has not, or has damaged: all that is there is read, for a
    disk changes a byte without a word. What is wrong with those that the source has not whole.

    `sums`: as of `read_sums`; what is found whole is added. Raises OSError.
    """
    found = (
        _copy(data_path(source, commitment), data_path(target, commitment), sums)
        for commitment in commitments
    )
    wrong = [finding for finding in found if finding]
    sync_folder(target)
    return wrong


def _copy(source: Path, target: Path, sums: dict[str, str]) -> str | None:
    if _read(target, sums)[1] is None:
        return None
    content, finding = _read(source, sums)
    if finding is None:
        _replace(target, content)
    return finding


def _replace(path: Path, content: bytes) -> None:
    """Cut off at any moment, no half file stands under the name. A damaged one is kept aside: it
    may be all that is left of something."""
    part = path.with_name(f"{path.name}{PART}")
    write_durably(part, content)
    if path.exists():
        kept = path.replace(path.with_name(f"{path.name}{DAMAGED}"))
        log.warning("damaged data file replaced", file=str(path), kept=str(kept))
    part.replace(path)
