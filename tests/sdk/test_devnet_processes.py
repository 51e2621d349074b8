"""Below the servers: programs, privileges, limits, and how each failure is said."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.processes import eventually, family, is_gone, mentioning, survivors

from corechain.devnet.errors import MissingProgram, NoFreePort, PortTaken, ServerNotStarted
from corechain.devnet.guard import CANNOT_START
from corechain.devnet.postgres import PostgresServer, Privileges, privileges
from corechain.devnet.process import GUARD, Command, free_port, is_free, run_lines
from corechain.devnet.programs import find_anvil, package_folder
from corechain.devnet.servers import Server

AS_ROOT = os.geteuid() == 0


class Mute(Server):
    """A program that never listens, and does not care for SIGTERM."""

    name = "mute"
    start_limit_s = 5.0  # a busy machine takes a second to start a shell
    stop_limit_s = 0.3
    answers = False
    program = "trap '' TERM; echo about to be mute; while true; do sleep 1; done"

    @property
    def url(self) -> str:
        return f"mute://{self.port}"

    def _command(self) -> Command:
        return Command(["sh", "-c", self.program])

    def _is_ready(self) -> bool:
        return self.answers and "about to be mute" in self.tail()


def test_a_server_that_never_answers_is_given_up_and_killed(tmp_path: Path) -> None:
    server = Mute(tmp_path)
    with pytest.raises(ServerNotStarted, match=r"not ready within 5 s") as refused:
        server.start()
    assert refused.value.tail == "about to be mute"
    assert not server.running


def test_a_server_that_does_not_listen_to_sigterm_is_killed_with_its_children(
    tmp_path: Path,
) -> None:
    server = Mute(tmp_path)
    server.answers, server.start_limit_s = True, 10.0
    server.start()
    members = family(server.pid)
    server.stop()
    assert survivors(members) == []


class Contested(Mute):
    """Another process is quicker: it takes each port that this server has found free."""

    program = "exit 1"

    def __init__(self, directory: Path, port: int | None = None) -> None:
        super().__init__(directory, port)
        self.tried: list[int] = []

    def _start_once(self) -> None:
        self.tried.append(self.port)
        raise PortTaken(self.port, self.name, self.setting)


def test_a_free_port_that_is_lost_to_another_is_replaced_at_most_three_times(
    tmp_path: Path,
) -> None:
    server = Contested(tmp_path)
    with pytest.raises(PortTaken):
        server.start()
    assert len(set(server.tried)) == 3


def test_a_port_that_was_asked_for_is_never_replaced(tmp_path: Path) -> None:
    port = free_port()
    server = Contested(tmp_path, port)
    with pytest.raises(PortTaken):
        server.start()
    assert server.tried == [port]
    assert is_free(port)


def test_a_server_that_was_never_started_can_be_stopped_killed_and_checked(tmp_path: Path) -> None:
    server = Mute(tmp_path)
    server.stop()
    server.kill()
    server.check()
    assert server.tail() == ""


def test_a_free_port_is_none_of_those_the_kernel_gives_to_clients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as client:
        client.bind(("127.0.0.1", 0))
        assert free_port() < 32_768 <= client.getsockname()[1]
    with socket.socket() as holder:
        port = free_port()
        holder.bind(("127.0.0.1", port))
        holder.listen()
        monkeypatch.setattr("corechain.devnet.process.FIRST_PORT", port)
        monkeypatch.setattr("corechain.devnet.process.LAST_PORT", port)
        with pytest.raises(NoFreePort, match=f"from {port} to {port}"):
            free_port()


def guard(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-I", "-S", str(GUARD), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_guard_whose_parent_is_gone_starts_nothing() -> None:
    done = guard("1" if os.getpid() != 1 else "2", "-", "echo", "started")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the parent is gone" in done.stderr


def test_a_program_that_does_not_exist_is_named() -> None:
    done = guard(str(os.getpid()), "-", "no-such-program")
    assert done.returncode == CANNOT_START
    assert done.stderr == "no-such-program: No such file or directory\n"


def test_lines_arrive_as_they_are_said_and_the_exit_code_at_the_end(tmp_path: Path) -> None:
    said: list[str] = []
    command = Command(["sh", "-c", "echo one; echo two >&2; exit 3"])
    assert run_lines(command, tmp_path, 10, said.append) == 3
    assert said == ["one", "two"]


def test_a_program_over_its_time_is_killed_with_its_children(tmp_path: Path) -> None:
    said: list[str] = []
    command = Command(["sh", "-c", "sleep 60 & echo $!; wait"])
    assert run_lines(command, tmp_path, 0.5, said.append) is None
    assert eventually(lambda: is_gone(int(said[0])))


def test_a_package_that_is_not_installed_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(MissingProgram, match=r"no-such-package is not installed; .*\[devnet\]"):
        package_folder("no_such_package")


def test_the_chosen_anvil_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_anvil()
    monkeypatch.setenv("CORECHAIN_ANVIL", str(found))
    monkeypatch.setenv("PATH", "")
    assert find_anvil() == found


def _script(path: Path) -> Path:
    path.write_text("#!/bin/sh\nexec anvil\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("exists", [False, True])
def test_a_chosen_anvil_that_is_no_program_is_refused(
    exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = _script(tmp_path / "anvil") if exists else tmp_path / "anvil"
    monkeypatch.setenv("CORECHAIN_ANVIL", str(chosen))
    with pytest.raises(MissingProgram, match="correct CORECHAIN_ANVIL"):
        find_anvil()


def test_an_anvil_that_is_a_script_would_leave_the_real_one_behind_and_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _script(tmp_path / "anvil")
    monkeypatch.delenv("CORECHAIN_ANVIL", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingProgram, match="make setup"):
        find_anvil()


def test_anvil_is_found_in_node_modules_above_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "node_modules" / "@foundry-rs" / "anvil-here" / "bin" / "anvil"
    program.parent.mkdir(parents=True)
    program.symlink_to(find_anvil())
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.delenv("CORECHAIN_ANVIL", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.chdir(below)
    assert find_anvil() == program


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user of the machine may enter, as pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="corechain-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize("way", [privileges(), *([Privileges.nobody()] if AS_ROOT else [])])
def test_postgres_runs_without_being_root_in_every_way_we_know(
    way: Privileges, open_folder: Path
) -> None:
    own = {"shared_buffers": "4MB", "timezone": "CET"}
    with PostgresServer(open_folder / "postgres", run_as=way, settings=own) as server:
        members = family(server.pid)
        command = psutil.Process(server.pid).cmdline()
        assert {"shared_buffers=4MB", "timezone=CET"} <= set(command)
        assert "timezone=UTC" not in command
        server.create_database("some")
        server.kill()
        assert survivors(members) == []
        server.start()


def test_a_first_start_that_fails_says_why_and_leaves_no_half_a_cluster(tmp_path: Path) -> None:
    full = Privileges(prefix=("sh", "-c", "echo no room; exit 9"))
    server = PostgresServer(tmp_path / "postgres", run_as=full)
    with pytest.raises(
        ServerNotStarted, match="initdb failed with exit code 9: no room"
    ) as refused:
        server.start()
    assert server.hint in str(refused.value)
    assert not server.data.exists()
    with PostgresServer(tmp_path / "postgres") as second:
        assert second.running


def test_a_tool_of_postgres_that_never_ends_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corechain.devnet.postgres.COMMAND_LIMIT_S", 0.3)
    stuck = Privileges(prefix=("sh", "-c", "sleep 60"))
    with pytest.raises(ServerNotStarted, match="initdb took too long: it said nothing"):
        PostgresServer(tmp_path / "postgres", run_as=stuck).start()
    assert mentioning(tmp_path) == []


@pytest.fixture
def no_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which no program is found by its name."""
    monkeypatch.setenv("PATH", "")
    privileges.cache_clear()
    yield
    privileges.cache_clear()


@pytest.mark.usefixtures("no_path")
def test_without_unshare_root_becomes_nobody() -> None:
    assert privileges() == (Privileges.nobody() if AS_ROOT else Privileges())
