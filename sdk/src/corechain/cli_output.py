"""How commands show what they found: lines for people, JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import typer


def show(facts: Mapping[str, Any], as_json: bool) -> None:
    """Facts as lines, or as one JSON document."""
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    width = max(map(len, facts)) + 2
    for name, value in facts.items():
        typer.echo(f"{name.replace('_', ' ') + ':':<{width}}{_shown(value)}")


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


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
