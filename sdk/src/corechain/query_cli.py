"""`corechain query`: proven answers on the terminal."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corechain.cli_options import API, JSON, PAYMENT, PROVEN, Given, shares
from corechain.cli_output import facts_of, show, show_rows
from corechain.cli_values import place_of, region_of, time_of
from corechain.times import time_text

if TYPE_CHECKING:
    from corechain.flows import StatisticsResult
    from corechain.indexed import Station

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
    """The same of all devices in a region, proven. A polygon or a box is covered by up to 64 cells
    whose centres lie in it."""
    from corechain.regions import region_cells

    window = time_of("start", start), time_of("end", end)
    with given.client() as client:
        view = _view(finality, as_of)
        cells = region_cells(region_of(area), resolution)
        found = client.region_statistics(metric, cells, *window, resolution, **view)
        shown = _result(found, client.contracts.chain_id) | {"cells": len(cells)}
        show(shown, given.as_json)


@commands.command()
@shares(*PAYMENT, *PROVEN, *JSON)
def latest(
    device: Annotated[str, typer.Argument(help="Device id.")],
    *,
    given: Given,
) -> None:
    """The newest value of each metric of a device: the API's word, not proven."""
    with given.client() as client:
        rows = [_named(row) for row in client.latest(device)["items"]]
        show_rows(rows, given.as_json, "nothing is known of this device")


def _named(row: dict[str, Any]) -> dict[str, Any]:
    """With the metric's name and the value in its unit: codes and scales are for programs."""
    from corechain.protocol.vocabulary import BY_CODE

    found, value = BY_CODE.get(row.get("metric", 0)), row.get("value")
    if found is None or not isinstance(value, int):
        return row
    more = {"metric_name": found.name, "quantity": found.from_wire(value), "unit": found.unit}
    return row | more


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
def device(
    device: Annotated[str, typer.Argument(help="Device id.")],
    *,
    given: Given,
) -> None:
    """Who owns a device, and whether it is revoked: the API's word, not proven."""
    with given.client() as client:
        found = client.device(device)
        show(facts_of(found) | {"provenance": found.provenance.value}, given.as_json)


@commands.command()
@shares(*API, *JSON)
def batches(
    limit: Limit = 100,
    after: Annotated[int | None, typer.Option(min=0, help="Only ids above this one.")] = None,
    newest: Annotated[bool, typer.Option("--newest", help="The newest first.")] = False,
    state: Annotated[
        str | None, typer.Option(help="Only pending, withheld, mismatch or verified ones.")
    ] = None,
    *,
    given: Given,
) -> None:
    """Batches and their states: the API's word. `corechain verify` trusts nobody."""
    asked: Any = {"after": after, "state": state, "newest_first": newest}
    with given.client() as client:
        show_rows(client.batches(limit, **asked), given.as_json, "no such batch is indexed")


def _station(found: "Station") -> dict[str, Any]:
    newest = found.newest
    return {
        "device": f"0x{found.device.hex()}",
        "cell": f"{found.cell:015x}",
        "revoked": found.revoked,
        "provenance": found.provenance.value,
        "value": newest and newest.value,
        "unit": newest and newest.metric.unit,
        "observed_at": newest and time_text(newest.reading.observed_at),
        "batch_id": newest and newest.batch_id,
        "position": newest and newest.position,
    }


@commands.command()
@shares(*PAYMENT, *PROVEN, *JSON)
def stations(
    metric: MetricName,
    limit: Limit = 100,
    *,
    given: Given,
) -> None:
    """Where devices with readings are, and their newest value: the API's word, not proven."""
    with given.client() as client:
        rows = [_station(found) for found in client.stations(metric, limit)]
        show_rows(rows, given.as_json, "no device has readings")


@commands.command()
@shares(*PAYMENT, *PROVEN, *JSON)
def series(
    metric: MetricName,
    device: Device,
    start: Annotated[str | None, typer.Option(help="As of `query statistics`.")] = None,
    end: Annotated[str | None, typer.Option(help="As --start; included.")] = None,
    bucket: Annotated[int, typer.Option(min=60, help="Seconds of a bucket.")] = 3600,
    limit: Annotated[int, typer.Option(min=1, help="How many buckets at most.")] = 1000,
    *,
    given: Given,
) -> None:
    """A device's readings by the hour, or another bucket: the API's word, not proven."""
    window = time_of("start", start), time_of("end", end)
    with given.client() as client:
        found = client.series(metric, device, *window, bucket, limit)
        rows = [{**asdict(each), "start": time_text(each.start)} for each in found]
        show_rows(rows, given.as_json, "there are no such readings")


@commands.command()
@shares(*API, *JSON)
def epochs(
    limit: Limit = 100,
    *,
    given: Given,
) -> None:
    """Reward roots, and what the index found of them when it recomputed them."""
    with given.client() as client:
        rows = [facts_of(found) for found in client.epochs(limit)]
        show_rows(rows, given.as_json, "no reward root was proposed")


@commands.command()
@shares(*API, *JSON)
def channels(
    payer: Annotated[str | None, typer.Option(help="Only of this account.")] = None,
    limit: Limit = 100,
    *,
    given: Given,
) -> None:
    """Payment channels of everybody, as the index has them. Your own: `corechain channel list`."""
    with given.client() as client:
        rows = [facts_of(found) for found in client.payment_channels(payer, limit)]
        show_rows(rows, given.as_json, "there is no such channel")


@commands.command()
@shares(*API, *JSON)
def state_channels(
    party: Annotated[str | None, typer.Option(help="Only of this account.")] = None,
    limit: Limit = 100,
    *,
    given: Given,
) -> None:
    """Two-way channels, as the index has them."""
    with given.client() as client:
        rows = [facts_of(found) for found in client.state_channels(party, limit)]
        show_rows(rows, given.as_json, "there is no such channel")
