"""A start finds the file that never became a batch, and opens no other.

given a folder of data files, and a journal
  when the last file is of a batch, or of none
    only this one is looked at
  when nothing says which file is the last, or the journal is older than it
    all files of the lane are looked at
  when files of no batch were found
    what can never be a batch is left over; what may be all that is left of reports halts the lane
    (that it is made a batch where it goes on from the journal: test_restored)
"""

import os
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from corechain.deployment import Deployment, load_deployment
from corechain.protocol.batch import Header, Origin, batch_id, pack_head
from corechain.protocol.frame import columns_of
from corechain.protocol.hashing import ZERO26, Digest26
from corechain.protocol.reading import DeviceId, Observation, Report
from corechain.protocol.states import StateColumns
from corechain.service.database import connect, migrate
from corechain.service.errors import WriterLockHeld
from corechain_relayer.aggregator import files as data_files
from corechain_relayer.aggregator import orphans
from corechain_relayer.aggregator.files import (
    data_path,
    last_written,
    origin_of,
    take_turn,
    write_data_file,
)
from corechain_relayer.aggregator.orphans import Unknown, unknown_files
from corechain_relayer.aggregator.position import Lane
from corechain_relayer.errors import DataDirUnusable, ResumeImpossible
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


def write(
    folder: Path,
    number: int,
    tag: int = 0,
    lane: int = LANE,
    registry: bytes = bytes(20),
    turn: str = "",
) -> Path:
    """A data file as far as it says whose it is."""
    origin = Origin(batch_id(lane, number), ZERO26, ZERO26, 31337, registry)
    return write_data_file(folder, commitment_of(number, tag), pack_head(origin), turn)


async def keep(journal: BatchJournal, number: int) -> None:
    header = Header(batch_id(LANE, number), *[ZERO26] * 4, *[bytes(32)] * 2, 1, 1, 0, 1)
    parts = columns_of(REPORT), StateColumns.of({})
    await journal.keep(KeptBatch(header, commitment_of(number), 0, *parts), None)


def trap(folder: Path) -> None:
    """Whoever opens all data files fails."""
    (folder / f"{'ff' * 26}.ccdf").mkdir()


STOPS: dict[str, tuple[Any, str]] = {
    "its content is written": (os, "fsync"),
    "it is to look whose turn it is": (data_files, "_has_turn"),
    "it has its name still to come": (Path, "replace"),
}


async def found(journal: BatchJournal, folder: Path, executor: Executor) -> list[Path]:
    return [file.path for file in await unknown_files(journal, folder, executor)]


async def test_only_the_last_file_is_looked_at(
    journal: BatchJournal, executor: Executor, tmp_path: Path
) -> None:
    write(tmp_path, 1)
    await keep(journal, 1)
    trap(tmp_path)
    assert await found(journal, tmp_path, executor) == []
    second = write(tmp_path, 2, tag=9)
    (unknown,) = await unknown_files(journal, tmp_path, executor)
    assert unknown.path == second
    assert unknown.origin == Origin(batch_id(LANE, 2), ZERO26, ZERO26, 31337, bytes(20))
    second.unlink()
    assert await found(journal, tmp_path, executor) == []


async def test_another_file_of_a_number_that_has_a_batch_is_found(
    journal: BatchJournal, executor: Executor, tmp_path: Path
) -> None:
    await keep(journal, 1)
    trap(tmp_path)
    other = write(tmp_path, 1, tag=9)
    assert await found(journal, tmp_path, executor) == [other]


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
    assert await found(journal, tmp_path, executor) == sorted(files[1:])
    (tmp_path / f"lane-{LANE}.last").unlink()
    assert await found(journal, tmp_path, executor) == sorted(files[1:])
    assert files[0].exists()
    assert foreign.exists()
    assert sum(asked) == 6
    assert max(asked) <= page


@pytest.mark.parametrize("torn", [b"", b"12884901889", b"x y", b"1 zz", b"1 00", b"\xff\xfe 1"])
def test_a_torn_note_is_none(torn: bytes, tmp_path: Path) -> None:
    write(tmp_path, 1)
    note = last_written(tmp_path, LANE)
    assert note is not None
    assert (note.batch_id, note.commitment) == (batch_id(LANE, 1), commitment_of(1))
    (tmp_path / f"lane-{LANE}.last").write_bytes(torn)
    assert last_written(tmp_path, LANE) is None
    assert last_written(tmp_path, LANE + 1) is None


def test_the_note_is_there_before_the_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(path: Path, target: Path) -> Path:
        if target == data_path(tmp_path, commitment_of(1)):
            raise OSError(f"died before {os.fspath(target)}")
        return real(path, target)

    real = Path.replace
    monkeypatch.setattr(Path, "replace", die)
    with pytest.raises(DataDirUnusable):
        write(tmp_path, 1)
    assert not data_path(tmp_path, commitment_of(1)).exists()
    note = last_written(tmp_path, LANE)
    assert note is not None
    assert note.commitment == commitment_of(1)


@pytest.mark.parametrize("stopped", STOPS)
def test_who_is_woken_after_another_has_taken_over_makes_no_file(
    stopped: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by SIGSTOP in the midst of a file, SIGCONT ten minutes later: its half was the other's
    file by then, under the name that both of them wrote to."""
    late, (owner, name) = take_turn(tmp_path, LANE), STOPS[stopped]
    real = getattr(owner, name)
    made: list[Path] = []

    def stop(*words: Any) -> Any:
        if not made:
            made.append(tmp_path)  # the other one does not stop here
            turn = take_turn(tmp_path, LANE)
            made.append(write(tmp_path, 2, tag=1, turn=turn))
        return real(*words)

    monkeypatch.setattr(owner, name, stop)
    with pytest.raises(WriterLockHeld, match=f"data files of lane {LANE}"):
        write(tmp_path, 2, tag=2, turn=late)
    note = last_written(tmp_path, LANE)
    assert note is not None
    assert note.commitment == commitment_of(2, 1)
    assert list(tmp_path.glob("*.ccdf")) == made[1:]
    assert made[1].read_bytes().startswith(b"CCDF")


# ---------------------------------------------------------------- what may become of such a file


@pytest.fixture
def lane(journal: BatchJournal, deployment: Path, tmp_path: Path) -> Lane:
    return Lane(LANE, journal, load_deployment(deployment), tmp_path)


def ours(lane: Lane, number: int, tag: int = 0) -> Unknown:
    """A file of this network."""
    return unknown(lane.data_dir, lane.deployment, number, tag)


def unknown(folder: Path, deployment: Deployment, number: int, tag: int = 0) -> Unknown:
    place = deployment.chain_id, deployment.address("DeviceRegistry")
    path = write(folder, number, tag, registry=place[1])
    return Unknown(path, Origin(batch_id(LANE, number), ZERO26, ZERO26, *place))


async def test_what_can_never_be_a_batch_is_left_over(lane: Lane) -> None:
    """of a number that has one, of another network, without a head that can be read"""
    await keep(lane.journal, 1)
    second = ours(lane, 1, tag=9)
    other = write(lane.data_dir, 2, tag=8)
    elsewhere = Unknown(other, Origin(batch_id(LANE, 2), ZERO26, ZERO26, 1, bytes(20)))
    torn = Unknown(lane.data_dir / "torn.ccdf", None)
    left = await lane.take_up([second, elsewhere, torn])
    assert sorted(left) == sorted([second.path, other, torn.path])
    assert await lane.journal.last() == 1


async def test_a_file_whose_forerunners_are_lost_halts_the_lane(lane: Lane) -> None:
    """set aside, it would take reports with it that were acknowledged"""
    await keep(lane.journal, 1)
    with pytest.raises(ResumeImpossible, match=r"ends with batch 1, .* of 2, .* is batch 3: ") as e:
        await lane.take_up([ours(lane, 3)])
    assert "docs/operators/backup.md" in str(e.value)


async def test_two_files_of_one_number_halt_the_lane(lane: Lane) -> None:
    """either may be on its way to the chain"""
    files = [ours(lane, 1), ours(lane, 1, tag=9)]
    with pytest.raises(ResumeImpossible, match="are both batch 1, and neither is on chain"):
        await lane.take_up(files)


@pytest.mark.parametrize("length", [0, 4, 80])
def test_a_file_without_a_whole_head_is_nobodys(length: int, tmp_path: Path) -> None:
    path = write(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:length])
    assert origin_of(path) is None
