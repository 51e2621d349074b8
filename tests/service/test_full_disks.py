"""Files of ours on a full disk: nothing half written is taken for whole, and all goes on by itself.

given a disk without room
  ├── a data file is not there, the setting is named, and the next try writes it
  ├── half a key is not in the way of the next one
  └── a line of the log is lost and counted; what it tells of goes on
given a folder that cannot be made
  └── the setting is named at the start
"""

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO, cast

import pytest
import structlog
from typer.testing import CliRunner

from corechain.device_cli import commands
from corechain.service.logs import _StandardError
from corechain.service.settings import InvalidSetting
from corechain_relayer.aggregator.files import data_path, write_data_file
from corechain_relayer.bridge.keys import KeyFolder, new_key
from corechain_relayer.errors import DataDirUnusable
from corechain_relayer.journal_settings import StoredSettings

COMMITMENT = b"\7" * 26


@contextmanager
def full() -> Iterator[None]:
    def no_room(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", no_room)
        yield


def test_a_data_file_is_whole_or_not_there(tmp_path: Path) -> None:
    said = r"^RELAYER_DATA_DIR cannot be written: No space left on device$"
    with full(), pytest.raises(DataDirUnusable, match=said):
        write_data_file(tmp_path, COMMITMENT, bytes(1_000))
    assert not data_path(tmp_path, COMMITMENT).exists()
    write_data_file(tmp_path, COMMITMENT, bytes(1_000))
    assert data_path(tmp_path, COMMITMENT).read_bytes() == bytes(1_000)


def test_half_a_key_is_not_in_the_way_of_the_next_one(tmp_path: Path) -> None:
    key, keys, file = new_key(), KeyFolder(tmp_path), tmp_path / "device"
    with full():
        with pytest.raises(OSError, match="No space left"):
            keys.keep(key)
        refused = CliRunner().invoke(commands, ["new", str(file)])
    assert (refused.exit_code, "No space left" in refused.output) == (2, True)
    assert list(tmp_path.iterdir()) == []
    keys.keep(key)
    assert keys.of(key.identity.device) == key
    assert CliRunner().invoke(commands, ["new", str(file)]).exit_code == 0


def test_a_line_of_the_log_that_finds_no_room_is_lost_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = structlog.WriteLogger(cast("TextIO", _StandardError()))
    # At its end it would write what it still holds.
    with suppress(OSError), Path("/dev/full").open("w", buffering=1) as disk:
        monkeypatch.setattr(sys, "stderr", disk)
        log.info("one")
        log.info("two")
    again = io.StringIO()
    monkeypatch.setattr(sys, "stderr", again)
    log.info("three")
    log.info("four")
    first, told, last = again.getvalue().splitlines()
    assert (first, last) == ("three", "four")
    assert json.loads(told) == {"event": "log lines lost", "level": "error", "lines": 2}


def test_a_folder_that_cannot_be_made_is_named_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = StoredSettings(
        deployment=tmp_path, database_url="postgresql://h/d", data_dir=tmp_path / "file" / "below"
    )
    with pytest.raises(InvalidSetting, match=r"^RELAYER_DATA_DIR cannot be made: Not a directory$"):
        settings.make_data_dir()
