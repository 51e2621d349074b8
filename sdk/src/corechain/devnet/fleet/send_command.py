"""`corechain fleet send`: replays a file of signed reports, and says how it went."""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from corechain.cli_failures import FAILED
from corechain.cli_options import DEFAULT_HOME, Given, Home
from corechain.cli_output import console, table
from corechain.devnet.fleet.progress import progress_bar
from corechain.open_files import allow_open_files
from corechain.option_checks import url_option
from corechain.output_files import writable

if TYPE_CHECKING:
    from corechain.devnet.fleet.http1 import Target
    from corechain.devnet.fleet.pace import Pace
    from corechain.devnet.fleet.sender import Sender, Tally
    from corechain.devnet.fleet.timeline import Timeline

T = TypeVar("T")
Gateways = Annotated[
    list[str] | None,
    typer.Option(
        "--gateway-url",
        envvar="CORECHAIN_GATEWAY_URL",
        callback=url_option,
        help="Several times, or with spaces between in the variable: gateways of one relayer.",
    ),
]
PERCENTILES = (50, 95, 99)
# So long what is in flight is waited for after Ctrl-C.
DRAIN_S = 5.0
# Files, the event loop's own, standard streams.
OTHER_FILES = 64


def send(
    file: Annotated[
        Path, typer.Argument(help="What `fleet sign` wrote.", exists=True, dir_okay=False)
    ],
    log: Annotated[
        Path | None,
        typer.Option(help="Log of acknowledgements; FILE.acks if absent.", callback=writable),
    ] = None,
    list_: Annotated[int, typer.Option("--list", min=1, help="Reports in a request.")] = 500,
    connections: Annotated[int, typer.Option(min=1, help="Kept-alive connections.")] = 32,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Reports a second.")] = None,
    ramp: Annotated[
        str | None, typer.Option(help="FIRST:LAST:SECONDS, in reports a second.")
    ] = None,
    storm: Annotated[bool, typer.Option("--storm", help="All at once.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Send what the log does not call final.")
    ] = False,
    in_order: Annotated[
        bool,
        typer.Option("--in-order", help="A device waits for its answer before it sends again."),
    ] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one attempt.")] = 60.0,
    plot: Annotated[
        Path | None, typer.Option(help="PNG of rate and latency to write.", callback=writable)
    ] = None,
    summary: Annotated[
        Path | None, typer.Option(help="JSON of the result to write.", callback=writable)
    ] = None,
    home: Home = DEFAULT_HOME,
    gateway_url: Gateways = None,
) -> None:
    """Send a file of signed reports at a rate, a ramp, or as a storm (one of the three).

    Connections are divided among the gateways; one that does not answer is left for the next.
    Obeys Retry-After, retries what may pass, gives up nothing. Ctrl-C ends it with a whole log.
    After a kill, --resume goes on behind what the log has. Exit code 1 when a report was refused or
    has no answer.
    """
    from corechain.devnet.fleet.chart import chart
    from corechain.devnet.fleet.resuming import everything, rest
    from corechain.devnet.fleet.sender import Plan, Sender
    from corechain.devnet.fleet.signed_file import open_signed
    from corechain.devnet.fleet.timeline import Timeline

    pace = chosen_pace(list_, rate, ramp, storm)
    plan = Plan(
        targets_of(home, gateway_url or []),
        list_,
        connections,
        pace,
        timeout,
        drain_s=min(timeout, DRAIN_S),
        in_order=in_order,
    )
    timeline = Timeline()
    require_open_files(connections)
    signed = open_signed(file)
    acks = log or file.with_name(file.name + ".acks")
    left = (rest if resume else everything)(acks, signed.head)
    with progress_bar("sending", left.count) as bar:
        sender = Sender(signed, plan, left, tick=lambda tally: _tick(bar.show, timeline, tally))
        tally = run_until_signal(lambda: _stoppable(sender))
    timeline.add(tally)
    _report(tally, signed.head.shape.observations, summary)
    if plot is not None:
        plot.write_bytes(chart(timeline.points))
    if tally.refused or tally.unanswered:
        raise typer.Exit(FAILED)


def targets_of(home: Path, gateways: Sequence[str]) -> "tuple[Target, ...]":
    """Those that are named, each once, else the one of the network that runs in `home`.

    Raises ValueError for what is no URL, InvalidEndpoints.
    """
    from corechain.devnet.fleet.http1 import Target

    named = gateways or [Given(home).places().gateway]
    urls = dict.fromkeys(url.rstrip("/") for url in named)
    return tuple(Target.of(url + "/v1/reports") for url in urls)


def _tick(show: Callable[[int, str], None], timeline: "Timeline", tally: "Tally") -> None:
    timeline.add(tally)
    show(tally.done, f"p95 {1000 * tally.latencies.percentile(95):.0f} ms")


def require_open_files(connections: int) -> None:
    """Raises TooManyConnections: those beyond the limit our own kernel would refuse, for ever."""
    from corechain.devnet.fleet.errors import TooManyConnections

    allowed = allow_open_files(connections + OTHER_FILES) - OTHER_FILES
    if allowed < connections:
        raise TooManyConnections(connections, allowed)


def chosen_pace(a_request: int, rate: float | None, ramp: str | None, storm: bool) -> "Pace":
    """Of requests. Raises typer.BadParameter unless exactly one is chosen."""
    from corechain.devnet.fleet.pace import Ramp, Steady, Storm

    if (rate is not None) + (ramp is not None) + storm != 1:
        raise typer.BadParameter("choose one of --rate, --ramp and --storm")
    if rate is not None:
        return Steady(rate / a_request)
    if ramp is None:
        return Storm()
    try:
        first, last, over_s = map(float, ramp.split(":"))
    except ValueError:
        first = last = over_s = 0.0
    if not (first >= 0 and last > 0 and over_s > 0):
        raise typer.BadParameter(f"--ramp is FIRST:LAST:SECONDS, such as 100:20000:60, not {ramp}")
    return Ramp(first / a_request, last / a_request, over_s)


def run_until_signal(main: Callable[[], Awaitable[T]]) -> T:
    """With uvloop where it is installed: half the CPU of a request."""

    async def run() -> T:
        return await main()

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(run())


def _loop_factory() -> "Callable[[], asyncio.AbstractEventLoop]":
    if find_spec("uvloop") is None:
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


async def _stoppable(sender: "Sender") -> "Tally":
    """SIGINT and SIGTERM end it in order."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, sender.stop)
    return await sender.run()


def summary_of(tally: "Tally", observations: int) -> dict[str, Any]:
    """Rates in reports a second, latencies of accepted POSTs in milliseconds."""
    rate = tally.acknowledged / tally.elapsed_s if tally.elapsed_s else 0.0
    return {
        "acknowledged": tally.acknowledged,
        "refused": dict(tally.refused),
        "unanswered": tally.unanswered,
        "retried_requests": dict(tally.retries),
        "seconds": round(tally.elapsed_s, 3),
        "messages_per_s": round(rate, 1),
        "observations_per_s": round(rate * observations, 1),
        **{
            f"post_p{percent}_ms": round(1000 * tally.latencies.percentile(percent), 1)
            for percent in PERCENTILES
        },
        "post_longest_ms": round(1000 * tally.latencies.longest_s, 1),
        "behind_s": round(tally.behind_s, 3),
    }


def _report(tally: "Tally", observations: int, file: Path | None) -> None:
    found = summary_of(tally, observations)
    rows = table("sent", "", title="what the gateway said")
    for name, value in found.items():
        rows.add_row(name.replace("_", " "), _words(value))
    console().print(rows)
    if file is not None:
        file.write_text(json.dumps(found) + "\n")


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {count:,}" for name, count in value.items()) or "none"
    return f"{value:,}"
