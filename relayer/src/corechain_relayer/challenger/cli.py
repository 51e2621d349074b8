"""Names `corechain challenger …`; its module is loaded when it is called."""

import typer

from corechain.later import add_later


def register(app: typer.Typer) -> None:
    """Adds `challenger` to the `corechain` command."""
    add_later(
        app,
        "challenger",
        "corechain_relayer.challenger.commands:commands",
        "Finds frauds in the batches of all lanes, and takes the bonds.",
    )
