"""`corechain channel`: payment channels of an account, from the first deposit to the last token."""

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corechain.cli import DEFAULT_HOME, Api, Home, Manifest, Rpc
from corechain.cli_clients import AsJson, client_of, show, show_rows
from corechain.key_options import Key, KeyFile, account_of

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
EMPTY = "no channel holds anything"
WATCH_PAUSE_S = 15.0
"""Between two looks: withdrawals take a quarter of an hour at least."""


def _facts(held: "HeldChannel") -> dict[str, Any]:
    at = held.withdrawable_at
    return {
        "channel": f"0x{held.channel_id.hex()}",
        "payee": f"0x{held.config.receiver.hex()}",
        "deposit": held.deposit,
        "redeemed": held.claimed,
        "left": held.left,
        "withdrawing": held.withdrawing,
        "withdrawable_at": None if at is None else f"{datetime.fromtimestamp(at, UTC):%FT%TZ}",
    }


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
def list_channels(
    key: Key = None,
    key_file: KeyFile = None,
    home: Home = DEFAULT_HOME,
    rpc_url: Rpc = None,
    api_url: Api = None,
    deployment: Manifest = None,
    as_json: AsJson = False,
) -> None:
    """Show the account's channels that hold something, as the chain has them."""
    account = account_of(key, key_file)
    with client_of(home, rpc_url, None, api_url, deployment, account) as client:
        show_rows([_facts(held) for held in client.channels()], as_json, EMPTY)


@commands.command("open")
def open_channel(
    deposit: Deposit,
    max_price: MaxPrice = None,
    key: Key = None,
    key_file: KeyFile = None,
    home: Home = DEFAULT_HOME,
    rpc_url: Rpc = None,
    api_url: Api = None,
    deployment: Manifest = None,
    as_json: AsJson = False,
) -> None:
    """Open a channel to whoever the API names as its payee. The price is asked for first."""
    account = account_of(key, key_file)
    with client_of(home, rpc_url, None, api_url, deployment, account) as client:
        opened = client.open_channel(None, deposit, max_price=max_price)
    facts = {
        "channel": f"0x{opened.channel_id.hex()}",
        "payee": f"0x{opened.config.receiver.hex()}",
        "deposit": opened.deposit,
        "price_of_a_query": opened.max_price,
    }
    show(facts, as_json)


@commands.command()
def close(
    channel_id: ChannelId = None,
    key: Key = None,
    key_file: KeyFile = None,
    home: Home = DEFAULT_HOME,
    rpc_url: Rpc = None,
    api_url: Api = None,
    deployment: Manifest = None,
    as_json: AsJson = False,
) -> None:
    """Start to take back what is left. `channel withdraw` ends it once the delay is over, in which
    the payee redeems its vouchers."""
    from corechain.held_channels import start_withdrawal

    account = account_of(key, key_file)
    with client_of(home, rpc_url, None, api_url, deployment, account) as client:
        wanted = _wanted(client, channel_id)
        begun = [start_withdrawal(client.chain, account, held) for held in wanted]
    show_rows([_facts(held) for held in begun], as_json, EMPTY)


@commands.command()
def withdraw(
    channel_id: ChannelId = None,
    key: Key = None,
    key_file: KeyFile = None,
    home: Home = DEFAULT_HOME,
    rpc_url: Rpc = None,
    api_url: Api = None,
    deployment: Manifest = None,
    as_json: AsJson = False,
) -> None:
    """Take out what `channel close` has asked for, where the delay is over."""
    account = account_of(key, key_file)
    with client_of(home, rpc_url, None, api_url, deployment, account) as client:
        ended = _end_mature(client, _wanted(client, channel_id))
    show_rows([_facts(held) for held in ended], as_json, "no withdrawal is mature")


def _end_mature(client: "Client", found: "list[HeldChannel]") -> "list[HeldChannel]":
    from corechain.held_channels import end_withdrawal

    # The chain's clock decides, and on a development chain it is not this machine's.
    now, account = client.chain.time(), client.account
    assert account is not None
    return [end_withdrawal(client.chain, account, held) for held in found if held.is_mature(now)]


@commands.command()
def watch(
    channel_id: ChannelId = None,
    key: Key = None,
    key_file: KeyFile = None,
    home: Home = DEFAULT_HOME,
    rpc_url: Rpc = None,
    api_url: Api = None,
    deployment: Manifest = None,
    as_json: AsJson = False,
) -> None:
    """Show each change of the channels, and end withdrawals as they mature; until no channel holds
    anything, or Ctrl-C."""
    account = account_of(key, key_file)
    shown: list[dict[str, Any]] = []
    with client_of(home, rpc_url, None, api_url, deployment, account) as client:
        while True:
            found = client.channels()
            if channel_id is not None:
                found = [one for one in found if one.channel_id.hex() == channel_id[-64:].lower()]
            rows = [_facts(held) for held in found]
            if rows != shown or not rows:
                show_rows(rows, as_json, EMPTY)
            if not rows:
                return
            shown = rows
            if not _end_mature(client, found):
                time.sleep(WATCH_PAUSE_S)
