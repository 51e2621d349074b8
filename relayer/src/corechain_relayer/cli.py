"""`corechain relayer …`: the commands that this distribution adds."""

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
from corechain_relayer.settings import Settings, load_settings

log = structlog.get_logger(__name__)

commands = typer.Typer(help="Gateway, aggregator, submitter and watchtower.", no_args_is_help=True)
WRONG_SETTING, FAILED = 2, 1


def register(app: typer.Typer) -> None:
    """Adds `relayer` to the `corechain` command."""
    app.add_typer(commands, name="relayer")


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
        list[str] | None, typer.Option(help="Only these roles (repeatable); all when not given.")
    ] = None,
) -> None:
    """Run the relayer until SIGTERM. Settings: RELAYER_* in the environment."""
    from corechain_relayer import service

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
    from corechain_relayer.journal.sql import migrations

    settings, _ = _configured()

    url = settings.database_url.get_secret_value()

    async def main() -> None:
        for name in await apply(url, migrations()):
            typer.echo(name)

    _run(main())


@commands.command("propose-rewards")
def propose_rewards(
    pool: Annotated[int, typer.Option(min=1, help="Base units for this epoch.")],
    through: Annotated[
        int | None, typer.Option(min=1, help="Last block that counts; the newest when not given.")
    ] = None,
) -> None:
    """Compute the next epoch's rewards and propose their root. Prints the result as JSON."""
    from corechain_relayer.rewards.command import propose_rewards as propose

    settings, deployment = _configured()
    if settings.proposer_key is None:
        _refuse(InvalidSetting("RELAYER_PROPOSER_KEY is not set"), WRONG_SETTING)
    secret = settings.proposer_key.get_secret_value()

    async def main() -> None:
        done = await propose(settings, deployment, secret, pool, through)
        typer.echo(json.dumps(done.summary(), indent=2))

    _run(main())
