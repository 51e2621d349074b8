"""How commands show what they found: lines for people, JSON for programs."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import typer

from corechain.cli_failures import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPE_WIDTH = 10_000


def show(facts: Mapping[str, Any], as_json: bool) -> None:
    """Facts as lines, or as one JSON document."""
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    width = max(map(len, facts), default=0) + 2
    for name, value in facts.items():
        typer.echo(one_line(f"{name.replace('_', ' ') + ':':<{width}}{_shown(value)}"))


def show_rows(rows: Sequence[Mapping[str, Any]], as_json: bool, nothing: str) -> None:
    """Facts of several things, or the sentence for none."""
    if as_json:
        typer.echo(json.dumps(list(rows), indent=2))
    elif not rows:
        typer.echo(nothing)
    for index, row in enumerate(() if as_json else rows):
        if index:
            typer.echo("")
        show(row, as_json=False)


def console() -> "Console":
    """For tables on the output. In a pipe or a file nothing is cut or broken: a device id must come
    whole, and nobody sees the 80 columns that are assumed there."""
    from rich.console import Console

    is_seen = sys.stdout is not None and sys.stdout.isatty()
    return Console(width=None if is_seen else PIPE_WIDTH)


def table(*names: str, title: str | None = None) -> "Table":
    """A table whose words are broken, and never cut, where a terminal is narrow."""
    from rich.table import Column, Table

    return Table(*(Column(name, overflow="fold") for name in names), title=title)


def facts_of(found: Any) -> dict[str, Any]:
    """The fields of a value of the SDK as JSON has them: bytes as 0x-hex, those of a value inside
    beside the others."""
    facts: dict[str, Any] = {}
    for each in fields(found):
        value = getattr(found, each.name)
        facts |= facts_of(value) if is_dataclass(value) else {each.name: _plain(value)}
    return facts


def _plain(value: object) -> object:
    return "0x" + value.hex() if isinstance(value, bytes) else value


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
