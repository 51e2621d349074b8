"""`corechain reconcile`: was anything lost, was anything doubled?"""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corechain.cli import NOTHING_CHECKED
from corechain.cli_failures import FAILED
from corechain.cli_options import Given, shares
from corechain.cli_output import console, table
from corechain.devnet.fleet.progress import progress_bar
from corechain.output_files import writable

if TYPE_CHECKING:
    from corechain.deployment import Deployment
    from corechain.devnet.fleet.acklog import LogReader
    from corechain.devnet.reconcile.files import Files
    from corechain.devnet.reconcile.reconciler import Result

Logs = Annotated[
    list[Path], typer.Argument(help="Logs of `fleet send`.", exists=True, dir_okay=False)
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="The relayer's data files; the gateway's if absent.", exists=True, file_okay=False
    ),
]


@shares("home", "rpc_url", "gateway_url", "deployment")
def reconcile(
    logs: Logs,
    data_dir: DataDir = None,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for what is not committed yet.")
    ] = 0.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Believe that a file is what its name says.")
    ] = False,
    names: Annotated[int, typer.Option(min=0, help="So many of what is wrong by name.")] = 20,
    summary: Annotated[
        Path | None, typer.Option(help="JSON of the result to write.", callback=writable)
    ] = None,
    *,
    given: Given,
) -> None:
    """Hold logs of acknowledgements against data files and chain; exit code 1 if anything is wrong,
    3 if the logs acknowledge nothing.

    Every acknowledged report has to be in exactly one file that the chain has a commitment of, as
    readings or as rejections with a reason. Takes a byte of memory a report, and some files.
    """
    from corechain.chain import Chain
    from corechain.deployment import load_deployment
    from corechain.devnet.fleet.acklog import LogReader
    from corechain.devnet.reconcile.files import Folder, FromGateway
    from corechain.devnet.reconcile.ledger import Ledger
    from corechain.devnet.reconcile.reconciler import Reconciler

    places = given.places()
    manifest = load_deployment(places.deployment)
    ledgers = [Ledger(_of_deployment(LogReader(path), manifest)) for path in logs]
    files: Files = FromGateway(places.gateway) if data_dir is None else Folder(data_dir)
    total = sum(ledger.shape.total for ledger in ledgers)
    with _checks(quick, total) as checks, progress_bar("reconciling", total) as bar:
        reconciler = Reconciler(Chain(places.rpc, manifest), files, ledgers, checks)
        result = reconciler.run(wait, lambda seen: bar.show(seen, ""))
        reconciler.name(names)
    _report(result, summary)
    if not result.holds:
        raise typer.Exit(FAILED)
    if not result.acknowledged:
        raise typer.Exit(NOTHING_CHECKED)


def _of_deployment(log: "LogReader", manifest: "Deployment") -> "LogReader":
    from corechain.devnet.fleet.errors import MalformedFleetFile

    ours = manifest.chain_id, manifest.address("DeviceRegistry")
    if (log.head.chain_id, log.head.registry) != ours:
        raise MalformedFleetFile(log.path, "it is the log of another deployment")
    return log


@contextmanager
def _checks(quick: bool, reports: int) -> Iterator[Executor | None]:
    from corechain.devnet.fleet.signing import jobs_for, worker_pool

    if quick:
        yield None
        return
    with worker_pool(jobs_for(reports)) as pool:
        yield pool


def summary_of(result: "Result") -> dict[str, Any]:
    found = asdict(result)
    found["named"] = [one.sentence() for one in result.named]
    found["rejected"] = dict(result.rejected)
    return {**found, "holds": result.holds}


def _report(result: "Result", file: Path | None) -> None:
    found = summary_of(result)
    if file is not None:
        file.write_text(json.dumps(found) + "\n")
    rows = table("reports", "", title="acknowledgements against data files and chain")
    lines: Sequence[str] = [*found.pop("faults"), *found.pop("named")]
    found.pop("holds")
    for name, value in found.items():
        rows.add_row(name.replace("_", " "), _words(value))
    shown = console()
    shown.print(rows)
    for line in lines:
        shown.print(line, soft_wrap=True, highlight=False)
    shown.print(_verdict(result))


def _verdict(result: "Result") -> str:
    if not result.holds:
        return "NOT everything is there"
    if not result.acknowledged:
        return "the logs acknowledge nothing: nothing was compared"
    return "nothing is lost, nothing is doubled"


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {count:,}" for name, count in value.items()) or "none"
    return f"{value:,}"
