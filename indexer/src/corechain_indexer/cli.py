"""`corechain indexer …`: the commands that this distribution adds."""

import asyncio
import json
from collections.abc import Coroutine
from typing import Annotated, Any, NoReturn

import structlog
import typer

from corechain.deployment import Deployment, InvalidDeployment, load_deployment
from corechain.protocol.errors import CoreChainError
from corechain.service.logs import configure_logs
from corechain.service.settings import InvalidSetting
from corechain_indexer.settings import Settings, load_settings

log = structlog.get_logger(__name__)

commands = typer.Typer(help="Mirror of the chain and query API.", no_args_is_help=True)
WRONG_SETTING, FAILED = 2, 1


def register(app: typer.Typer) -> None:
    """Adds `indexer` to the `corechain` command."""
    app.add_typer(commands, name="indexer")


def _refuse(error: BaseException, code: int) -> NoReturn:
    typer.echo(f"error: {error}", err=True)
    raise typer.Exit(code)


def _configured() -> tuple[Settings, Deployment]:
    try:
        settings = load_settings()
        configure_logs(settings.log_level)
        return settings, load_deployment(settings.deployment)
    except (InvalidSetting, InvalidDeployment) as error:
        _refuse(error, WRONG_SETTING)


def _causes(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [cause for inner in error.exceptions for cause in _causes(inner)]


def _run(main: Coroutine[Any, Any, None]) -> None:
    """The outermost frame of a process: whatever ends it is logged, and the exit code says so."""
    try:
        asyncio.run(main)
    except Exception as error:
        causes = _causes(error)
        for cause in causes:
            known = isinstance(cause, CoreChainError)
            kind, trace = type(cause).__name__, None if known else cause
            log.critical("stopped by an error", error=str(cause), kind=kind, exc_info=trace)
        wrong = any(isinstance(cause, InvalidSetting) for cause in causes)
        _refuse(causes[0], WRONG_SETTING if wrong else FAILED)


@commands.command()
def run(
    role: Annotated[
        list[str] | None, typer.Option(help="Only these roles (repeatable): mirror, api.")
    ] = None,
) -> None:
    """Run the indexer until SIGTERM. Settings: INDEXER_* in the environment."""
    from corechain_indexer import service

    try:
        roles = [service.Role(name) for name in role] if role else list(service.Role)
    except ValueError as error:
        _refuse(error, WRONG_SETTING)
    settings, deployment = _configured()
    _run(service.run(settings, deployment, roles))


@commands.command()
def migrate() -> None:
    """Bring the database up to this version and exit."""
    from corechain.service.database import migrate as apply
    from corechain_indexer.store import MIGRATIONS

    settings, _ = _configured()

    async def main() -> None:
        for name in await apply(settings.database_url.get_secret_value(), MIGRATIONS):
            typer.echo(name)

    _run(main())


@commands.command()
def rebuild() -> None:
    """Forget everything that follows from the chain; the next run mirrors it anew."""
    from corechain_indexer.maintenance import forget_everything

    settings, _ = _configured()
    _run(forget_everything(settings))


@commands.command()
def redeem() -> None:
    """Redeem all vouchers that are worth something, in one transaction. Prints JSON."""
    from corechain.chain import Chain
    from corechain_indexer.redeem import open_vouchers
    from corechain_indexer.redeem import redeem as redeem_all

    settings, deployment = _configured()
    if settings.payee_key is None:
        _refuse(InvalidSetting("INDEXER_PAYEE_KEY is not set"), WRONG_SETTING)
    secret = settings.payee_key.get_secret_value()
    chain = Chain(settings.rpc_url.get_secret_value(), deployment)

    async def main() -> None:
        rows = await open_vouchers(settings.database_url.get_secret_value())
        done = await asyncio.to_thread(redeem_all, chain, secret, rows)
        typer.echo(json.dumps(done.summary(), indent=2))

    _run(main())
