"""Processes of ours that begin with their modules loaded: forked from one that waits.

Tests start hundreds, and a second of CPU each was for imports. They are real processes all the
same, with an environment, a log, a number and an exit code of their own. Started whole, as users
do it: what `corechain up` and `corechain demo` run in tests/sdk and tests/e2e, and tests/cluster.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

from corechain.devnet import process
from corechain.devnet.guard import AS_IT_IS, die_with
from corechain.devnet.process import Command
from support.processes import PATIENCE_S

WHILE_LOADING = ("CORECHAIN_NATIVE", "PYTHONPATH")
"""Variables that modules look at when they are loaded, or that say which."""
TESTS = Path(__file__).resolve().parents[1]
CONTEXT = multiprocessing.get_context("forkserver")
PYTHON = (sys.executable, "-m")
PROGRAMS = ("corechain.cli", "corechain_relayer")
"""What `support.preload` has loaded."""


@cache
def _prepare() -> None:
    """Starts the process that waits. Python before 3.13 does not tell it where modules are, and it
    loads none without a word."""
    CONTEXT.set_forkserver_preload(["support.preload"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS))
        forkserver.ensure_running()


class Forked:
    """A process that runs a function of a module; what tests use of `subprocess.Popen`."""

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        _prepare()
        # A daemon: one that a test has left ends with pytest.
        self._process = CONTEXT.Process(target=target, args=arguments, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        return int(self._process.pid or 0)

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self._process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return self._process.exitcode


def may_fork(environment: Mapping[str, str]) -> bool:
    """Whether all modules would be loaded as they are in the process that waits."""
    return all(environment.get(name) in (None, os.environ.get(name)) for name in WHILE_LOADING)


def begin(
    program: str, words: Sequence[str], environment: Mapping[str, str], log: Path
) -> "Forked | subprocess.Popen[bytes]":
    """`python -m program words…`, its output in a file."""
    log.touch()
    if may_fork(environment):
        return Forked(run_command, program, [*words], dict(environment), str(log))
    with log.open("wb") as file:
        return subprocess.Popen(
            [*PYTHON, program, *words], env=environment, stdout=file, stderr=file
        )


def completed(
    program: str, words: Sequence[str], environment: Mapping[str, str], cwd: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """`python -m program words…` to its end, which must come. Raises subprocess.TimeoutExpired."""
    assert may_fork(environment)
    with tempfile.TemporaryDirectory() as place:
        output, errors = Path(place, "output"), Path(place, "errors")
        places = str(output), str(errors), str(cwd or Path.cwd())
        running = Forked(run_command, program, [*words], dict(environment), *places)
        try:
            code = running.wait(PATIENCE_S)
        finally:
            running.kill()
        said = output.read_text(), errors.read_text()
    return subprocess.CompletedProcess([*PYTHON, program, *words], code, *said)


def run_command(
    program: str,
    words: Sequence[str],
    environment: Mapping[str, str],
    log: str,
    errors: str = "",
    folder: str = "",
) -> None:
    """The target: what `python -m program words…` does, in the folder where it is, or another one.
    Its errors go to the log, or elsewhere."""
    if folder:
        os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    with open(log, "ab") as file, open(errors or log, "ab") as other:
        os.dup2(file.fileno(), 1)
        os.dup2(other.fileno(), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = [program, *words]
    runpy.run_module(program, run_name="__main__", alter_sys=True)


def _serve(folder: str, *arguments: Any) -> None:
    """The target: a program as `corechain.devnet` starts it. Its parent, the process that waits,
    ends with pytest."""
    os.setsid()
    die_with(os.getppid())
    os.chdir(folder)
    run_command(*arguments)


def _spawn(command: Command, log: Path, cwd: Path) -> Any:
    """What `corechain.devnet.process` spawns, forked if it is a program of ours."""
    words, environment = [*map(str, command.arguments)], command.environment
    forked = (
        tuple(words[:2]) == PYTHON and words[2] in PROGRAMS
        and not command.prefix and command.identity == AS_IT_IS
        and environment is not None and may_fork(environment)
    )  # fmt: skip
    if not forked:
        return WHOLE(command, log, cwd)
    log.touch()
    return Forked(_serve, str(cwd), words[2], words[3:], dict(environment or {}), str(log))


WHOLE = process._spawn


@contextmanager
def services_forked() -> Iterator[None]:
    """Networks of this process fork their services."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "_spawn", _spawn)
        yield
