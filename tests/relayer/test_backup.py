"""A backup is whole or refused, and restored whole or not at all.

given a relayer's database and data files
  when a backup is taken while batches come, and restored into an empty database
    every table is what it was at one moment, and numbers go on after the last one
  when the backup is damaged, of another network, of a newer version, or the database is in use
    it is refused by name, and nothing is written
  when data files are damaged, in the backup, in the relayer's folder or where they are restored to
    whole ones take their place, or it is refused with the file's name
  when the restore is killed (-9) between two tables
    the database is empty still, and the same command succeeds
"""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from corechain.service import database
from corechain_relayer.aggregator.files import data_path
from corechain_relayer.backup import tables
from corechain_relayer.backup.manifest import NAME
from corechain_relayer.backup.sets import Backups, check
from corechain_relayer.backup.tables import digest_of
from corechain_relayer.errors import (
    BackupDamaged,
    BackupOfAnother,
    DatabaseInUse,
    DataFilesDamaged,
    NewerBackup,
)
from relayer.backed_up import SENDER, another, backups_of, cut, fill, turn_a_byte

SLOW_S = 0.3
FILLED = (
    "batch", "batch_delta", "intent", "attempt", "device_sequence", "report_digest",
    "channel_state", "bus_position", "lane_count", "log_position", "seen_commit", "migration",
    "final_view", "final_log",
)  # fmt: skip


@pytest.fixture
def backups(database: str, deployment: Path, tmp_path: Path) -> Backups:
    return backups_of(database, deployment, tmp_path / "data")


async def contents(url: str) -> dict[str, list[Any]]:
    """Every table, sorted."""
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
    found = {}
    for (name,) in rows:
        lines = await connection.fetch(f'select t::text from "{name}" t order by 1')
        found[name] = [line[0] for line in lines]
    await connection.close()
    return found


async def test_a_backup_restored_is_what_was_there(
    backups: Backups, empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(backups)

    def slow(path: Path) -> str:
        time.sleep(SLOW_S if path.name.startswith("intent") else 0)
        return digest_of(path)

    monkeypatch.setattr(database, "LET_GO", database.LET_GO.replace("120000", "100"))
    monkeypatch.setattr(tables, "digest_of", slow)  # of a file of many gigabytes
    taken = await backups.take(tmp_path / "backups")
    was = await contents(backups.database_url)
    assert [name for name in FILLED if not was[name]] == [], "without rows it would show nothing"
    restored = Backups(empty_database, tmp_path / "elsewhere", backups.deployment)
    manifest = await restored.restore(taken)
    assert await contents(empty_database) == was
    assert manifest.last == {"0": 2}
    files = {path.name: path.read_bytes() for path in backups.data_dir.glob("*.ccdf")}
    assert {p.name: p.read_bytes() for p in restored.data_dir.iterdir()} == files
    connection = await asyncpg.connect(empty_database)
    new = "insert into intent (queue, key, target, calldata) values ('q', 'k', $1, '') returning id"
    assert await connection.fetchval(new, SENDER) == 3
    await connection.close()


async def test_a_later_backup_copies_new_files_alone(backups: Backups, tmp_path: Path) -> None:
    await fill(backups)
    folder = tmp_path / "backups"
    first = await backups.take(folder)
    kept = {path: path.stat().st_mtime_ns for path in (folder / "files").iterdir()}
    second = await backups.take(folder)
    assert {path: path.stat().st_mtime_ns for path in (folder / "files").iterdir()} == kept
    assert first != second
    digests = [[t.sha256 for t in check(taken, tmp_path).tables] for taken in (first, second)]
    assert digests[0] == digests[1], "the same rows make the same files"


DAMAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no manifest": (NAME, Path.unlink, "manifest.json cannot be read"),
    "half a manifest": (NAME, cut, "manifest.json is not a backup's"),
    "no table": ("intent.copy.gz", Path.unlink, "intent.copy.gz cannot be read"),
    "half a table": ("batch.copy.gz", cut, "batch.copy.gz is not what was written"),
    "no file": ("file", Path.unlink, "ccdf cannot be read"),
    "half a file": ("file", cut, r"data file \w+.ccdf: "),
    "another file": ("file", another, "has another batch's content"),
}


@pytest.mark.parametrize(("place", "damage", "words"), DAMAGES.values(), ids=DAMAGES)
async def test_a_damaged_backup_is_refused_before_anything_is_written(
    backups: Backups,
    empty_database: str,
    tmp_path: Path,
    place: str,
    damage: Callable[[Path], object],
    words: str,
) -> None:
    await fill(backups)
    taken = await backups.take(tmp_path / "backups")
    check(taken, tmp_path)
    file = next(p for p in (taken.parent / "files").iterdir() if p.suffix == ".ccdf")
    damage(file if place == "file" else taken / place)
    restored = Backups(empty_database, tmp_path / "elsewhere", backups.deployment)
    with pytest.raises(BackupDamaged, match=words):
        await restored.restore(taken)
    assert await contents(empty_database) == {}
    assert not restored.data_dir.exists()


async def test_a_backup_without_a_batchs_file_is_not_taken(
    backups: Backups, tmp_path: Path
) -> None:
    await fill(backups)
    gone = next(backups.data_dir.glob("*.ccdf"))
    gone.unlink()
    with pytest.raises(BackupDamaged, match=f"{gone.name} is not among the data files"):
        await backups.take(tmp_path / "backups")
    assert not list((tmp_path / "backups").glob("*Z"))
    # Whoever backs the files up otherwise takes the tables alone, and is told at the restore.
    taken = await backups.take(tmp_path / "backups", with_files=False)
    with pytest.raises(BackupDamaged, match=f"{gone.name} cannot be read"):
        check(taken, backups.data_dir)


async def test_what_does_not_belong_here_is_refused(
    backups: Backups, database: str, empty_database: str, tmp_path: Path
) -> None:
    """another chain's backup, a newer version's, and a database that is in use"""
    taken = await backups.take(tmp_path / "backups")
    with pytest.raises(DatabaseInUse, match="an empty one"):
        await backups.restore(taken)
    empty = replace(backups, database_url=empty_database)
    elsewhere = replace(backups.deployment, chain_id=1)
    with pytest.raises(BackupOfAnother, match="chain 31337"):
        await replace(empty, deployment=elsewhere).restore(taken)
    path = taken / NAME
    written = json.loads(path.read_text())
    path.write_text(json.dumps(written | {"migrations": ["9999_future.sql"], "version": "9.0"}))
    with pytest.raises(NewerBackup, match=r"version 9\.0, .*9999_future"):
        await empty.restore(taken)
    path.write_text(json.dumps(written | {"format": 2}))
    with pytest.raises(BackupDamaged, match="of format 2"):
        await empty.restore(taken)
    assert await contents(empty_database) == {}


@pytest.mark.parametrize("damage", [cut, turn_a_byte, another])
async def test_a_damaged_data_file_is_replaced_by_the_restore(
    backups: Backups, empty_database: str, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    await fill(backups)
    taken = await backups.take(tmp_path / "backups")
    file = next(backups.data_dir.glob("*.ccdf"))
    whole = file.read_bytes()
    damage(file)
    damaged = file.read_bytes()
    await replace(backups, database_url=empty_database).restore(taken)
    assert file.read_bytes() == whole
    assert file.with_name(f"{file.name}.damaged").read_bytes() == damaged


async def test_a_damaged_copy_of_an_earlier_backup_is_made_anew(
    backups: Backups, tmp_path: Path
) -> None:
    await fill(backups)
    first = await backups.take(tmp_path / "backups")
    copy = next((first.parent / "files").glob("*.ccdf"))
    turn_a_byte(copy)
    second = await backups.take(first.parent)
    assert check(second, None).batches == check(first, None).batches == 2


@pytest.mark.parametrize("torn", [b"", b"no sum", b"\xff\n" + b"0" * 64 + b"  00.ccdf\n"])
async def test_checksums_that_are_lost_or_wrong_cost_nothing_but_time(
    backups: Backups, tmp_path: Path, torn: bytes
) -> None:
    await fill(backups)
    first = await backups.take(tmp_path / "backups")
    sums = first.parent / "files" / "SHA256SUMS"
    written = sums.read_text()
    for line in written.splitlines():
        digest, name = line.split("  ")
        assert tables.digest_of(sums.with_name(name)) == digest
    sums.write_bytes(torn)
    turn_a_byte(next(sums.parent.glob("*.ccdf")))
    assert check(await backups.take(first.parent), None).batches == 2
    assert set(written.splitlines()) <= set(sums.read_text().splitlines())


@pytest.mark.parametrize("damage", [cut, turn_a_byte, another])
async def test_a_damaged_data_file_of_the_relayer_is_named_and_not_copied(
    backups: Backups, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    await fill(backups)
    file = next(backups.data_dir.glob("*.ccdf"))
    damage(file)
    with pytest.raises(DataFilesDamaged, match=f"data file {file.name}"):
        await backups.take(tmp_path / "backups")
    assert not (tmp_path / "backups" / "files" / file.name).exists()


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from corechain.deployment import load_deployment
from corechain_relayer.backup import tables
from corechain_relayer.backup.sets import Backups

fill, filled = tables._fill, []

async def fill_some(*arguments):
    if len(filled) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    filled.append(await fill(*arguments))

tables._fill = fill_some
url, data, manifest, taken = sys.argv[1:]
asyncio.run(Backups(url, Path(data), load_deployment(Path(manifest))).restore(Path(taken)))
"""


async def test_a_restore_that_is_killed_is_run_again(
    backups: Backups, empty_database: str, deployment: Path, tmp_path: Path
) -> None:
    await fill(backups)
    taken = await backups.take(tmp_path / "backups")
    target = tmp_path / "elsewhere"
    given = [empty_database, str(target), str(deployment), str(taken)]
    child = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", KILLED, *given], check=False
    )
    assert child.returncode == -signal.SIGKILL
    assert await contents(empty_database) == {}
    # As a power cut may leave it: a name that is not there yet, and half a file under another.
    file = next(target.glob("*.ccdf"))
    file.rename(file.with_name(f"{file.name}.part"))
    await Backups(empty_database, target, backups.deployment).restore(taken)
    assert await contents(empty_database) == await contents(backups.database_url)
    assert check(taken, target).batches == 2
    assert data_path(target, bytes.fromhex(file.stem)).exists()
    assert tables.digest_of(file) == tables.digest_of(backups.data_dir / file.name)
