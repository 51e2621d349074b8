"""How a service's process runs: on uvloop where it is installed, and ended by an exit code."""

import asyncio
import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator

import pytest
import typer
from support.processes import PATIENCE_S

from corechain.collecting import YOUNG_OBJECTS, collect_seldom
from corechain.protocol.errors import TransportError
from corechain.service.command import (
    FAILED,
    WRONG_SETTING,
    run_to_end,
)
from corechain.service.settings import InvalidSetting


@pytest.fixture(autouse=True)
def garbage() -> Iterator[None]:
    """What a process sets for its whole life is undone: this one is everybody's."""
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def loop_module() -> str:
    found: list[str] = []

    async def main() -> None:
        found.append(type(asyncio.get_running_loop()).__module__)

    run_to_end(main())
    return found[0]


def test_a_service_runs_on_uvloop() -> None:
    assert loop_module() == "uvloop"


def test_a_service_runs_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_module().startswith("asyncio.")


@pytest.mark.parametrize(
    ("error", "code"),
    [(InvalidSetting("wrong"), WRONG_SETTING), (TransportError("away"), FAILED)],
)
def test_what_ends_a_service_is_its_exit_code(error: Exception, code: int) -> None:
    async def main() -> None:
        raise ExceptionGroup("several", [error])

    with pytest.raises(typer.Exit) as ended:
        run_to_end(main())
    assert ended.value.exit_code == code


STUCK = """
import asyncio, time, sys
from corechain.service import command
from corechain.service.workers import LooseWorkers

async def main():
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 3_600)
    loose = LooseWorkers("mount", 1)
    held = [asyncio.ensure_future(loose.run(lambda: time.sleep(3_600))) for _ in range(2)]
    await asyncio.sleep(0.1)
    loose.close()
    if sys.argv[1:]:
        raise ValueError("a mistake")

command.END_S = 0.1
command.run_to_end(main())
"""
"""Threads that ask for a name, in a network without its name server, or for a file of a mount whose
server is away, stand so."""


@pytest.mark.parametrize(("words", "code"), [((), 0), (("fails",), FAILED)])
def test_a_service_ends_with_its_exit_code_though_a_thread_does_not(
    words: tuple[str, ...], code: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STUCK, *words], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == code, done.stderr
    assert ("a mistake" in done.stdout + done.stderr) == bool(words)


class Cycle:
    """Garbage that no count of references frees."""

    def __init__(self) -> None:
        self.itself = self


def test_a_long_lived_process_looks_for_garbage_seldom_and_still_finds_it() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    collect_seldom()
    assert gc.get_freeze_count() > frozen
    assert gc.get_threshold() == (YOUNG_OBJECTS, *before[1:])
    left = weakref.ref(Cycle())
    kept: list[list[int]] = [[] for _ in range(2 * YOUNG_OBJECTS)]
    assert left() is None
    assert len(kept) == 2 * YOUNG_OBJECTS
