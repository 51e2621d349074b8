"""The `corechain` command: its own subcommands and those of the installed plug-ins.

A distribution adds commands through an entry point of the group `corechain.commands`: a function
`register(app)` that gets the typer application.
"""

import os
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Annotated

import typer

from corechain.cli_failures import printable, told
from corechain.cli_options import ALL, JSON, Given, shares
from corechain.cli_output import console, table
from corechain.collecting import collect_seldom
from corechain.implementation import check_implementation
from corechain.later import add_later
from corechain.versions import DISTRIBUTIONS, version_line, version_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corechain.audit import Audit
    from corechain.status import Check

GROUP = "corechain.commands"
LATER = {
    "query": (
        "query_cli:commands",
        "Ask the query API; what can be proven is checked against your own node.",
    ),
    "prove": (
        "prove_cli:commands",
        "Print a proof as calldata for a contract, checked against your own node first.",
    ),
    "history": (
        "history_cli:history",
        "Readings of a device or a region, each proven against your node, and that none is "
        "missing.",
    ),
    "export": (
        "history_cli:export",
        "Write all readings of a device or a region into a file, each proven against your node.",
    ),
    "stream": (
        "stream_cli:stream",
        "Events of batches as they happen, one JSON document a line, or posted to a webhook.",
    ),
    "device": (
        "device_cli:commands",
        "Devices: make a key, register it, send signed readings.",
    ),
    "channel": (
        "channel_cli:commands",
        "Payment channels: open one, see what it holds, take back what is left.",
    ),
    "receipt": (
        "receipt_cli:commands",
        "Completeness receipts: what a gateway has promised, and how to hold it to that.",
    ),
}
"""Where a command is, and the first paragraph of its help: its module is loaded when it is called.
"""
TOTALS = "metric", "unit", "accepted", "suspect", "failed", "mean", "min", "max"
NOTHING_CHECKED = 3
"""Exit code of a check that had nothing to look at: neither right nor wrong."""

app = typer.Typer(
    help="CoreChain: signed climate readings, proven on a chain.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def options(version: Annotated[bool, version_option(*DISTRIBUTIONS)] = False) -> None:
    """What stands before a command."""


@app.command()
@shares(*ALL, *JSON)
def status(given: Given) -> None:
    """Check that node, relayer, indexer and the servers of `corechain up` are healthy.

    Exit code 0: all are. 1: some are not, and others of their kind do their work. 2: nobody does.
    """
    from corechain.status import inspect, overall

    checks = inspect(given.places())
    (_print_json if given.as_json else _print_table)(checks)
    code = overall(checks)
    if code:
        raise typer.Exit(code)


def _print_table(checks: "Sequence[Check]") -> None:
    from rich.table import Table
    from rich.text import Text

    from corechain.http import shown_url

    colours = {"ok": "green", "degraded": "yellow", "down": "red"}
    rows = Table()
    # An address that is broken into two lines cannot be copied.
    for name in ("part", "endpoint", "state"):
        rows.add_column(name, no_wrap=True)
    rows.add_column("detail", overflow="fold")
    rows.add_column("what to do", overflow="fold")
    for check in checks:
        state = f"[{colours[check.state]}]{check.state}[/]"
        url = shown_url(check.url, path=False)
        # Text: what others say may hold brackets, which Rich takes for its markup.
        rows.add_row(check.part, url, state, Text(printable(check.detail)), check.advice)
    console().print(rows)


def _print_json(checks: "Sequence[Check]") -> None:
    import json

    from corechain.http import shown_url
    from corechain.status import overall

    words = ("healthy", "degraded", "down")
    parts = [
        {
            "part": check.part,
            "endpoint": shown_url(check.url, path=False),
            "state": check.state,
            "detail": check.detail,
            "advice": check.advice,
        }
        for check in checks
    ]
    typer.echo(json.dumps({"state": words[overall(checks)], "parts": parts}, indent=2))


@app.command()
@shares(*ALL, *JSON)
def verify(
    batch: Annotated[str, typer.Argument(help="Batch id, or lane:number.")], given: Given
) -> None:
    """Rebuild a batch from its data file and compare it with the chain; trusts nobody."""
    from corechain.audit import audit_batch, parse_batch_id

    batch_id = parse_batch_id(batch)
    audit = audit_batch(given.chain(), given.places().gateway, batch_id)
    (_print_audit if given.as_json else _show_audit)(audit)


def _show_audit(audit: "Audit") -> None:
    facts = table("header", "value", title=f"batch {audit.name}: the chain holds exactly this")
    for name, value in audit.facts():
        facts.add_row(name, value)
    totals = table(*TOTALS)
    for row in audit.totals():
        totals.add_row(*row.cells())
    shown = console()
    shown.print(facts)
    shown.print(totals)


def _print_audit(audit: "Audit") -> None:
    import json

    totals = [dict(zip(TOTALS, row.cells(), strict=True)) for row in audit.totals()]
    shown = {"batch": audit.name, "header": dict(audit.facts()), "totals": totals}
    typer.echo(json.dumps(shown, indent=2))


@app.command("version")
@shares(*JSON)
def show_version(given: Given) -> None:
    """Print the installed versions."""
    import json

    lines = [version_line(distribution) for distribution in DISTRIBUTIONS]
    typer.echo(json.dumps(lines) if given.as_json else "\n".join(lines))


def _load(plugin: EntryPoint) -> None:
    try:
        plugin.load()(app)
    except Exception as error:
        # Somebody else's code: whatever it raises, the other commands stay.
        typer.echo(
            f"warning: no commands from the plug-in {plugin.name} ({plugin.value}): "
            f"{type(error).__name__}: {error}",
            err=True,
        )


def load_plugins() -> None:
    """Adds what has a module of its own here, and the commands of every installed plug-in, in the
    order of their names."""
    for name, (home, words) in LATER.items():
        add_later(app, name, f"corechain.{home}", words)
    for plugin in sorted(entry_points(group=GROUP), key=lambda found: found.name):
        _load(plugin)


def main() -> None:
    """The entry point. What fails is one sentence and exit code 1."""
    collect_seldom()
    load_plugins()
    told(_run)


def _run() -> None:
    check_implementation(os.environ)
    app()


if __name__ == "__main__":
    main()
