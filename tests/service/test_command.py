"""How a service's process runs: on uvloop where it is installed, and ended by an exit code."""

import asyncio
import sys

import pytest
import typer

from corechain.protocol.errors import TransportError
from corechain.service.command import FAILED, WRONG_SETTING, run_to_end
from corechain.service.settings import InvalidSetting


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
