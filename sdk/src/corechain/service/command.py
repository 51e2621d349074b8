"""The outermost frame of a service's commands: settings in, exit code out."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import Any, NoReturn, Protocol, TypeVar

import structlog
import typer

from corechain.collecting import collect_seldom
from corechain.deployment import Deployment, InvalidDeployment, load_deployment
from corechain.implementation import NativeMissing, check_implementation
from corechain.protocol.errors import CoreChainError, InvalidValue
from corechain.service.logs import configure_logs
from corechain.service.memory import GIVE_BACK_S, give_back_forever
from corechain.service.settings import InvalidSetting
from corechain.service.supervision import causes_of

log = structlog.get_logger(__name__)

WRONG_SETTING, FAILED = 2, 1
END_S = 3.0
"""For what threads are at when all else has ended. A name that no server answers for keeps one for
half a minute, and nobody waits for the address any more."""
R = TypeVar("R", bound=StrEnum)


class ServiceSettings(Protocol):
    """What every service has among its settings."""

    @property
    def log_level(self) -> str: ...

    @property
    def deployment(self) -> Any: ...


S = TypeVar("S", bound=ServiceSettings)


def refuse(error: BaseException, code: int) -> NoReturn:
    """One sentence and an exit code."""
    typer.echo(f"error: {error}", err=True)
    raise typer.Exit(code)


def configured(load_settings: Callable[[], S]) -> tuple[S, Deployment]:
    """Settings and deployment of this process, with logs set up; exits with 2 when wrong."""
    try:
        check_implementation(os.environ)
        settings = load_settings()
        configure_logs(settings.log_level)
        return settings, load_deployment(settings.deployment)
    except (InvalidSetting, InvalidDeployment, InvalidValue, NativeMissing) as error:
        refuse(error, WRONG_SETTING)


def roles_of(kind: type[R], names: list[str] | None) -> list[R]:
    """The roles by name, all when none is named; exits with 2 for a name that is no role."""
    try:
        return [kind(name) for name in names] if names else list(kind)
    except ValueError as error:
        refuse(error, WRONG_SETTING)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed (`uvicorn[standard]` brings it, not on Windows): a request of
    one report costs a quarter less on it. asyncio's own otherwise; both do the same."""
    with suppress(ImportError):
        import uvloop

        return uvloop.new_event_loop()
    return asyncio.new_event_loop()


async def _giving_back(main: Coroutine[Any, Any, None], every_s: float) -> None:
    giving = asyncio.create_task(give_back_forever(every_s))
    try:
        await main
    finally:
        giving.cancel()


def run_once(main: Coroutine[Any, Any, None]) -> None:
    """Runs a command that comes to an end by itself: what fails is one sentence."""
    run_to_end(main, logs=False)


def run_to_end(
    main: Coroutine[Any, Any, None], give_back_s: float = GIVE_BACK_S, *, logs: bool = True
) -> None:
    """Runs a process; whatever ends it is logged, and the exit code says so. Memory that it frees
    goes back to the system every `give_back_s` seconds. Without `logs` only a mistake of ours is
    logged."""
    collect_seldom()
    runner, causes = asyncio.Runner(loop_factory=new_event_loop), list[BaseException]()
    try:
        runner.run(_giving_back(main, give_back_s))
    except Exception as error:
        causes = list(causes_of(error))
        for cause in causes:
            known = isinstance(cause, CoreChainError)
            kind, trace = type(cause).__name__, None if known else cause
            if logs or not known:
                log.critical("stopped by an error", error=str(cause), kind=kind, exc_info=trace)
    except BaseException:
        runner.close()
        raise
    wrong = any(isinstance(cause, InvalidSetting) for cause in causes)
    code = WRONG_SETTING if wrong else FAILED if causes else 0
    with _left_in_time(code):
        runner.close()
    if causes:
        refuse(causes[0], code)


@contextmanager
def _left_in_time(code: int) -> Iterator[None]:
    """Ends the process where what is inside does not come to its end: a thread cannot be stopped,
    and the system's resolver has limits of its own."""
    last = threading.Timer(END_S, os._exit, (code,))
    last.daemon = True
    last.start()
    try:
        yield
    finally:
        last.cancel()
