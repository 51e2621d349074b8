"""Files of archived leaves: what they hold comes back, and damage is found and named.

given files
  ├── blocks come back, as from those of before levels were in them
  ├── each byte counts; a file of another batch is not taken
  └── half a file is swept away once nobody writes it
given settings
  └── without a folder readings cannot be moved anywhere: refused at start
"""

import os
from pathlib import Path

import pytest

from corechain.service.settings import InvalidSetting, load
from corechain_indexer.settings import Settings
from corechain_indexer.store import archive_files
from corechain_indexer.store.archive_files import (
    Damaged,
    path_of,
    read_archive,
    read_levels,
    sweep,
    write_archive,
)
from indexer.archives import BLOCKS, NAME, Change, flip

DAMAGES: dict[str, tuple[Change, str]] = {
    "cut off at its end": (lambda p: os.truncate(p, p.stat().st_size - 1), "length is wrong"),
    "longer than it was": (lambda p: p.write_bytes(p.read_bytes() + b"x"), "length is wrong"),
    "cut off in its table": (lambda p: os.truncate(p, 45), "cut off in its head"),
    "empty": (lambda p: os.truncate(p, 0), "cut off in its head"),
    "another magic": (flip(0), "no archive of leaves"),
    "another count": (flip(37), "cut off in its head"),
    "another table": (flip(40), "head is damaged"),
    "another last byte": (flip(-1), "block . is damaged"),
    "missing": (lambda p: p.unlink(), "No such file"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "Is a directory"),
}


# ------------------------------------------------------------------------------------ files


def whole(folder: Path) -> list[bytes | None]:
    return [*read_archive(folder, NAME, 0, None), read_levels(folder, NAME)]


def test_a_file_of_before_levels_were_in_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr(archive_files, "MAGIC", archive_files.WITHOUT_LEVELS)
        path_of(tmp_path, NAME).parent.mkdir()
        path_of(tmp_path, NAME).write_bytes(archive_files.encoded(NAME, BLOCKS[:-1], BLOCKS[-1]))
    assert whole(tmp_path) == [*BLOCKS, None]
    assert read_archive(tmp_path, NAME, 1, 2) == BLOCKS[1:3]


def test_blocks_come_back_from_their_file(tmp_path: Path) -> None:
    write_archive(tmp_path, NAME, BLOCKS, b"levels")
    write_archive(tmp_path, NAME, BLOCKS, b"levels")  # over itself
    assert read_archive(tmp_path, NAME, 0, None) == BLOCKS
    assert read_levels(tmp_path, NAME) == b"levels"
    for first in range(6):
        for last in range(first, 6):
            assert read_archive(tmp_path, NAME, first, last) == BLOCKS[first : last + 1]
    write_archive(tmp_path, bytes(26), [], b"")
    assert read_archive(tmp_path, bytes(26), 0, None) == []
    assert read_levels(tmp_path, bytes(26)) == b""
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_of_a_file_is_found_and_named(tmp_path: Path, damage: str) -> None:
    write_archive(tmp_path, NAME, BLOCKS, b"levels")
    change, why = DAMAGES[damage]
    change(path_of(tmp_path, NAME))
    with pytest.raises((Damaged, OSError), match=why):
        whole(tmp_path)


def test_each_byte_of_a_file_counts(tmp_path: Path) -> None:
    write_archive(tmp_path, NAME, BLOCKS[:2], b"levels")
    path = path_of(tmp_path, NAME)
    for at in range(path.stat().st_size):
        flip(at)(path)
        with pytest.raises(Damaged):
            whole(tmp_path)
        flip(at)(path)
    assert whole(tmp_path) == [*BLOCKS[:2], b"levels"]


def test_a_file_of_another_batch_is_not_taken(tmp_path: Path) -> None:
    other = NAME[:-1] + b"\0"
    write_archive(tmp_path, NAME, BLOCKS, b"levels")
    path_of(tmp_path, NAME).rename(path_of(tmp_path, other))
    with pytest.raises(Damaged, match="another batch"):
        read_archive(tmp_path, other, 0, 0)


def test_half_a_file_is_swept_away_once_nobody_writes_it(tmp_path: Path) -> None:
    write_archive(tmp_path, NAME, BLOCKS, b"levels")
    part = path_of(tmp_path, NAME).with_suffix(".x.part")
    part.write_bytes(b"half")
    assert sweep(tmp_path, part.stat().st_mtime) == 0
    assert sweep(tmp_path, part.stat().st_mtime + 1) == 1
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".leaves"]


# --------------------------------------------------------------------------------- settings


def test_readings_move_nowhere_without_a_folder(tmp_path: Path) -> None:
    environment = {
        "INDEXER_RPC_URL": "http://node.example",
        "INDEXER_DEPLOYMENT": "x.json",
        "INDEXER_DATABASE_URL": "postgresql://db.example/one",
        "INDEXER_REDIS_URL": "redis://cache.example",
        "INDEXER_DATA_URLS": "",
        "INDEXER_KEEP_READINGS_DAYS": "365",
    }
    with pytest.raises(InvalidSetting, match=r"INDEXER_KEEP_READINGS_DAYS.*ARCHIVE_DIR"):
        load(Settings, environment)
    with pytest.raises(InvalidSetting, match="INDEXER_KEEP_READINGS_DAYS"):
        load(Settings, environment | {"INDEXER_KEEP_READINGS_DAYS": "-1"})
    settings = load(Settings, environment | {"INDEXER_ARCHIVE_DIR": str(tmp_path)})
    assert (settings.keep_readings_days, settings.archive_dir) == (365, tmp_path)
