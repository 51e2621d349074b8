"""Names `corechain bridge …`; its module is loaded when it is called."""

import typer

from corechain.later import add_later


def register(app: typer.Typer) -> None:
    """Adds `bridge` to the `corechain` command."""
    add_later(
        app,
        "bridge",
        "corechain_relayer.bridge.commands:commands",
        "Stations that cannot sign, and the bridge that does.",
    )
