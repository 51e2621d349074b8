"""Histories as tables and files: what stands in them, and how they go on after an interruption.

given a history of a week
  a table and a file have its readings, with units, times in UTC, flags and what leads to the chain
  an export that is killed after any page, or in the middle of one, goes on without a row lost or
  doubled
  what lies beside it and is of something else is refused, and nothing is overwritten
  without the optional packages the error names the extra, and CSV needs none
"""

import asyncio
import csv
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pandas
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.batches import CELL, KEYS, days_of_readings
from support.flows import carried_out
from support.histories import HistoryApi, HistoryChain
from support.processes import PATIENCE_S

from corechain import ExportMismatch, FileInUse, InvalidValue, MissingExtra, held_files
from corechain.cli_values import place_of, region_of, time_of
from corechain.device_cli import _observation
from corechain.histories import AsyncHistory, History
from corechain.history_files import CsvFile, ParquetFile, is_under_way, was_left
from corechain.history_question import HistoryQuestion
from corechain.history_tables import KINDS
from corechain.stream_cli import CursorFile
from corechain.times import time_text

BATCHES = days_of_readings(5)
DEVICE = KEYS[1].identity.device
ROWS = 2 * 24 * 5
WRITERS = {"csv": CsvFile, "parquet": ParquetFile}


def history(page: int = 2, **given: Any) -> History:
    names = {"device": DEVICE, "metric": None, "start": None, "end": None, "region": CELL}
    names |= {"newest_first": False, "since_block": None, "resolution": 7}
    question = HistoryQuestion.of(*(names | given).values(), {})
    api, chain = HistoryApi(BATCHES, page), HistoryChain(BATCHES)
    stand: Any = question, None, "raise", None, lambda: chain
    return History(lambda flow: carried_out(flow, api), stand)


def awaited_history() -> AsyncHistory:
    api, chain = HistoryApi(BATCHES, 2), HistoryChain(BATCHES)
    stand: Any = history().question, None, "raise", None, lambda: chain

    async def carry_out(flow: Any) -> Any:
        return carried_out(flow, api)

    return AsyncHistory(carry_out, stand)


def rows_of(path: Path) -> list[tuple[int, int]]:
    if path.suffix == ".parquet":
        table = pyarrow.parquet.read_table(path)
        pairs = zip(table["batch_id"].to_pylist(), table["position"].to_pylist(), strict=True)
    else:
        with path.open(newline="") as file:
            pairs = ((int(one["batch_id"]), int(one["position"])) for one in csv.DictReader(file))
            return list(pairs)
    return list(pairs)


EXPECTED = [(one.batch_id, one.position) for one in history()]


def test_a_table_has_units_times_flags_and_what_leads_to_the_chain(tmp_path: Path) -> None:
    frame = history().to_pandas()
    assert list(frame.columns) == list(KINDS)
    assert len(frame) == ROWS == len(EXPECTED)
    assert str(frame["time"].dtype) == "datetime64[s, UTC]"
    first = frame.iloc[0]
    assert (first["metric_name"], first["unit"], first["flag"]) == ("air_temperature", "Cel", 1)
    assert first["quantity"] == first["value"] / 100
    assert first["time"].timestamp() == first["observed_at"]
    batch = BATCHES[0]
    assert first["commitment"] == "0x" + batch.commitment.hex()
    assert first["readings_root"] == "0x" + batch.readings.root.hex()
    assert (first["block"], first["provenance"]) == (10, "device")
    table = history().to_arrow()
    assert table.to_pandas()["value"].tolist() == frame["value"].tolist()
    assert history().to_parquet(tmp_path / "h.parquet") == ROWS
    assert history().to_csv(tmp_path / "h.csv") == ROWS
    written = pandas.read_csv(tmp_path / "h.csv", parse_dates=["time"])
    assert written["quantity"].tolist() == frame["quantity"].tolist()
    assert written["time"].tolist() == frame["time"].tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["h.csv", "h.parquet"]


def test_an_empty_history_is_a_table_without_rows(tmp_path: Path) -> None:
    for end in (".csv", ".parquet"):
        path = tmp_path / f"none{end}"
        write = {".csv": "to_csv", ".parquet": "to_parquet"}[end]
        assert getattr(history(metric="co2"), write)(path) == 0
        assert rows_of(path) == []
    assert len(history(metric="co2").to_pandas()) == 0


async def test_an_export_that_is_cancelled_lets_go_when_its_thread_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one to the same name would get its rows, or be refused for ever."""
    path, begun, may_go_on, real = tmp_path / "h.csv", Event(), Event(), CsvFile._begin

    def slow(file: CsvFile) -> None:
        begun.set()
        assert may_go_on.wait(PATIENCE_S)
        real(file)

    with monkeypatch.context() as patch:
        patch.setattr(CsvFile, "_begin", slow)
        running = asyncio.create_task(awaited_history().to_csv(path))
        await asyncio.to_thread(begun.wait, PATIENCE_S)
        running.cancel()
        for _ in range(20):  # it would end in the next turns of the loop
            await asyncio.sleep(0)
        ended_early = running.done()
        may_go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert not ended_early
    assert not os.listdir(tmp_path)
    assert await awaited_history().to_csv(path) == ROWS


def test_a_file_is_let_go_of_also_where_a_forked_child_has_it(tmp_path: Path) -> None:
    found = history()
    file = CsvFile(tmp_path / "h.csv", found)
    found.go_to(file.resumed())
    file.take(next(found.pages()), found.cursor)
    childs = os.dup(file._holder or 0)  # the same as what a fork gives
    file.close()
    assert history().to_csv(tmp_path / "h.csv") == ROWS
    os.close(childs)


def test_on_windows_a_file_is_renamed_as_nobody_has_it_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even we do: Windows refuses to rename it, or to put another one in its place."""
    opened = set(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(held_files, "sys", SimpleNamespace(platform="win32"))
    file, kept = CsvFile(tmp_path / "h.csv", history()), CursorFile(tmp_path / "cursor")
    with kept.held():
        file.resumed()
        kept.keep("c1")
        assert set(os.listdir("/proc/self/fd")) == opened
    file.close()
    assert kept.read() == "c1"


runs = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2), st.booleans()), max_size=4)
"""Of each: how long its pages are, how many it takes, and whether it is killed in the next one."""


@settings(max_examples=16)
@given(runs)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_export_that_is_killed_anywhere_loses_and_doubles_nothing(
    tmp_path_factory: pytest.TempPathFactory, kind: str, killed: list[tuple[int, int, bool]]
) -> None:
    path = tmp_path_factory.mktemp("export") / f"h.{kind}"
    for size, count, in_write in killed:
        found = history(size)
        file = WRITERS[kind](path, found)
        found.go_to(file.resumed())
        with pytest.raises(FileInUse):
            history().to_csv(path) if kind == "csv" else history().to_parquet(path)
        pages = found.pages()
        for page in islice(pages, count):
            file.take(page, found.cursor)
        if in_write and (page := next(pages, None)) is not None:
            file._write(page)  # its rows are there, and the state does not know of them
        assert is_under_way(path)
        file._is_new = False  # killed: nobody tidies up
        file.close()
    write = {"csv": History.to_csv, "parquet": History.to_parquet}[kind]
    assert write(history(), path) == ROWS
    assert rows_of(path) == EXPECTED
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_what_is_of_another_export_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "h.csv"
    file = CsvFile(path, begun := history(1))
    begun.go_to(file.resumed())
    assert is_under_way(path)
    file.take(next(begun.pages()), begun.cursor)
    file.close()
    with pytest.raises(ExportMismatch, match="another question"):
        history(metric="pressure").to_csv(path)
    file._part.unlink()
    with pytest.raises(ExportMismatch, match="shorter"):
        history().to_csv(path)
    file._state_path.write_text("{")
    with pytest.raises(ExportMismatch, match="no state"):
        history().to_csv(path)
    parts = ParquetFile(tmp_path / "h.parquet", begun := history(1))
    begun.go_to(parts.resumed())
    parts.take(next(begun.pages()), begun.cursor)
    parts.close()
    parts._part_path(0).unlink()
    with pytest.raises(IsADirectoryError):
        history().to_csv(tmp_path)  # before an hour of reading, and not behind it
    with pytest.raises(ExportMismatch, match="gone"):
        history().to_parquet(tmp_path / "h.parquet")
    assert not path.exists()


def test_what_was_killed_before_its_first_page_is_in_nobodys_way(tmp_path: Path) -> None:
    file = CsvFile(tmp_path / "h.csv", history())
    file.resumed()
    file._is_new = False  # killed: nobody tidies up
    file.close()
    assert is_under_way(file.path)
    assert not was_left(file.path)
    assert history(metric="co2").to_csv(file.path) == 0


def test_without_its_package_a_form_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("pandas", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=r"corechain\[pandas\]"):
        history().to_pandas()
    with pytest.raises(MissingExtra, match=r"corechain\[arrow\]"):
        history().to_arrow()
    with pytest.raises(MissingExtra, match=r"corechain\[arrow\]"):
        history().to_parquet(tmp_path / "h.parquet")
    assert list(tmp_path.iterdir()) == [], "it was never begun, and is in nobody's way"
    assert history().to_csv(tmp_path / "h.csv") == ROWS


def test_a_time_beyond_every_calendar_is_left_empty() -> None:
    assert time_text(2**40 - 1) == ""
    assert time_text(1_359_720_000) == "2013-02-01T12:00:00Z"


@pytest.mark.parametrize(
    ("take", "text"),
    [
        (partial(time_of, "start"), "May"),
        (region_of, "1.5,2,3,x"),
        (region_of, "nowhere.geojson"),
        (region_of, "4_0.4,-74.3,40.9,-73.6"),
        (place_of, "40.69,-٧٤"),
        (partial(_observation, cell=(0, 0), at=1), "air_temperature=2_1"),
    ],
)
def test_an_option_that_is_none_is_refused_by_name(take: Callable[[str], Any], text: str) -> None:
    with pytest.raises(InvalidValue, match="takes"):
        take(text)


def test_options_say_what_python_says(tmp_path: Path) -> None:
    polygon = {"type": "Polygon", "coordinates": []}
    (tmp_path / "bay.geojson").write_text(json.dumps({"type": "Feature", "geometry": polygon}))
    assert region_of(str(tmp_path / "bay.geojson")) == polygon
    assert region_of("40.4,-74.3,40.9,-73.6") == (40.4, -74.3, 40.9, -73.6)
    assert region_of("872a1072bffffff,872a10728ffffff") == ["872a1072bffffff", "872a10728ffffff"]
    assert time_of("end", "2013-02-01T12:00:00Z").timestamp() == time_of("end", "1359720000")
    assert (region_of(None), time_of("end", None)) == (None, None)
