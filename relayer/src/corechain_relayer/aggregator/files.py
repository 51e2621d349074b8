"""Data files on disk, named by their commitment: whole and durable, or not there.

The lane's lock is the journal's, and no disk knows of it. So each session of a lane takes a *turn*
in the folder. Who is woken (SIGCONT) after another one has taken it finds his half of a file gone,
or that it is not his turn: he renames nothing any more.
"""

import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from corechain.protocol.batch import HEAD, MAGIC, Origin, batch_id, read_origin
from corechain.protocol.errors import ProtocolError
from corechain.protocol.reader import Reader
from corechain.service.errors import WriterLockHeld
from corechain_relayer.errors import DataDirUnusable

SUFFIX, ORPHAN = ".ccdf", ".orphan"
COMMITMENT_BYTES = 26
_LANE, _NUMBER = slice(5, 7), slice(7, 11)


def data_path(folder: Path, commitment: bytes) -> Path:
    return folder / f"{commitment.hex()}{SUFFIX}"


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Written:
    """The batch whose data file a lane's writer wrote last, or was about to write."""

    batch_id: int
    commitment: bytes


def _note_path(folder: Path, lane: int) -> Path:
    return folder / f"lane-{lane}.last"


def write_durably(path: Path, content: bytes) -> None:
    """On disk when it returns; its name is, after `sync_folder`. Raises OSError."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _turn_path(folder: Path, lane: int) -> Path:
    return folder / f"lane-{lane}.turn"


def take_turn(folder: Path, lane: int) -> str:
    """From now on nobody but who has this turn makes data files of the lane. The caller holds its
    lock. Raises DataDirUnusable."""
    turn = secrets.token_hex(8)
    partial = folder / f"lane-{lane}.{turn}.part"
    try:
        write_durably(partial, turn.encode())
        partial.replace(_turn_path(folder, lane))
        sync_folder(folder)
        # After that: what is begun later is not finished either. Also what crashes have left.
        for left in (*folder.glob(f"lane-{lane}.*.part"), folder / f"lane-{lane}.part"):
            left.unlink(missing_ok=True)
    except OSError as error:
        raise _unusable(error) from error
    return turn


def _unusable(error: OSError) -> DataDirUnusable:
    return DataDirUnusable(error.strerror or type(error).__name__)


def write_data_file(folder: Path, commitment: bytes, content: bytes, turn: str = "") -> Path:
    """Durable when it returns: content synced, then renamed, then the folder synced.

    Before it is renamed a note says which file comes: a later start looks at this one alone.
    Raises DataDirUnusable, WriterLockHeld where another one has taken the turn.
    """
    lane, number = (int.from_bytes(content[part], "big") for part in (_LANE, _NUMBER))
    # Names of this turn alone: who was late would write into the file of another one.
    partial, note = (folder / f"lane-{lane}.{turn}{end}" for end in (".part", ".note.part"))
    try:
        write_durably(partial, content)
        write_durably(note, b"%d %s" % (batch_id(lane, number), commitment.hex().encode()))
        # Not before: `take_turn` takes away what is there, this finds its turn for the rest.
        if not _has_turn(folder, lane, turn):
            raise WriterLockHeld(f"of the data files of lane {lane}")
        note.replace(_note_path(folder, lane))
        path = partial.replace(data_path(folder, commitment))
        sync_folder(folder)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not _has_turn(folder, lane, turn):
            raise WriterLockHeld(f"of the data files of lane {lane}") from error
        raise _unusable(error) from error
    return path


def _has_turn(folder: Path, lane: int, turn: str) -> bool:
    try:
        return _turn_path(folder, lane).read_text("ascii") == turn
    except OSError:  # nobody has one, or all are gone with the folder
        return not turn


def last_written(folder: Path, lane: int) -> Written | None:
    """None where no note is, or a torn one: by a version without notes, or a crash of the disk."""
    try:
        number, commitment = _note_path(folder, lane).read_text("ascii").split()
        written = Written(int(number), bytes.fromhex(commitment))
    except (FileNotFoundError, ValueError):
        return None
    return written if len(written.commitment) == COMMITMENT_BYTES else None


def lane_files(folder: Path, lane: int) -> Iterator[Path]:
    """A lane's data files, in no order. Opens every file: for who has nothing else to go by."""
    for path in folder.glob(f"*{SUFFIX}"):
        with path.open("rb") as file:
            head = file.read(_LANE.stop)
        if head.startswith(MAGIC) and int.from_bytes(head[_LANE], "big") == lane:
            yield path


def origin_of(path: Path) -> Origin | None:
    """What a data file says that it is, by its head alone; None for one that has no whole head, or
    is of rules that this version does not know. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(HEAD.size)
    try:
        return read_origin(Reader(head))
    except ProtocolError:
        return None


def set_aside(paths: Iterable[Path]) -> list[Path]:
    """Renames files that are there to what nobody takes for a data file; those that were there."""
    found = [path for path in paths if path.exists()]
    for path in found:
        path.replace(path.with_suffix(SUFFIX + ORPHAN))
    return found
