"""Processes of a relayer that begin with their modules loaded: forked from one that waits.

Tests start hundreds, and a second of CPU each was for imports. They are real processes all the
same, with an environment, a log, a number and an exit code of their own. Commands as users type
them are started whole in tests/sdk and tests/e2e.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

WHILE_LOADING = frozenset({"CORECHAIN_NATIVE"})
"""Variables that modules look at when they are loaded."""
TESTS = Path(__file__).resolve().parents[1]
CONTEXT = multiprocessing.get_context("forkserver")


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

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return self._process.exitcode


def begin(
    program: str, words: Sequence[str], environment: Mapping[str, str], log: Path
) -> "Forked | subprocess.Popen[bytes]":
    """`python -m program words…`, its output in a file."""
    log.touch()
    if WHILE_LOADING.isdisjoint(environment):
        return Forked(run_command, program, [*words], dict(environment), str(log))
    command = [sys.executable, "-m", program, *words]
    with log.open("wb") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=file)


def run_command(
    program: str, words: Sequence[str], environment: Mapping[str, str], log: str
) -> None:
    """The target: what `python -m program words…` does."""
    os.environ.clear()
    os.environ.update(environment)
    with open(log, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = [program, *words]
    __import__(f"{program}.commands")
    sys.modules[f"{program}.commands"].commands()
