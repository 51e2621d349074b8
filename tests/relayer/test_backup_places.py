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
import json
import subprocess
import sys
from pathlib import Path

import pytest

from corechain.service.settings import InvalidSetting
from corechain_relayer.backup.manifest import NAME
from corechain_relayer.backup.places import LOCK
from corechain_relayer.backup.sets import Backups, check
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


def checked(folder: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    """`corechain relayer backup check .` inside a folder, with these settings alone."""
    command = [sys.executable, "-m", "corechain_relayer", "backup", "check", "."]
    return subprocess.run(
        command, cwd=folder, env=settings, capture_output=True, text=True, check=False
    )


async def test_a_backup_is_checked_where_it_is_without_settings(
    backups: Backups, empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(backups)
    taken = await backups.take(tmp_path / "backups")
    done = await asyncio.to_thread(checked, taken, RELAYER_LANES="of another command")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["backup"] == str(taken.resolve())
    bare = await backups.take(tmp_path / "backups", with_files=False)
    with pytest.raises(InvalidSetting, match="set RELAYER_DATA_DIR"):
        check(bare, None)
    monkeypatch.chdir(taken)
    restored = Backups(empty_database, tmp_path / "elsewhere", backups.deployment)
    assert (await restored.restore(Path())).batches == 2
