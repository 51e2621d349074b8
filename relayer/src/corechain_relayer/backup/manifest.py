"""What a backup says of itself. It is written last: a folder without one is no backup."""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from corechain_relayer.errors import BackupDamaged, NotABackup

NAME = "manifest.json"
FORMAT = 1
PART, TABLE = ".part", ".copy.gz"
BATCHES, COMMITMENT = "batch", "commitment"
"""Table and column that say which data files belong to a set."""
FILES = "files"
"""Beside the sets, and shared by them: data files are named by their content and never change."""


class Table(msgspec.Struct, frozen=True):
    """A table as `COPY … TO` in text, packed with gzip, in `<name>.copy.gz`."""

    name: str
    columns: list[str]
    rows: int
    sha256: str

    @property
    def file(self) -> str:
        return f"{self.name}{TABLE}"


class Manifest(msgspec.Struct, frozen=True):
    """`tables` in an order in which each refers only to those before it. `files`: whether the data
    files of all batches are beside the set. `last`: number of the newest batch by lane."""

    format: int
    taken_at: str
    version: str
    chain_id: int
    registry: str
    migrations: list[str]
    tables: list[Table]
    last: Mapping[str, int]
    batches: int
    files: bool

    @property
    def place(self) -> tuple[int, bytes]:
        """Chain and registry whose relayer this is."""
        return self.chain_id, bytes.fromhex(self.registry.removeprefix("0x"))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    with (folder / NAME).open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_manifest(folder: Path) -> Manifest:
    """Raises NotABackup, BackupDamaged, OSError."""
    try:
        manifest = msgspec.json.decode((folder / NAME).read_bytes(), type=Manifest)
        manifest.place  # noqa: B018  # that it is hexadecimal
    except (FileNotFoundError, NotADirectoryError) as error:
        _refuse_what_is_none(folder)
        raise BackupDamaged([f"{NAME} cannot be read ({error.strerror})"]) from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise BackupDamaged([f"{NAME} is not a backup's: {error}"]) from None
    if manifest.format != FORMAT:
        raise BackupDamaged([f"{NAME} is of format {manifest.format}, this version has {FORMAT}"])
    if not any(table.name == BATCHES and COMMITMENT in table.columns for table in manifest.tables):
        raise BackupDamaged([f"{NAME} names no table `{BATCHES}` with column `{COMMITMENT}`"])
    return manifest


def _refuse_what_is_none(folder: Path) -> None:
    """Raises NotABackup for a folder without manifest, unless it has tables: that one lost it."""
    if not folder.is_dir():
        why = "it is not a folder" if folder.exists() else "there is no such folder"
        raise NotABackup(folder, why)
    if folder.name.endswith(PART):
        raise NotABackup(folder, "it was cut off while it was taken")
    if sets := sorted(path.parent.name for path in folder.glob(f"*/{NAME}")):
        raise NotABackup(folder, f"it holds backups, name one of them: {', '.join(sets)}")
    if not any(folder.glob(f"*{TABLE}")):
        raise NotABackup(folder, f"it has no {NAME}")
