"""Several chains side by side, by one command: what happens to one happens to it alone.

given a folder with a good chain and one whose deployment file is missing
  ├── the good one is mirrored, also after its process was killed
  └── when the command itself is killed, no process is left
given files that share what each chain needs for itself
  └── the command refuses to start, in one sentence
"""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest
from support.command import COMMAND, corechain, environment
from support.fake_chain import FakeChain, fake_chain
from support.processes import family, survivors, until

from corechain.service.settings import InvalidSetting
from corechain_indexer.chains import Chain, ChainEnded, chains_in
from indexer.torture import write_manifest

COMMON = {"INDEXER_DATA_URLS": "", "INDEXER_HTTP_PORT": "0"}


def write(folder: Path, name: str, **settings: str) -> None:
    lines = [f"INDEXER_{key.upper()}={value}" for key, value in settings.items()]
    (folder / f"{name}.env").write_text("\n".join(["# a chain", "", *lines]))


@contextmanager
def running(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with (folder / "log").open("wb") as log:
        command = subprocess.Popen(
            [*COMMAND, "indexer", "chains", str(folder), "--role", "mirror"],
            env=environment(COMMON), stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield command
        finally:
            known = family(command.pid) if command.poll() is None else []
            for process in known:
                process.kill()
            command.wait()


def process_of(command: "subprocess.Popen[bytes]", chain: str) -> psutil.Process | None:
    for process in family(command.pid)[1:]:
        try:
            if chain in process.cmdline():
                return process
        except psutil.Error:
            continue
    return None


async def newest_block(database: str) -> int:
    """-1 while there is none."""
    try:
        connection = await asyncpg.connect(database)
    except (OSError, asyncpg.PostgresError):
        return -1
    try:
        return int(await connection.fetchval("select coalesce(max(number), -1) from block"))
    except asyncpg.PostgresError:
        return -1
    finally:
        await connection.close()


async def is_mirrored(chain: FakeChain, database: str) -> bool:
    return await newest_block(database) == chain.blocks[-1].number


async def test_one_chain_that_fails_leaves_the_other(
    database: str, bus_url: str, tmp_path: Path
) -> None:
    with fake_chain() as chain:
        stores = {"database_url": database, "redis_url": bus_url}
        manifest = str(write_manifest(tmp_path / "31337.json"))
        write(tmp_path, "good", rpc_url=chain.url, deployment=manifest, **stores)
        write(
            tmp_path, "bad", rpc_url=chain.url, deployment="missing.json",
            database_url="postgresql://127.0.0.1:9/x", redis_url="redis://127.0.0.1:9/1",
        )  # fmt: skip
        with running(tmp_path) as command:
            chain.mine()
            chain.catch_up()
            await until(lambda: is_mirrored(chain, database))
            first = process_of(command, "good")
            assert first is not None
            first.kill()
            chain.mine()
            chain.catch_up()
            await until(lambda: is_mirrored(chain, database))
            said = "the indexer of bad ended with code 2"
            await until(lambda: said in (tmp_path / "log").read_text())
            left = family(command.pid)
            command.send_signal(signal.SIGKILL)
            command.wait()
            assert survivors(left) == []


def test_the_chains_of_a_folder_have_the_common_environment(tmp_path: Path) -> None:
    shared = {"http_port": "0", "redis_url": "redis://cluster"}
    write(tmp_path, "b", database_url="postgresql://h/b", **shared)
    write(tmp_path, "a", database_url="postgresql://h/a", poll_s=" 2 ", **shared)
    found = chains_in(tmp_path, {"INDEXER_POLL_S": "1", "PATH": "/bin"})
    assert [chain.name for chain in found] == ["a", "b"]
    assert [chain.environment["INDEXER_POLL_S"] for chain in found] == ["2", "1"]
    assert found[0].environment["PATH"] == "/bin"


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "has no file NAME.env"),
        ({"a": "INDEXER_POLL_S"}, "a.env, line 1: not NAME=value"),
        ({"a": "\n=2"}, "a.env, line 2: not NAME=value"),
        ({"a": "INDEXER_DATABASE_URL=x", "b": "INDEXER_DATABASE_URL=x"},
         "a and b have the same INDEXER_DATABASE_URL"),
        ({"a": "", "b": ""}, "the same INDEXER_HTTP_PORT"),
    ],
)  # fmt: skip
def test_chains_that_would_get_in_each_others_way_are_refused(
    tmp_path: Path, files: dict[str, str], why: str
) -> None:
    for name, content in files.items():
        (tmp_path / f"{name}.env").write_text(content)
    with pytest.raises(InvalidSetting, match=why):
        chains_in(tmp_path, {})


def test_what_is_no_folder_is_not_called_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="none is not a folder"):
        chains_in(tmp_path / "none", {})


def test_the_command_refuses_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.env").write_bytes(b"\xff")
    done = corechain("indexer", "chains", tmp_path)
    assert done.returncode == 2
    assert "a.env cannot be read" in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_process_that_ends_says_so() -> None:
    chain = Chain("x", {"PATH": "/bin"}, ["--no-such-option"])
    with pytest.raises(ChainEnded, match="the indexer of x ended with code 2"):
        await chain.session()
    await chain.stop()
