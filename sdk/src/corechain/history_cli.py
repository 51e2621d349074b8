"""`corechain history` and `corechain export`: proven readings on the terminal, or in a file."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corechain.cli_options import JSON, PAYMENT, PROVEN, Given, shares
from corechain.cli_output import console, table
from corechain.cli_values import region_of, time_of
from corechain.output_files import Overwrite, unused
from corechain.protocol.errors import InvalidValue

if TYPE_CHECKING:
    from corechain.client import Client
    from corechain.histories import History, HistoryProgress

SHOWN = 20
Device = Annotated[str | None, typer.Option(help="Device id.")]
Metric = Annotated[str | None, typer.Option(help="Name or code; default: all.")]
Start = Annotated[str | None, typer.Option(help="ISO 8601 with a time zone, or seconds.")]
End = Annotated[str | None, typer.Option(help="As --start; default: as far as the index is.")]
Region = Annotated[
    str | None,
    typer.Option(
        help="H3 cells with commas between, south,west,north,east in degrees, or a GeoJSON file."
    ),
]
Newest = Annotated[bool, typer.Option("--newest-first", help="The newest batches first.")]
Since = Annotated[int | None, typer.Option("--since-block", min=0, help="Of batches since then.")]
Finality = Annotated[str, typer.Option(help="pending, safe or finalised.")]
ReportGaps = Annotated[
    bool, typer.Option("--report-gaps", help="Say what is missing at the end, and go on.")
]
MISSING = 1
"""Exit code of a history with gaps that were reported."""


@contextmanager
def bar(is_wanted: bool) -> Iterator["Callable[[HistoryProgress], None] | None"]:
    """A bar on a terminal, on its error channel; nothing elsewhere."""
    if not is_wanted or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("readings", total=1.0)

        def show(found: "HistoryProgress") -> None:
            words = f"{found.readings:,} readings proven"
            progress.update(task, completed=found.fraction, description=words)

        yield show


def _asked(
    client: "Client",
    what: tuple[str | None, str | None, str | None],
    edges: tuple[str | None, str | None, int | None, str],
    newest_first: bool,
    report_gaps: bool,
    progress: "Callable[[HistoryProgress], None] | None",
) -> "History":
    """Raises InvalidValue, and as `Client.history`."""
    (device, metric, region), (start, end, since_block, finality) = what, edges
    return client.history(
        device=device,
        metric=metric,
        start=time_of("start", start),
        end=time_of("end", end),
        region=region_of(region),
        newest_first=newest_first,
        since_block=since_block,
        gaps="report" if report_gaps else "raise",
        progress=progress,
        finality=finality,  # type: ignore[arg-type]
    )


def _row(item: Any) -> dict[str, Any]:
    from corechain.protocol.vocabulary import metric

    reading, origin = item.reading, item.origin
    known = metric(reading.metric)
    return asdict(reading) | {
        "device": "0x" + reading.device.hex(),
        "cell": f"{reading.cell:015x}",
        "metric": known.name,
        "quantity": known.from_wire(reading.value),
        "unit": known.unit,
        "batch_id": origin.batch_id,
        "position": item.position,
        "block": origin.block,
        "transaction": origin.transaction,
        "commitment": "0x" + origin.commitment.hex(),
    }


def _show(found: "History", limit: int | None, as_json: bool) -> None:
    rows = map(_row, islice(found, limit))
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
        return
    from corechain.times import time_text

    shown = table("time", "metric", "value", "unit", "flag", "device", "cell", "batch")
    for row in rows:
        at, value = time_text(row["observed_at"]), f"{row['quantity']:g}"
        facts = (at, row["metric"], value, row["unit"], str(row["flag"]), row["device"])
        shown.add_row(*facts, row["cell"], str(row["batch_id"]))
    console().print(shown)


def _end(found: "History", rows: int | None, as_json: bool) -> None:
    """The gaps, and the exit code."""
    if as_json and rows is not None:
        gaps = [{"first": gap.first, "last": gap.last} for gap in found.gaps]
        typer.echo(json.dumps({"readings": rows, "gaps": gaps, "lanes": sorted(found.lanes)}))
    for gap in found.gaps:
        typer.echo(f"warning: {gap}", err=True)
    if found.gaps:
        raise typer.Exit(MISSING)


@shares(*PAYMENT, *PROVEN, *JSON)
def history(
    device: Device = None,
    metric: Metric = None,
    start: Start = None,
    end: End = None,
    region: Region = None,
    newest_first: Newest = False,
    since_block: Since = None,
    finality: Finality = "pending",
    limit: Annotated[int, typer.Option(min=0, help="Readings; 0: all.")] = SHOWN,
    report_gaps: ReportGaps = False,
    *,
    given: Given,
) -> None:
    """Readings of a device or a region, each proven against your node, and that none is missing."""
    with (
        given.client() as client,
        bar(limit == 0) as told,
    ):
        edges = start, end, since_block, finality
        found = _asked(client, (device, metric, region), edges, newest_first, report_gaps, told)
        _show(found, limit or None, given.as_json)
        _end(found, None, given.as_json)


FORMS = {".csv": "to_csv", ".parquet": "to_parquet"}


@shares(*PAYMENT, *PROVEN, *JSON)
def export(
    path: Annotated[Path, typer.Argument(help="A .csv or .parquet file.")],
    device: Device = None,
    metric: Metric = None,
    start: Start = None,
    end: End = None,
    region: Region = None,
    newest_first: Newest = False,
    since_block: Since = None,
    finality: Finality = "pending",
    resume: Annotated[bool, typer.Option(help="Go on with what an earlier run left.")] = False,
    overwrite: Overwrite = False,
    report_gaps: ReportGaps = False,
    *,
    given: Given,
) -> None:
    """Write all readings of a device or a region into a file, each proven against your node.

    An export that was interrupted goes on with --resume, where it was.
    """
    from corechain.history_files import was_left

    if path.suffix not in FORMS:
        raise InvalidValue("path", str(path), f"ends with one of {', '.join(FORMS)}")
    is_begun = was_left(path)
    if is_begun and not resume:
        right = "has an export under way beside it: pass --resume to go on, or remove its .part"
        raise InvalidValue("path", str(path), right)
    if not is_begun:
        unused(path, overwrite)
    with given.client() as client, bar(True) as told:
        edges = start, end, since_block, finality
        found = _asked(client, (device, metric, region), edges, newest_first, report_gaps, told)
        rows = getattr(found, FORMS[path.suffix])(path)
        if not given.as_json:
            typer.echo(f"{rows:,} proven readings in {path}")
        _end(found, rows, given.as_json)
