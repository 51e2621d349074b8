"""`corechain prove`: a proven answer as calldata, to be handed to a contract."""

from pathlib import Path
from typing import Annotated, Any

import typer

from corechain.cli_options import JSON, PAYMENT, PROVEN, Given, shares
from corechain.cli_output import show
from corechain.cli_values import place_of, time_of
from corechain.output_files import Overwrite, unused, write_whole
from corechain.query_cli import Cell, Device, End, MetricName, Start

commands = typer.Typer(
    help="Print a proof as calldata for a contract, checked against your own node first.",
    no_args_is_help=True,
)
Out = Annotated[
    Path | None, typer.Option(help="Write the calldata there as hex, and print only the facts.")
]
CALLDATA = "calldata"


def _check(out: Path | None, overwrite: bool) -> None:
    """Before anything is asked, or paid for."""
    if out is not None:
        unused(out, overwrite)


def _hand_out(facts: dict[str, Any], calldata: bytes, out: Path | None, as_json: bool) -> None:
    text = "0x" + calldata.hex()
    if out is None:
        show(facts | {CALLDATA: text}, as_json)
        return
    write_whole(out, text + "\n")
    show(facts | {"bytes": len(calldata), "file": str(out)}, as_json)


@commands.command()
@shares(*PAYMENT, *PROVEN, *JSON)
def reading(
    batch: Annotated[int, typer.Argument(min=1, help="Batch id.")],
    position: Annotated[int, typer.Argument(min=0, help="Of the reading in the batch.")],
    out: Out = None,
    overwrite: Overwrite = False,
    *,
    given: Given,
) -> None:
    """One reading, as a call of DataBatches.verifyReading."""
    from corechain.contracts import function_of
    from corechain.flows import proven_reading

    _check(out, overwrite)
    with given.client() as client:
        proven = client.run(proven_reading(batch, position, client.chain.commitments_of))
        to = client.contracts.address("DataBatches")
    arguments = proven.as_arguments()
    call = function_of("DataBatches", "verifyReading", len(arguments)).encode(arguments)
    facts = {
        "batch": proven.batch_id,
        "position": proven.position,
        "device": f"0x{proven.reading.device.hex()}",
        "value": proven.reading.value,
        "to": f"0x{to.hex()}",
    }
    _hand_out(facts, call, out, given.as_json)


@commands.command()
@shares(*PAYMENT, *PROVEN, *JSON)
def statistics(
    metric: MetricName,
    device: Device,
    cell: Cell,
    start: Start,
    end: End,
    after: Annotated[int, typer.Option(min=0, help="Behind this batch; 0: from the first.")] = 0,
    closes_at: Annotated[
        str | None, typer.Option(help="Up to the batches of this time; default: to the newest.")
    ] = None,
    out: Out = None,
    overwrite: Overwrite = False,
    *,
    given: Given,
) -> None:
    """Count, mean, min and max as the `Answer` that contracts/consumer reads, ABI-encoded."""
    _check(out, overwrite)
    window = time_of("start", start), time_of("end", end)
    closing = time_of("closes_at", closes_at)
    with given.client() as client:
        found = client.contract_answer(
            metric, device, place_of(cell), *window, after=after, closes_at=closing
        )
    counted = found.statistics
    facts = {
        "count": counted.count,
        "sum": counted.sum,
        "batches": len(found.steps),
        "after": after,
        "type": "Answer of contracts/consumer/AnswerTypes.sol",
    }
    _hand_out(facts, found.encode(), out, given.as_json)
