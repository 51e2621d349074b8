"""`corechain tx …`: what an operator sees of a relayer's transactions, and can want of them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corechain.cli_output import console
from corechain.option_checks import line_option
from corechain.protocol.errors import CoreChainError
from corechain.service.command import FAILED, configured, refuse
from corechain.versions import version_option
from corechain_relayer.journal_settings import OperatorSettings
from corechain_relayer.local import Home
from corechain_relayer.settings import load_operator

if TYPE_CHECKING:
    from corechain_relayer.transactions.rows import Transaction
    from corechain_relayer.transactions.view import View

commands = typer.Typer(
    help="A relayer's transactions: what is open, why it is not in a block, what to do about it.",
    no_args_is_help=True,
)
Name = Annotated[
    str,
    typer.Argument(help="Its number, its key (as `batch:7`), or a hash.", callback=line_option),
]
Queue = Annotated[
    str,
    typer.Argument(help="As `list` shows it: lane:0, guard, challenger …", callback=line_option),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]
BY_HAND = "by hand"
NEWEST = 1 << 62
"""As the book has it, which is loaded when a command needs it."""
Why = Annotated[
    str,
    typer.Option("--reason", help="Kept in the journal, for who asks later.", callback=line_option),
]


@commands.callback()
def options(version: Annotated[bool, version_option("corechain-relayer")] = False) -> None:
    """What stands before a command."""


@commands.command("list")
def list_(
    queue: Annotated[
        str | None, typer.Option(help="Only of this queue.", callback=line_option)
    ] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(help="Only these states (repeatable): queued, pending, confirmed …"),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that are final or void.")
    ] = False,
    before: Annotated[
        int | None,
        typer.Option(min=1, max=NEWEST, help="Only numbers below this one: the next page."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many at most.")] = 100,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """List transactions, the newest first; by default those that are not final.

    Exit code 1: the journal is away, or there is no such queue. Settings: RELAYER_*.
    """
    from corechain_relayer.transactions.book import OPEN

    states = _states(state) if state else (None if everything else OPEN)

    async def asked(view: "View") -> "tuple[list[Transaction], list[str]]":
        page = await view.book.page(queue, states, before, limit)
        return page, await view.book.pauses(queue)

    found, pauses = _run(home, asked)
    if as_json:
        _print_json([item.document() for item in found])
    else:
        _print_table(found)
        for sentence in pauses:
            typer.echo(sentence)


def _states(names: "Sequence[str]") -> "list[Any]":
    from corechain_relayer.submitter.plan import State

    try:
        return [State(name) for name in names]
    except ValueError:
        known = ", ".join(state.value for state in State)
        raise typer.BadParameter(f"a state is one of {known}", param_hint="--state") from None


@commands.command()
def show(transaction: Name, as_json: AsJson = False, home: Home = None) -> None:
    """Show one with everything that was signed for it. Exit code 1: there is no such one."""
    document = _run(home, lambda view: view.document(transaction))
    if as_json:
        _print_json(document)
        return
    attempts = document.pop("attempts")
    sentences = document.pop("explanation")
    for name, value in document.items():
        if value is not None:
            typer.echo(f"{name:12} {_plain(value)}")
    for attempt in attempts:
        fields = (f"{name} {value}" for name, value in attempt.items() if value is not None)
        typer.echo(f"{'signed':12} {', '.join(fields)}")
    for sentence in sentences:
        typer.echo(sentence)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@commands.command()
def explain(transaction: Name, as_json: AsJson = False, home: Home = None) -> None:
    """Say why it is not in a block yet, and what to do. Asks journal and node.

    Exit code 1: there is no such one. 3: it is stuck until something changes.
    """
    facts, said = _run(home, lambda view: view.explain(transaction))
    if as_json:
        _print_json({"id": facts.transaction.id, "key": facts.transaction.key} | said.document())
    else:
        typer.echo(f"{facts.transaction.key} is {facts.transaction.state}.")
        for sentence in said.sentences:
            typer.echo(sentence)
    if said.stuck:
        raise typer.Exit(STUCK)


STUCK = 3


@commands.command()
def bump(
    transaction: Name, reason: Why = BY_HAND, as_json: AsJson = False, home: Home = None
) -> None:
    """Replace its transaction at a higher fee now, within RELAYER_MAX_FEE_PER_GAS.

    The submitter does it in its next round, also after a restart. Exit code 1: not possible, the
    sentence says why.
    """
    _tell(_run(home, lambda view: view.book.bump(transaction, reason)), as_json)


@commands.command()
def cancel(
    transaction: Name, reason: Why = BY_HAND, as_json: AsJson = False, home: Home = None
) -> None:
    """Give it up: at once when nothing is signed for it, else by a transfer of nothing under its
    nonce, and it is void when that is final.

    Never a batch's commitment: the batches behind it are chained to it. Exit code 1: not possible.
    """
    _tell(_run(home, lambda view: view.book.cancel(transaction, reason)), as_json)


@commands.command()
def pause(queue: Queue, reason: Why = BY_HAND, as_json: AsJson = False, home: Home = None) -> None:
    """Sign and send nothing in a queue until `resume`; what is in a block is followed.

    Deadlines go on: a paused guard or watchtower answers nobody.
    """
    _tell(_run(home, lambda view: view.book.pause(queue, reason)), as_json)


@commands.command()
def resume(queue: Queue, as_json: AsJson = False, home: Home = None) -> None:
    """End the pause of a queue. Exit code 1: there is no such queue."""
    _tell(_run(home, lambda view: view.book.resume(queue)), as_json)


# ---------------------------------------------------------------------- around a command


def _run(home: Path | None, ask: "Callable[[View], Coroutine[Any, Any, Any]]") -> Any:
    """One question to journal and node; exits with a sentence where it fails."""
    settings, _ = configured(lambda: load_operator(home))

    async def main() -> Any:
        async with _view(settings) as view:
            return await ask(view)

    try:
        return asyncio.run(main())
    except CoreChainError as error:
        refuse(error, FAILED)


@asynccontextmanager
async def _view(settings: OperatorSettings) -> "AsyncIterator[View]":
    from corechain.service.database import connect, hang_up
    from corechain_relayer.transactions.view import View
    from corechain_relayer.wiring import rpc_of

    rpc = rpc_of(settings, None)
    try:
        connection = await connect(settings.session_url)
        try:
            yield View.of(connection, rpc)
        finally:
            await hang_up(connection)
    finally:
        await rpc.close()


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2))


def _tell(done: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(done)
        return
    rest = [f"{k} {v}" for k, v in done.items() if k not in ("key", "queue", "state", "note")]
    typer.echo(f"{done.get('key', done.get('queue'))}: {done['state']} ({', '.join(rest)})")
    if "note" in done:
        typer.echo(done["note"])


def _print_table(found: "Sequence[Transaction]") -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name in ("id", "key", "queue", "state", "nonce", "signed"):
        # A key that is broken into two lines cannot be copied.
        table.add_column(name, no_wrap=True)
    table.add_column("reason", overflow="fold")
    for item in found:
        nonce = "" if item.nonce is None else str(item.nonce)
        cells = (str(item.id), item.key, item.queue, item.state.value, nonce, str(item.attempts))
        # Text: what nodes say may hold brackets, which Rich takes for its markup.
        table.add_row(*cells, Text(item.reason))
    console().print(table)
