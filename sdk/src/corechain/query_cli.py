"""`corechain query`: proven answers on the terminal."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from corechain.cli_options import API, JSON, PAYMENT, PROVEN, Given, shares
from corechain.cli_output import show, show_rows
from corechain.cli_values import place_of, region_of, time_of

if TYPE_CHECKING:
    from corechain.flows import StatisticsResult

commands = typer.Typer(
    help="Ask the query API; what can be proven is checked against your own node.",
    no_args_is_help=True,
)
MetricName = Annotated[str, typer.Argument(help="Name or code: air_temperature.")]
Device = Annotated[str, typer.Option(help="Device id.")]
Cell = Annotated[str, typer.Option(help="H3 cell, or latitude,longitude in degrees.")]
Start = Annotated[str, typer.Option(help="Seconds since 1970, or ISO 8601 with a time zone.")]
End = Annotated[str, typer.Option(help="As --start; included.")]
Finality = Annotated[str | None, typer.Option(help="pending, safe or finalised.")]
AsOf = Annotated[int | None, typer.Option(min=0, help="As it was known at the end of a block.")]
Limit = Annotated[int, typer.Option(min=1, help="How many items at most.")]


def _view(finality: str | None, as_of: int | None) -> Any:
    return {"finality": finality, "as_of": as_of}


def _cells(area: str, resolution: int) -> Any:
    from corechain.protocol.places import cells_in

    shape = region_of(area)
    return shape if isinstance(shape, list) else cells_in(shape, resolution)


def _result(found: "StatisticsResult", chain_id: int) -> dict[str, Any]:
    return {
        "metric": found.metric.name,
        "unit": found.metric.unit,
        "count": found.count,
        "mean": found.mean,
        "min": found.min,
        "max": found.max,
        "proven_against": f"{len(found.answer.batches)} batches on chain {chain_id}",
    }


@commands.command()
@shares(*PAYMENT, *PROVEN, *JSON)
def statistics(
    metric: MetricName,
    device: Device,
    cell: Cell,
    start: Start,
    end: End,
    finality: Finality = None,
    as_of: AsOf = None,
    *,
    given: Given,
) -> None:
    """Count, mean, min and max of a device's metric at one place and time, proven."""
    window = time_of("start", start), time_of("end", end)
    with given.client() as client:
        view = _view(finality, as_of)
        found = client.statistics(metric, device, place_of(cell), *window, **view)
        show(_result(found, client.contracts.chain_id), given.as_json)


@commands.command()
@shares(*PAYMENT, *PROVEN, *JSON)
def region(
    metric: MetricName,
    area: Annotated[
        str,
        typer.Option(
            "--region",
            help="H3 cells with commas between, south,west,north,east, or a GeoJSON file.",
        ),
    ],
    start: Start,
    end: End,
    resolution: Annotated[int, typer.Option(min=0, max=15, help="Of the stations' cells.")] = 7,
    finality: Finality = None,
    as_of: AsOf = None,
    *,
    given: Given,
) -> None:
    """The same of all devices in a region, proven."""
    window = time_of("start", start), time_of("end", end)
    with given.client() as client:
        view = _view(finality, as_of)
        cells = _cells(area, resolution)
        found = client.region_statistics(metric, cells, *window, resolution, **view)
        show(_result(found, client.contracts.chain_id), given.as_json)


@commands.command()
@shares(*PAYMENT, *PROVEN, *JSON)
def latest(
    device: Annotated[str, typer.Argument(help="Device id.")],
    *,
    given: Given,
) -> None:
    """The newest value of each metric of a device: the API's word, not proven."""
    with given.client() as client:
        show_rows(client.latest(device)["items"], given.as_json, "nothing is known of this device")


@commands.command()
@shares(*API, *JSON)
def devices(
    limit: Limit = 100,
    *,
    given: Given,
) -> None:
    """The devices that the index knows: the API's word, not proven."""
    with given.client() as client:
        show_rows(client.devices(limit), given.as_json, "no device is registered")


@commands.command()
@shares(*API, *JSON)
def batches(
    limit: Limit = 100,
    after: Annotated[int | None, typer.Option(min=0, help="Only ids above this one.")] = None,
    *,
    given: Given,
) -> None:
    """Batches and their states: the API's word. `corechain verify` trusts nobody."""
    with given.client() as client:
        show_rows(client.batches(limit, after=after), given.as_json, "no batch is indexed")
