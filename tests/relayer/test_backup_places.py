"""A path that is no backup, or no place for one, is named for what it is.

given a folder of backups
  when a backup fails, or was killed
    nothing is left of it, and one that is being taken is left alone
  when something else is named as a backup, or as the folder of backups
    it is said what it is, and not that a backup is damaged
  when a backup is checked from inside, without settings
    it is whole as from outside
"""

import asyncio
import fcntl
import gzip
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from support.forked import completed

from corechain.service.settings import InvalidSetting
from corechain_relayer.backup.manifest import NAME
from corechain_relayer.backup.places import LOCK
from corechain_relayer.backup.sets import Backups, check
from corechain_relayer.backup.tables import digest_of
from corechain_relayer.errors import (
    BackupDamaged,
    BackupRunning,
    DataFilesDamaged,
    FolderUnusable,
    NotABackup,
)
from relayer.backed_up import backups_of, cut, fill


@pytest.fixture
def backups(database: str, deployment: Path, tmp_path: Path) -> Backups:
    return backups_of(database, deployment, tmp_path / "data")


async def test_nothing_is_left_of_a_backup_that_failed_or_was_killed(
    backups: Backups, tmp_path: Path
) -> None:
    await fill(backups)
    folder = tmp_path / "backups"
    for name in ("20261129T131500.000000Z.part", "of somebody else.part", "files"):
        (folder / name).mkdir(parents=True)
    (folder / "20261129T131500.000000Z.part" / "batch.copy.gz").touch()
    (folder / "files" / "half.ccdf.part").touch()
    cut(next(backups.data_dir.glob("*.ccdf")))
    with pytest.raises(DataFilesDamaged):
        await backups.take(folder)
    assert [path.name for path in folder.rglob("*.part")] == ["of somebody else.part"]


async def test_a_backup_that_is_being_taken_is_left_alone(backups: Backups, tmp_path: Path) -> None:
    living = tmp_path / "20261129T131500.000000Z.part"
    living.mkdir()
    with (tmp_path / LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BackupRunning, match="another backup is being taken"):
            await backups.take(tmp_path)
        assert living.exists()


async def test_what_is_no_backup_is_not_called_damaged(backups: Backups, tmp_path: Path) -> None:
    taken = await backups.take(tmp_path / "backups")
    (tmp_path / "file").touch()
    (tmp_path / "x.part").mkdir()
    cases = {
        "nonexist": "there is no such folder",
        "file": "it is not a folder",
        "data": f"it has no {NAME}",
        "x.part": "it was cut off",
        "backups": f"it holds backups, name one of them: {taken.name}",
    }
    for name, why in cases.items():
        with pytest.raises(NotABackup, match=f"{name} is no backup: {why}"):
            check(tmp_path / name, None)
        with pytest.raises(NotABackup, match=why):
            await backups.restore(tmp_path / name)


async def test_what_cannot_hold_a_backup_is_named(backups: Backups, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    taken = await backups.take(tmp_path / "backups")
    cases = {
        tmp_path / "file": "not a folder",
        tmp_path / "file" / "below": "Not a directory",
        Path("/proc/x"): "No such file",
        taken: "it is a backup itself",
    }
    for path, why in cases.items():
        with pytest.raises(FolderUnusable, match=f"{path.name}.* cannot be used: .*{why}"):
            await backups.take(path)


async def test_a_manifest_that_names_no_batches_is_damaged(
    backups: Backups, tmp_path: Path
) -> None:
    taken = await backups.take(tmp_path / "backups")
    path = taken / NAME
    written = json.loads(path.read_text())
    written["tables"] = [table for table in written["tables"] if table["name"] != "batch"]
    path.write_text(json.dumps(written))
    with pytest.raises(BackupDamaged, match="names no table `batch`"):
        check(taken, None)


RUBBISH = {
    "not packed": b"rubbish",
    "packed and cut off": gzip.compress(bytes(1 << 10))[:20],
    "rows without columns": gzip.compress(b"a row\n"),
    "columns without numbers": gzip.compress(b"\tno number" * 30 + b"\n"),
    "not text": gzip.compress(b"\xff\n"),
}


@pytest.mark.parametrize("content", RUBBISH.values(), ids=RUBBISH)
async def test_a_list_of_batches_that_is_none_is_damaged(
    backups: Backups, tmp_path: Path, content: bytes
) -> None:
    """also where its checksum was made of the same rubbish"""
    taken = await backups.take(tmp_path / "backups")
    path, table = taken / NAME, taken / "batch.copy.gz"
    table.write_bytes(content)
    written = json.loads(path.read_text())
    for entry in written["tables"]:
        entry["sha256"] = digest_of(taken / f"{entry['name']}.copy.gz")
    path.write_text(json.dumps(written))
    with pytest.raises(BackupDamaged, match=r"batch\.copy\.gz is not a copy of the table `batch`"):
        check(taken, None)


async def test_a_file_that_cannot_be_replaced_is_named(
    backups: Backups, empty_database: str, tmp_path: Path
) -> None:
    """A folder in its place is nothing that may be moved out of the way."""
    await fill(backups)
    taken = await backups.take(tmp_path / "backups")
    file = next(backups.data_dir.glob("*.ccdf"))
    file.unlink()
    file.mkdir()
    with pytest.raises(FolderUnusable, match=f"{file.name} cannot be used: Is a directory"):
        await replace(backups, database_url=empty_database).restore(taken)


def ran(folder: Path, *words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """`corechain relayer backup …` inside a folder, with these settings alone."""
    return completed("corechain_relayer", ["backup", *words], settings, folder)


async def test_a_backup_is_taken_with_three_settings_and_checked_where_it_is_with_none(
    backups: Backups,
    empty_database: str,
    deployment: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await fill(backups)
    settings = {
        "RELAYER_DATABASE_URL": backups.database_url,
        "RELAYER_DATA_DIR": str(backups.data_dir),
        "RELAYER_DEPLOYMENT": str(deployment),
        "RELAYER_LANES": "of another command",
    }
    done = await asyncio.to_thread(ran, tmp_path, "take", "backups", **settings)
    assert done.returncode == 0, done.stderr
    taken = Path(json.loads(done.stdout)["backup"])
    done = await asyncio.to_thread(ran, taken, "check", ".", RELAYER_LANES="of another command")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["backup"] == str(taken)
    bare = await backups.take(taken.parent, with_files=False)
    with pytest.raises(InvalidSetting, match="set RELAYER_DATA_DIR"):
        check(bare, None)
    monkeypatch.chdir(taken)
    restored = Backups(empty_database, tmp_path / "elsewhere", backups.deployment)
    assert (await restored.restore(Path())).batches == 2
