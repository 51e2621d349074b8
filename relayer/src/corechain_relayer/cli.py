"""The commands that this distribution adds; their modules are loaded when they are called."""

import typer

from corechain.later import add_later


def register(app: typer.Typer) -> None:
    """Adds `relayer`, `bus` and `tx` to the `corechain` command."""
    add_later(
        app,
        "relayer",
        "corechain_relayer.commands:commands",
        "The roles of a relayer, and what they leave to do.",
    )
    add_later(
        app,
        "bus",
        "corechain_relayer.bus.cli:commands",
        "The bus of a relayer. Settings: RELAYER_* in the environment.",
    )
    add_later(
        app,
        "tx",
        "corechain_relayer.transactions.cli:commands",
        "A relayer's transactions: what is open, why it is not in a block, what to do about it.",
    )
