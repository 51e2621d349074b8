"""Which versions are installed, for `corechain version` and each `--version`."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import typer

DISTRIBUTIONS = ("corechain", "corechain-relayer", "corechain-indexer")


def version_line(distribution: str) -> str:
    try:
        return f"{distribution} {version(distribution)}"
    except PackageNotFoundError:
        return f"{distribution} is not installed"


def version_option(*distributions: str) -> Any:
    """The option `--version` of a command group: prints a line each, and ends the command."""

    def show(wanted: bool) -> None:
        if wanted:
            typer.echo("\n".join(map(version_line, distributions)))
            raise typer.Exit

    # Eager: it needs no command behind it.
    words = "Print the installed version, and exit."
    return typer.Option("--version", callback=show, is_eager=True, help=words)
