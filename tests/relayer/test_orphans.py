"""A start sets aside the file that never became a batch, and opens no other.

given a folder of data files, and a journal
  when the last file is of a batch, or of none
    only this one is looked at
  when nothing says which file is the last, or the journal is older than it
    all files of the lane are looked at
"""

import os
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from corechain.protocol.batch import Header, Origin, batch_id, pack_head
from corechain.protocol.frame import columns_of
from corechain.protocol.hashing import ZERO26, Digest26
from corechain.protocol.reading import DeviceId, Observation, Report
from corechain.protocol.states import StateColumns
from corechain.service.database import connect, migrate
from corechain_relayer.aggregator import orphans
from corechain_relayer.aggregator.files import data_path, last_written, write_data_file
from corechain_relayer.aggregator.orphans import set_orphans_aside
from corechain_relayer.journal.batches import BatchJournal, KeptBatch
from corechain_relayer.journal.sql import migrations

if TYPE_CHECKING:
    from corechain.service.database import Conn

LANE = 3
REPORT = Report.of(DeviceId(bytes(20)), 1, [Observation(1, 0, 1, 1)]).body() + bytes(64)


@pytest.fixture
async def journal(database: str) -> AsyncIterator[BatchJournal]:
    await migrate(database, migrations())
    connection: Conn = await connect(database)
    yield BatchJournal(connection, LANE)
    await connection.close()


@pytest.fixture
def executor() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def commitment_of(number: int, tag: int = 0) -> Digest26:
    return Digest26(bytes([tag]) + number.to_bytes(25, "big"))


def write(folder: Path, number: int, tag: int = 0, lane: int = LANE) -> Path:
    """A data file as far as it says whose it is."""
    origin = Origin(batch_id(lane, number), ZERO26, ZERO26, 31337, bytes(20))
    return write_data_file(folder, commitment_of(number, tag), pack_head(origin))


async def keep(journal: BatchJournal, number: int) -> None:
    header = Header(batch_id(LANE, number), *[ZERO26] * 4, *[bytes(32)] * 2, 1, 1, 0, 1)
    parts = columns_of(REPORT), StateColumns.of({})
    await journal.keep(KeptBatch(header, commitment_of(number), 0, *parts), None)


def trap(folder: Path) -> None:
    """Whoever opens all data files fails."""
    (folder / f"{'ff' * 26}.ccdf").mkdir()


async def test_only_the_last_file_is_looked_at(
    journal: BatchJournal, executor: Executor, tmp_path: Path
) -> None:
    first = write(tmp_path, 1)
    await keep(journal, 1)
    trap(tmp_path)
    assert await set_orphans_aside(journal, tmp_path, executor) == []
    second = write(tmp_path, 2, tag=9)
    assert await set_orphans_aside(journal, tmp_path, executor) == [second]
    assert first.exists()
    assert not second.exists()
    assert second.with_name(second.name + ".orphan").exists()
    assert await set_orphans_aside(journal, tmp_path, executor) == []


async def test_another_file_of_a_number_that_has_a_batch_is_set_aside(
    journal: BatchJournal, executor: Executor, tmp_path: Path
) -> None:
    await keep(journal, 1)
    trap(tmp_path)
    other = write(tmp_path, 1, tag=9)
    assert await set_orphans_aside(journal, tmp_path, executor) == [other]


@pytest.mark.parametrize("page", [1, 2, 1_000])
async def test_a_folder_without_a_note_and_an_older_journal_are_looked_through(
    journal: BatchJournal,
    executor: Executor,
    tmp_path: Path,
    page: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """a page of files at a time, however many there are"""
    monkeypatch.setattr(orphans, "PAGE", page)
    asked, known_of = list[int](), BatchJournal.known_of

    async def counted(self: BatchJournal, commitments: Iterable[bytes]) -> set[bytes]:
        asked.append(len(list(commitments)))
        return await known_of(self, commitments)

    monkeypatch.setattr(BatchJournal, "known_of", counted)
    files = [write(tmp_path, number) for number in (1, 2, 3)]
    foreign = write(tmp_path, 1, tag=7, lane=LANE + 1)
    await keep(journal, 1)
    assert await set_orphans_aside(journal, tmp_path, executor) == sorted(files[1:])
    for file in files[1:]:
        file.with_name(file.name + ".orphan").rename(file)
    (tmp_path / f"lane-{LANE}.last").unlink()
    assert await set_orphans_aside(journal, tmp_path, executor) == sorted(files[1:])
    assert files[0].exists()
    assert foreign.exists()
    assert sum(asked) == 6
    assert max(asked) <= page


@pytest.mark.parametrize("torn", [b"", b"12884901889", b"x y", b"1 zz", b"1 00", b"\xff\xfe 1"])
def test_a_torn_note_is_none(torn: bytes, tmp_path: Path) -> None:
    write(tmp_path, 1)
    found = last_written(tmp_path, LANE)
    assert found is not None
    assert (found.batch_id, found.commitment) == (batch_id(LANE, 1), commitment_of(1))
    (tmp_path / f"lane-{LANE}.last").write_bytes(torn)
    assert last_written(tmp_path, LANE) is None
    assert last_written(tmp_path, LANE + 1) is None


def test_the_note_is_there_before_the_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(path: Path, target: Path) -> Path:
        raise OSError(f"died before {os.fspath(target)}")

    monkeypatch.setattr(Path, "replace", die)
    with pytest.raises(OSError, match="died"):
        write(tmp_path, 1)
    assert not data_path(tmp_path, commitment_of(1)).exists()
    found = last_written(tmp_path, LANE)
    assert found is not None
    assert found.commitment == commitment_of(1)
