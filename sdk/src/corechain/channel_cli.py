"""`corechain channel`: payment channels of an account, from the first deposit to the last token."""

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corechain.cli_options import ACCOUNT, JSON, PROVEN, Given, shares, until_stopped
from corechain.cli_output import show, show_rows
from corechain.protocol.errors import TransportError
from corechain.times import time_text

if TYPE_CHECKING:
    from corechain.client import Client
    from corechain.held_channels import HeldChannel

commands = typer.Typer(
    help="Payment channels: open one, see what it holds, take back what is left.",
    no_args_is_help=True,
)
ChannelId = Annotated[str | None, typer.Argument(help="Its id; default: all of the account.")]
Deposit = Annotated[int, typer.Argument(min=1, help="In base units of the token.")]
MaxPrice = Annotated[
    int | None, typer.Option(min=0, help="What a query may cost; default: what it costs now.")
]
Rows = list[dict[str, Any]]
EMPTY = "no channel holds anything"
PAYING = (*ACCOUNT, *PROVEN, *JSON)
WATCH_PAUSE_S = 15.0
"""Withdrawals take a quarter of an hour at least."""
Pause = Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")]


def _facts(held: "HeldChannel") -> dict[str, Any]:
    at = held.withdrawable_at
    return {
        "channel": f"0x{held.channel_id.hex()}",
        "payee": f"0x{held.config.receiver.hex()}",
        "deposit": held.deposit,
        "redeemed": held.claimed,
        "left": held.left,
        "withdrawing": held.withdrawing,
        "withdrawable_at": None if at is None else time_text(at),
    }


def _client(given: Given) -> "Client":
    """Of an account: exits with 2 without a key."""
    given.account()
    return given.client()


def _wanted(client: "Client", channel_id: str | None) -> "list[HeldChannel]":
    """Exits with 2 for an id that is no channel of the account's."""
    from corechain.protocol.values import octets

    found = client.channels()
    if channel_id is None:
        return found
    wanted = octets("channel", channel_id, 32)
    mine = [held for held in found if held.channel_id == wanted]
    if not mine:
        raise typer.BadParameter(
            "this account has no such channel that holds anything: `corechain channel list`"
        )
    return mine


@commands.command("list")
@shares(*PAYING)
def list_channels(given: Given) -> None:
    """Show the account's channels that hold something, as the chain has them."""
    with _client(given) as client:
        show_rows([_facts(held) for held in client.channels()], given.as_json, EMPTY)


@commands.command("open")
@shares(*PAYING)
def open_channel(deposit: Deposit, max_price: MaxPrice = None, *, given: Given) -> None:
    """Open a channel to whoever the API names as its payee. The price is asked for first."""
    with _client(given) as client:
        opened = client.open_channel(None, deposit, max_price=max_price)
    facts = {
        "channel": f"0x{opened.channel_id.hex()}",
        "payee": f"0x{opened.config.receiver.hex()}",
        "deposit": opened.deposit,
        "price_of_a_query": opened.max_price,
    }
    show(facts, given.as_json)


@commands.command()
@shares(*PAYING)
def close(channel_id: ChannelId = None, *, given: Given) -> None:
    """Start to take back what is left. `channel withdraw` ends it once the delay is over, in which
    the payee redeems its vouchers."""
    from corechain.held_channels import start_withdrawal

    account = given.account()
    with _client(given) as client:
        wanted = _wanted(client, channel_id)
        begun = [start_withdrawal(client.chain, account, held) for held in wanted]
    show_rows([_facts(held) for held in begun], given.as_json, EMPTY)


@commands.command()
@shares(*PAYING)
def withdraw(channel_id: ChannelId = None, *, given: Given) -> None:
    """Take out what `channel close` has asked for, where the delay is over."""
    with _client(given) as client:
        ended = _end_mature(client, _wanted(client, channel_id))
    show_rows([_facts(held) for held in ended], given.as_json, "no withdrawal is mature")


def _end_mature(client: "Client", found: "list[HeldChannel]") -> "list[HeldChannel]":
    from corechain.held_channels import end_withdrawal

    # The chain's clock decides, and on a development chain it is not this machine's.
    now, account = client.chain.time(), client.account
    assert account is not None
    return [end_withdrawal(client.chain, account, held) for held in found if held.is_mature(now)]


@commands.command()
@shares(*PAYING)
def watch(channel_id: ChannelId = None, pause: Pause = WATCH_PAUSE_S, *, given: Given) -> None:
    """Show each change of the channels, and end withdrawals as they mature; until no channel holds
    anything, or Ctrl-C. With --json a line for each change. What is away is asked again."""
    shown: Rows | None = None
    with until_stopped(), _client(given) as client:
        while shown != []:
            try:
                rows, has_taken = _look(client, channel_id)
            except TransportError as error:
                typer.echo(f"{error}; again in {pause:g} s", err=True)
                time.sleep(pause)
                continue
            if rows != shown:
                _show_change(rows, given.as_json)
            shown = rows
            if rows and not has_taken:
                time.sleep(pause)


def _look(client: "Client", channel_id: str | None) -> tuple[Rows, bool]:
    """What the channels hold, and whether one was taken out now. Raises TransportError."""
    found = client.channels()
    if channel_id is not None:
        found = [one for one in found if one.channel_id.hex() == channel_id[-64:].lower()]
    return [_facts(held) for held in found], bool(_end_mature(client, found))


def _show_change(rows: Rows, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows))
    else:
        show_rows(rows, as_json, EMPTY)
