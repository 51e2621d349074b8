"""`corechain relayer …`: the roles of a relayer."""

import json
from typing import Annotated

import typer

from corechain.later import add_later
from corechain.option_checks import line_option
from corechain.protocol.values import U128_MAX
from corechain.service.command import (
    WRONG_SETTING,
    configured,
    refuse,
    roles_of,
    run_once,
    run_to_end,
)
from corechain.service.settings import InvalidSetting
from corechain.versions import version_option
from corechain_relayer.local import Home
from corechain_relayer.settings import (
    load_demands,
    load_journal,
    load_operator,
    load_proposer,
    load_settings,
)

commands = typer.Typer(
    help="The roles of a relayer, and what they leave to do.", no_args_is_help=True
)
add_later(
    commands,
    "backup",
    "corechain_relayer.backup.cli:commands",
    "Back up and restore a relayer: its database with its data files.",
)


@commands.callback()
def options(version: Annotated[bool, version_option("corechain-relayer")] = False) -> None:
    """What stands before a command."""


@commands.command()
def run(
    role: Annotated[
        list[str] | None, typer.Option(help="Only these roles (repeatable); all when not given.")
    ] = None,
) -> None:
    """Run the relayer until SIGTERM. Settings: RELAYER_* in the environment."""
    from corechain_relayer import serving
    from corechain_relayer.roles import Role

    roles = roles_of(Role, role)
    settings, deployment = configured(load_settings)
    run_to_end(serving.run(settings, deployment, roles))


@commands.command()
def migrate() -> None:
    """Bring the database up to this version and exit. Needs the settings of the journal alone."""
    from corechain.service.database import migrate as apply
    from corechain_relayer.journal.sql import migrations

    settings, _ = configured(load_journal)

    url = settings.session_url

    async def main() -> None:
        for name in await apply(url, migrations()):
            typer.echo(name)

    run_once(main())


@commands.command()
def demands() -> None:
    """List the open demands for data of our lane as JSON, and how it stands with the answers.

    Needs journal, node and data files, no key and no bus.
    """
    from corechain_relayer.guard.command import open_demands

    settings, deployment = configured(load_demands)

    async def main() -> None:
        standings = await open_demands(settings, deployment)
        typer.echo(json.dumps([standing.row() for standing in standings], indent=2))

    run_once(main())


@commands.command("propose-rewards")
def propose_rewards(
    pool: Annotated[int, typer.Option(min=1, max=U128_MAX, help="Base units for this epoch.")],
    through: Annotated[
        int | None, typer.Option(min=1, help="Last block that counts; the newest when not given.")
    ] = None,
) -> None:
    """Compute the next epoch's rewards and propose their root. Prints the result as JSON."""
    from corechain_relayer.accounts import PROPOSER, required_account
    from corechain_relayer.metrics import Metrics
    from corechain_relayer.rewards.command import propose_rewards as propose

    settings, deployment = configured(load_proposer)
    try:
        signer = required_account(settings, PROPOSER, deployment.chain_id, Metrics())
    except InvalidSetting as error:
        refuse(error, WRONG_SETTING)

    async def main() -> None:
        done = await propose(settings, deployment, signer, pool, through)
        typer.echo(json.dumps(done.summary(), indent=2))

    run_once(main())


@commands.command("rotate-key")
def rotate_key(
    lane: Annotated[int, typer.Option(min=0, max=0xFFFF, help="The lane.")],
    to: Annotated[str, typer.Option(help="Address of the new key, 0x and 40 digits.")],
    bond: Annotated[
        bool, typer.Option("--bond", help="Also pay the new bond, from the admin's tokens.")
    ] = False,
    release_receipts: Annotated[
        bool,
        typer.Option(
            "--release-receipts", help="Close it though its bond answers for receipts until then."
        ),
    ] = False,
    home: Home = None,
) -> None:
    """Give a lane to another key, as far as that goes now: drain, close, wait, withdraw, assign.

    Run it again until it is done; the lane stands still from the first run on, for a challenge
    window at least. Prints JSON. Exit code 3: it waits for what it names. Needs RELAYER_ADMIN_KEY.
    """
    from corechain_relayer.transactions.rotating import rotate

    settings, deployment = configured(lambda: load_operator(home))
    done = rotate(settings, deployment, lane, to, pays=bond, releases=release_receipts)
    typer.echo(json.dumps(done, indent=2))
    if done["waits_for"] is not None:
        raise typer.Exit(WAITS)


WAITS = 3
"""Exit code of what was begun and goes on when it is run again."""


@commands.command()
def lanes(home: Home = None) -> None:
    """Show what is open in each queue of transactions, and what stands still and why, as JSON."""
    from corechain_relayer.journal.queues import lanes_of

    settings, _ = configured(lambda: load_journal(home))

    async def main() -> None:
        found = await lanes_of(settings.session_url)
        typer.echo(json.dumps(found, indent=2))

    run_once(main())


@commands.command()
def release(
    intent: Annotated[
        str | None,
        typer.Option(
            help="Only this one: its key as `lanes` shows it, its number or hash.",
            callback=line_option,
        ),
    ] = None,
    queue: Annotated[
        str | None,
        typer.Option(help="Only of this queue, as `lanes` shows it.", callback=line_option),
    ] = None,
    home: Home = None,
) -> None:
    """Try again what stands still: all of it when nothing is named. A running relayer notices.

    Exit code 1: the journal is away, or has no such intent or queue.
    """
    from corechain_relayer.journal.queues import release_in

    settings, _ = configured(lambda: load_journal(home))

    async def main() -> None:
        released = await release_in(settings.session_url, queue, intent)
        typer.echo(json.dumps({"released": released}, indent=2))

    run_once(main())
