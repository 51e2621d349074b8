"""Takes, checks and restores a backup: `<folder>/<time>/` with the tables, `<folder>/files/` with
the data files of all sets of the folder."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from corechain.deployment import Deployment
from corechain.protocol.batch import lane_of, number_of
from corechain.service.settings import InvalidSetting
from corechain_relayer.aggregator.files import data_path, sync_folder
from corechain_relayer.backup.data_files import copy_missing, damage_of, read_sums, write_sums
from corechain_relayer.backup.manifest import (
    FILES,
    FORMAT,
    PART,
    Manifest,
    Table,
    read_manifest,
    write_manifest,
)
from corechain_relayer.backup.places import made, taking_alone, usable
from corechain_relayer.backup.tables import (
    applied,
    commitments_in,
    copy_in,
    copy_out,
    digest_of,
    snapshot,
)
from corechain_relayer.errors import BackupDamaged, BackupOfAnother, DataFilesDamaged
from corechain_relayer.journal.sql import query

DISTRIBUTION = "corechain-relayer"


@dataclass(frozen=True, slots=True)
class Taken:
    """What the database had at that moment. `batches`: commitments by batch id."""

    tables: list[Table]
    migrations: list[str]
    batches: Mapping[int, bytes]

    def last(self) -> dict[str, int]:
        """Number of the newest batch by lane."""
        found: dict[str, int] = {}
        for batch in sorted(self.batches):
            found[str(lane_of(batch))] = number_of(batch)
        return found


@dataclass(frozen=True, slots=True)
class Backups:
    """Of one relayer: its database and its folder of data files."""

    database_url: str
    data_dir: Path
    deployment: Deployment

    async def take(self, folder: Path, with_files: bool = True) -> Path:
        """A new set; the relayer may run. First the database, then the files: files never change,
        and a set that has some too many has all that its batches need.

        Raises DataFilesDamaged where a batch has no whole data file, BackupRunning, FolderUnusable,
        StoreUnavailable.
        """
        with taking_alone(folder), usable(folder):
            name = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
            with made(folder / f"{name}{PART}") as part:
                taken = await self._tables(part)
                if with_files:
                    target, wanted = folder / FILES, taken.batches.values()
                    await asyncio.to_thread(self._take_files, target, wanted)
                # Not in a thread: who cancels this removes `part`, while a thread would go on.
                _complete(part, folder / name, self._manifest(name, taken, with_files))
        return folder / name

    async def _tables(self, folder: Path) -> Taken:
        async with snapshot(self.database_url) as connection:
            rows = await connection.fetch(query("backup_batches"))
            batches = {row["batch_id"]: bytes(row["commitment"]) for row in rows}
            return Taken(await copy_out(connection, folder), await applied(connection), batches)

    def _take_files(self, target: Path, commitments: Iterable[bytes]) -> None:
        """Copies those that no earlier set has brought, or whose copy is damaged."""
        target.mkdir(mode=0o700, exist_ok=True)
        known = read_sums(target)
        sums = dict(known)
        wrong = copy_missing(self.data_dir, target, commitments, sums)
        if sums != known:
            write_sums(target, sums)
        if wrong:
            raise DataFilesDamaged(wrong)

    def _manifest(self, name: str, taken: Taken, with_files: bool) -> Manifest:
        registry = "0x" + self.deployment.address("DeviceRegistry").hex()
        return Manifest(
            format=FORMAT,
            taken_at=name,
            version=version(DISTRIBUTION),
            chain_id=self.deployment.chain_id,
            registry=registry,
            migrations=taken.migrations,
            tables=taken.tables,
            last=taken.last(),
            batches=len(taken.batches),
            files=with_files,
        )

    async def restore(self, folder: Path) -> Manifest:
        """Fills an empty database, and the folder of data files beside what is in it.

        Files come first and the database at once, in one transaction: cut off at any moment, it is
        run again. Raises NotABackup and BackupDamaged before anything is written, BackupOfAnother,
        NewerBackup, DatabaseInUse, FolderUnusable, StoreUnavailable.
        """
        folder = await asyncio.to_thread(folder.resolve)  # as `.` it has no parent
        with usable(folder):
            manifest = await asyncio.to_thread(check, folder, self.data_dir)
            ours = self.deployment.chain_id, self.deployment.address("DeviceRegistry")
            if manifest.place != ours:
                raise BackupOfAnother(manifest.chain_id, manifest.registry)
            if manifest.files:
                await asyncio.to_thread(self._restore_files, folder, manifest)
            await copy_in(self.database_url, manifest, folder)
        return manifest

    def _restore_files(self, folder: Path, manifest: Manifest) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        source, wanted = folder.parent / FILES, commitments_in(folder, manifest)
        if wrong := copy_missing(source, self.data_dir, wanted, read_sums(source)):
            raise BackupDamaged(wrong)  # since it was checked


def _complete(part: Path, done: Path, manifest: Manifest) -> None:
    write_manifest(part, manifest)
    sync_folder(part)
    part.rename(done)
    sync_folder(done.parent)


def check(folder: Path, data_dir: Path | None) -> Manifest:
    """That a set is whole: tables by their checksums, each data file by the commitment that it is
    named by, which is what the chain has. `data_dir`: where files are of a set without any.

    Raises BackupDamaged with all that is wrong, NotABackup, FolderUnusable, and InvalidSetting
    where the files of a set without any are nowhere.
    """
    folder = folder.resolve()  # as `.` it has no parent
    with usable(folder):
        manifest = read_manifest(folder)
        wrong = [finding for table in manifest.tables if (finding := _damage(folder, table))]
        if not wrong:  # else the list of files may be damaged too
            files = folder.parent / FILES if manifest.files else data_dir
            if files is None:
                raise InvalidSetting(f"{folder} is without data files: set RELAYER_DATA_DIR")
            found = (damage_of(data_path(files, one)) for one in commitments_in(folder, manifest))
            wrong = [finding for finding in found if finding]
    if wrong:
        raise BackupDamaged(wrong)
    return manifest


def _damage(folder: Path, table: Table) -> str | None:
    try:
        digest = digest_of(folder / table.file)
    except OSError as error:
        return f"{table.file} cannot be read ({error.strerror})"
    return None if digest == table.sha256 else f"{table.file} is not what was written"
