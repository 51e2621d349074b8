"""`ape run …` by a process that has Ape's modules loaded: support.ape_host.

Whole, as a user starts it, in tests/scripts/test_deploy_command.py and where it is killed.
"""

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from corechain.devnet import deploy
from corechain.devnet.process import Command

HOST = Path(__file__).with_name("ape_host.py")


class Ape:
    """One run after the other. It ends with its standard input, so with us."""

    def __init__(self, program: Sequence[str | Path] = (sys.executable, "-P", HOST)) -> None:
        self._turn, self._program = threading.Lock(), program
        self._host = self._start()

    def _start(self) -> "subprocess.Popen[str]":
        pipe = subprocess.PIPE
        return subprocess.Popen([*self._program], stdin=pipe, stdout=pipe, text=True)

    def run(
        self, words: Sequence[str], environment: Mapping[str, str], folder: Path, limit_s: float
    ) -> "subprocess.CompletedProcess[str]":
        """What `ape words…` says. Raises subprocess.TimeoutExpired, and the next run begins with
        another host."""
        with self._turn, tempfile.TemporaryDirectory() as place:
            output, errors = Path(place, "output"), Path(place, "errors")
            for file in (output, errors):
                file.touch()
            asked = {
                "words": [*words], "environment": dict(environment), "folder": str(folder),
                "output": str(output), "errors": str(errors),
            }  # fmt: skip
            code = self._ask(json.dumps(asked), limit_s)
            if code is None:
                self.close()
                self._host = self._start()
                raise subprocess.TimeoutExpired(["ape", *words], limit_s)
            said = (output.read_text(errors="replace"), errors.read_text(errors="replace"))
            return subprocess.CompletedProcess(["ape", *words], code, *said)

    def close(self) -> None:
        with self._host as host:  # its pipes are closed, too
            host.kill()

    def _ask(self, line: str, limit_s: float) -> int | None:
        assert self._host.stdin is not None
        assert self._host.stdout is not None
        watchdog = threading.Timer(limit_s, self._host.kill)
        watchdog.start()
        try:
            print(line, file=self._host.stdin, flush=True)
            answer = self._host.stdout.readline()
        finally:
            watchdog.cancel()
        return int(answer) if answer else None


@cache
def ape() -> Ape:
    return Ape()


def _run_lines(
    command: Command, cwd: Path, limit_s: float, take: Callable[[str], None]
) -> int | None:
    """What `corechain.devnet.deploy` runs, which is `ape run deploy`."""
    environment: Any = command.environment
    words = [*map(str, command.arguments)]
    try:
        done = ape().run(words[1:], environment, cwd, limit_s)
    except subprocess.TimeoutExpired:
        return None
    for line in (done.stdout + done.stderr).splitlines():
        take(line)
    return done.returncode


@contextmanager
def deployments_forked() -> Iterator[None]:
    """Networks of this process deploy by forking."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deploy, "run_lines", _run_lines)
        yield
