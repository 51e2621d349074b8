"""What commands that ask or pay share: a client of what runs, and how its answers are shown."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corechain.cli import _places
from corechain.key_options import account_of

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from corechain.client import Client

AsJson = Annotated[bool, typer.Option("--json", help="JSON, for programs.")]


def client_of(
    home: Path,
    rpc_url: str | None = None,
    gateway_url: str | None = None,
    api_url: str | None = None,
    deployment: Path | None = None,
    account: "LocalAccount | None" = None,
) -> "Client":
    """A client of the services that are named, of those that `corechain up` runs in `home`, or of
    the usual ports. Raises InvalidDeployment, InvalidValue."""
    from corechain.client import Client

    places = _places(home, rpc_url, gateway_url, api_url, deployment)
    return Client(places.api, places.gateway, places.rpc, places.deployment, account)


Places = tuple[Path, str | None, str | None, Path | None]
"""Home, node, API and manifest, as they were given."""


def asking_client(
    places: Places,
    key: tuple[str | None, Path | None] = (None, None),
    deposit: int | None = None,
    max_price: int | None = None,
) -> "Client":
    """A client that asks, and pays for it where a deposit was named. Exits with 2 for a deposit
    without a key."""
    home, rpc_url, api_url, deployment = places
    account = account_of(*key) if deposit is not None or any(key) else None
    made = client_of(home, rpc_url, None, api_url, deployment, account)
    if deposit is not None:
        made.pay_with(deposit, max_price)
    return made


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
