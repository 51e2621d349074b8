"""Names `corechain indexer …`; its module is loaded when it is called."""

import typer

from corechain.later import add_later


def register(app: typer.Typer) -> None:
    """Adds `indexer` to the `corechain` command."""
    add_later(
        app,
        "indexer",
        "corechain_indexer.commands:commands",
        "Mirror of the chain and query API.",
    )
