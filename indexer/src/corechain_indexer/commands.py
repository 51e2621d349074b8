"""`corechain indexer …`: the commands that this distribution adds."""

import asyncio
import json
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from corechain.cli import NOTHING_CHECKED
from corechain.option_checks import url_option
from corechain.service.command import (
    FAILED,
    WRONG_SETTING,
    configured,
    refuse,
    roles_of,
    run_once,
    run_to_end,
)
from corechain.service.logs import configure_logs
from corechain.service.settings import InvalidSetting
from corechain.versions import version_option
from corechain_indexer.settings import Settings, load_settings

commands = typer.Typer(help="Mirror of the chain and query API.", no_args_is_help=True)


influx = typer.Typer(help="The InfluxDB that readings are copied to.", no_args_is_help=True)
commands.add_typer(influx, name="influx")


@commands.callback()
def options(version: Annotated[bool, version_option("corechain-indexer")] = False) -> None:
    """What stands before a command."""


@commands.command()
def run(
    role: Annotated[
        list[str] | None, typer.Option(help="Only these roles (repeatable): mirror, api.")
    ] = None,
) -> None:
    """Run the indexer until SIGTERM. Settings: INDEXER_* in the environment."""
    from corechain_indexer import following

    roles = roles_of(following.Role, role)
    settings, deployment = configured(load_settings)
    run_to_end(following.run(settings, deployment, roles))


@commands.command()
def chains(
    folder: Annotated[Path, typer.Argument(help="Has a file NAME.env for each chain.")],
    role: Annotated[
        list[str] | None, typer.Option(help="Only these roles (repeatable): mirror, api.")
    ] = None,
) -> None:
    """Run an indexer for each chain of a folder until SIGTERM; one that fails does so alone.

    A file has lines INDEXER_…=value; what is in the environment is common to all.
    """
    from corechain_indexer.chains import chains_in, run_chains
    from corechain_indexer.following import Role

    configure_logs("info")
    named = [word for name in roles_of(Role, role) for word in ("--role", str(name))]
    try:
        found = chains_in(folder)
    except InvalidSetting as error:
        refuse(error, WRONG_SETTING)
    for chain in found:
        chain.arguments = named
    run_to_end(run_chains(found))


@commands.command(hidden=True)
def chain(
    name: Annotated[str, typer.Argument()],
    role: Annotated[list[str] | None, typer.Option()] = None,
) -> None:
    """What `chains` starts for each file, and nobody by hand."""
    from corechain_indexer import following
    from corechain_indexer.chains import run_chain

    roles = roles_of(following.Role, role)
    settings, deployment = configured(load_settings)
    run_to_end(run_chain(name, following.run(settings, deployment, roles)))


@commands.command(hidden=True)
def worker(
    port: Annotated[int, typer.Option()],
    number: Annotated[int, typer.Option()],
    ops_fd: Annotated[int, typer.Option()],
) -> None:
    """What `run` starts INDEXER_API_WORKERS times, and nobody by hand."""
    from corechain_indexer.following import imported_rest

    serving = imported_rest()
    settings, deployment = configured(load_settings)
    run_to_end(serving.run_worker(settings, deployment, number, port, ops_fd))


@commands.command()
def migrate() -> None:
    """Bring the database up to this version and exit."""
    from corechain.service.database import migrate as apply
    from corechain_indexer.store import MIGRATIONS

    settings, _ = configured(load_settings)

    async def main() -> None:
        for name in await apply(settings.session_url, MIGRATIONS):
            typer.echo(name)

    run_once(main())


@commands.command()
def rebuild() -> None:
    """Forget everything that follows from the chain; the next run mirrors it anew."""
    from corechain_indexer.maintenance import forget_everything

    settings, _ = configured(load_settings)
    run_once(forget_everything(settings))


shards = typer.Typer(help="The databases that readings are divided over.", no_args_is_help=True)
commands.add_typer(shards, name="shards")


@shards.command()
def status() -> None:
    """What each shard of INDEXER_SHARD_URLS has. Prints JSON; exits with 1 when one is away."""
    from corechain_indexer.store.opened import shards_of
    from corechain_indexer.store.shards.status import status_of

    settings, _ = configured(load_settings)
    known = shards_of(settings)
    if known is None:
        refuse(InvalidSetting("INDEXER_SHARD_URLS is not set: nothing is divided"), WRONG_SETTING)
    found: list[dict[str, object]] = []

    async def main() -> None:
        found.extend(await status_of(settings.session_url, known))
        typer.echo(json.dumps(found, indent=2))

    run_once(main())
    raise typer.Exit(1 if any("away" in one for one in found) else 0)


@shards.command()
def add(
    abort: Annotated[
        bool, typer.Option("--abort", help="Take back what was begun; not after the switch.")
    ] = False,
) -> None:
    """Divide the readings over twice as many shards, while the index runs. INDEXER_SHARD_URLS names
    the old ones and then as many new ones, in every process of the index before this. Run it again
    after it was ended, whenever that was."""
    from corechain_indexer.maintenance import more_shards

    settings, _ = configured(load_settings)

    async def main() -> None:
        if not await more_shards(settings, typer.echo, abort=abort):
            typer.echo("nothing to do")

    run_once(main())


@commands.command(name="api-key")
def api_key(
    name: Annotated[str, typer.Argument(help="Who gets it; it names the key in metrics.")],
    per_second: Annotated[int, typer.Option(min=0, help="Queries a second; 0: no limit.")] = 0,
    per_day: Annotated[int, typer.Option(min=0, help="Queries a day; 0: no limit.")] = 0,
) -> None:
    """Make an API key: the secret goes to stderr, its entry for INDEXER_API_KEYS_FILE to stdout."""
    from corechain_indexer.api.keys import new_key

    try:
        secret, entry = new_key(name, per_second, per_day)
    except ValueError as error:
        refuse(InvalidSetting(str(error)), WRONG_SETTING)
    typer.echo(secret, err=True)
    typer.echo(entry, nl=False)


@commands.command()
def audit(
    first: Annotated[int, typer.Option("--from", min=0, help="First block.")] = 0,
    last: Annotated[
        int | None, typer.Option("--to", min=0, help="Last block; else the newest final one.")
    ] = None,
    node: Annotated[
        str | None,
        typer.Option(
            # From the environment, where it holds a key: command lines are everybody's to read.
            envvar="CORECHAIN_SECOND_NODE_URL",
            help="URL of a second node; else the indexer's own.",
            callback=url_option,
        ),
    ] = None,
    heal: Annotated[
        bool, typer.Option(help="Make archive files that are missing or damaged anew.")
    ] = False,
) -> None:
    """Compare the index with a node, and its data with the roots on chain. Prints JSON.

    With --heal archive files come anew from the data sources, checked as when they were verified.
    Exits with 1 when anything differs, with 3 when no block of the range is final yet, or all are
    before the contracts: then nothing was checked.
    """
    from corechain_indexer.audit import Report, audit_index

    if last is not None and first > last:
        refuse(InvalidSetting(f"--from {first} is after --to {last}"), WRONG_SETTING)
    settings, deployment = configured(load_settings)
    reports: list[Report] = []

    async def main() -> None:
        report = await audit_index(settings, deployment, node, first, last, heal=heal)
        typer.echo(json.dumps(report.document(), indent=2))
        reports.append(report)

    run_once(main())
    if not all(report.checked for report in reports):
        why = (
            "no block of the range is final yet"
            if last is None
            else (f"the contracts' first block, {deployment.first_block}, is after the range")
        )
        typer.echo(f"{why}: nothing was checked", err=True)
        raise typer.Exit(NOTHING_CHECKED)
    raise typer.Exit(0 if all(report.is_clean for report in reports) else 1)


@commands.command()
def redeem() -> None:
    """Draw what was charged by voucher, 500 channels a transaction. Prints JSON."""
    from corechain.service.agreed_chain import chain_of
    from corechain_indexer.redeem import open_vouchers
    from corechain_indexer.redeem import redeem as redeem_all

    settings, deployment = configured(load_settings)
    if settings.payee_key is None:
        refuse(InvalidSetting("INDEXER_PAYEE_KEY is not set"), WRONG_SETTING)
    secret = settings.payee_key.get_secret_value()
    chain = chain_of(settings, deployment)

    async def main() -> None:
        with closing(chain):
            rows = await open_vouchers(settings.session_url)
            done = await asyncio.to_thread(redeem_all, chain, secret, rows)
        typer.echo(json.dumps(done.summary(), indent=2))

    run_once(main())


@influx.command()
def setup(
    check: Annotated[bool, typer.Option(help="Change nothing; exit with 1 if it differs.")] = False,
    shorten: Annotated[
        bool, typer.Option(help="Let buckets keep less than they do, which deletes points.")
    ] = False,
    folder: Annotated[
        Path,
        typer.Option("--secrets", help="Folder of the tokens, each a file of mode 0600."),
    ] = Path("influx-secrets"),
) -> None:
    """Make buckets, downsampling tasks and tokens in each InfluxDB of INDEXER_INFLUX_URL.

    What is there already stays. Prints what differed from the settings, a line each. An InfluxDB
    that has users needs its operator token in the file `admin-token` of the folder; a new one gets
    its first user. Tokens are written into the folder and shown nowhere.
    """
    from corechain.protocol.errors import CoreChainError
    from corechain_indexer.influx_settings import load_setup_settings
    from corechain_indexer.influx_setup import EXPORTER, READER, set_up

    try:
        # Nothing of chain and index: both may come later.
        settings = load_setup_settings(Settings)
    except InvalidSetting as error:
        refuse(error, WRONG_SETTING)
    configure_logs(settings.log_level)
    if not settings.influx_urls:
        refuse(InvalidSetting("INDEXER_INFLUX_URL is not set"), WRONG_SETTING)
    said: list[str] = []
    try:
        set_up(settings, folder, said, check=check, shorten=shorten)
    except InvalidSetting as error:
        refuse(error, WRONG_SETTING)
    except (CoreChainError, OSError) as error:
        which = "".join(f"{note}: " for note in getattr(error, "__notes__", ()))
        refuse(CoreChainError(f"{which}{error}"), FAILED)
    finally:
        for sentence in said:
            typer.echo(sentence)
    if not said:
        typer.echo("all is as the settings say")
    if not check:
        typer.echo(f"the mirror: INDEXER_INFLUX_TOKEN_FILE={folder / EXPORTER}")
        typer.echo(f"who only reads: {folder / READER}")
    raise typer.Exit(1 if check and said else 0)
