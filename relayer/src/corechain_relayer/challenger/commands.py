"""`corechain challenger …`: guards the bonds of others, for whoever wants the bounty."""

from typing import Annotated

import typer

from corechain.service.command import configured, run_to_end
from corechain.versions import version_option

commands = typer.Typer(
    help="Finds frauds in the batches of all lanes, and takes the bonds.", no_args_is_help=True
)


@commands.callback()
def options(version: Annotated[bool, version_option("corechain-relayer")] = False) -> None:
    """What stands before a command."""


@commands.command()
def run() -> None:
    """Run the challenger until SIGTERM. Settings: RELAYER_* in the environment."""
    from corechain_relayer.challenger import process
    from corechain_relayer.challenger.settings import load_settings

    settings, deployment = configured(load_settings)
    run_to_end(process.run(settings, deployment))
