"""`corechain bus …`: what an operator does with the bus of a relayer."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import SecretStr, TypeAdapter, ValidationError

from corechain.option_checks import line_option
from corechain.service.command import WRONG_SETTING, configured, refuse, run_once
from corechain.service.settings import InvalidSetting
from corechain.versions import version_option
from corechain_relayer.settings import BusUrl, Settings, load_settings

if TYPE_CHECKING:
    from corechain.service.lock_keeping import Kept
    from corechain_relayer.bus.base import Bus
    from corechain_relayer.bus.kafka.resize import Resized

commands = typer.Typer(
    help="The bus of a relayer. Settings: RELAYER_* in the environment.", no_args_is_help=True
)


def _bus_url(value: str) -> str:
    """As RELAYER_BUS_URL is checked. Raises BadParameter, without the value: it may hold a
    password."""
    try:
        TypeAdapter(BusUrl).validate_python(SecretStr(value))
    except ValidationError as error:
        words = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise typer.BadParameter(words.removeprefix("Value error, ")) from None
    return value


@commands.callback()
def options(version: Annotated[bool, version_option("corechain-relayer")] = False) -> None:
    """What stands before a command."""


@commands.command()
def show() -> None:
    """Show each lane as JSON: frames, bytes, age of the oldest one, dead letters by reason."""
    from corechain_relayer.bus import operate

    async def main() -> None:
        async with operate.working(opened(settings)) as bus:
            typer.echo(json.dumps(await operate.show(bus), indent=2))

    settings = _settings()
    run_once(main())


@commands.command()
def replay(
    reason: Annotated[
        str | None,
        typer.Option(help="Only those of this reason, as `show` names it.", callback=line_option),
    ] = None,
    lane: Annotated[int | None, typer.Option(min=0, help="Only those of this lane.")] = None,
) -> None:
    """Bring the reports of dead letters to their lanes again, and forget those letters."""
    from corechain_relayer.bus import operate

    async def main() -> None:
        async with operate.working(opened(settings)) as bus:
            lanes = range(bus.lanes) if lane is None else [lane]
            done = await operate.replay(bus, reason, lanes)
            typer.echo(json.dumps(asdict(done), indent=2))

    settings = _settings()
    if lane is not None and lane >= settings.lanes:
        # As a lane without dead letters it would be a success that did nothing.
        refuse(InvalidSetting(f"--lane {lane} is none of the {settings.lanes}"), WRONG_SETTING)
    run_once(main())


@commands.command()
def drain(
    timeout_s: Annotated[
        float, typer.Option(min=0, help="Exit code 1 when frames are left after so long.")
    ] = 600.0,
) -> None:
    """Wait until aggregators have sealed all that is on the bus. Stop the gateways first."""
    from corechain_relayer.bus import operate

    left = 0

    async def main() -> None:
        nonlocal left
        async with operate.working(opened(settings)) as bus:
            left = await operate.drain(bus, timeout_s)

    settings = _settings()
    run_once(main())
    typer.echo(json.dumps({"frames_left": left}))
    raise typer.Exit(1 if left else 0)


@commands.command()
def move(
    old_url: Annotated[
        str,
        typer.Option(
            envvar="CORECHAIN_OLD_BUS_URL",
            help="RELAYER_BUS_URL of the bus to be left.",
            callback=_bus_url,
        ),
    ],
) -> None:
    """Bring frames and dead letters from another bus to that of RELAYER_BUS_URL.

    Stop gateways and aggregators first: a running aggregator is refused.
    """
    from corechain_relayer.bus import operate

    async def main() -> None:
        old = settings.model_copy(update={"bus_url": SecretStr(old_url)})
        async with (
            _lanes_held(settings) as lanes,
            operate.working(opened(old)) as left,
            operate.working(opened(settings)) as entered,
        ):
            moving = operate.move(left, entered)
            for lane in lanes:  # an aggregator that reads again would read beside it
                moving = lane.during(moving)
            typer.echo(json.dumps(await moving, indent=2))

    settings = _settings()
    run_once(main())


@commands.command()
def resize() -> None:
    """Give Kafka's topics as many partitions as RELAYER_LANES says.

    More: at any time; restart all processes with the new number. Fewer: on an empty bus, with all
    processes stopped (`corechain bus drain`).
    """
    from corechain_relayer.bus.kafka.resize import resize_topics

    async def main() -> None:
        found: Resized = await resize_topics(settings)
        typer.echo(json.dumps({"before": found.before, "now": found.now}))

    settings = _settings()
    run_once(main())


def _settings() -> Settings:
    settings, _ = configured(load_settings)
    return settings


def opened(settings: Settings) -> "Bus":
    from corechain_relayer.bus.opening import open_bus
    from corechain_relayer.metrics import Metrics

    return open_bus(settings, Metrics())


@asynccontextmanager
async def _lanes_held(settings: Settings) -> "AsyncIterator[Sequence[Kept]]":
    """No aggregator reads while these sessions last. Raises WriterLockHeld."""
    from corechain.service.database import writer
    from corechain_relayer.journal.batches import lane_queue

    url, held = settings.session_url, list["Kept"]()
    async with AsyncExitStack() as stack:
        for place in range(settings.lanes):
            queue = lane_queue(settings.first_lane + place)
            held.append(await stack.enter_async_context(writer(url, queue)))
        yield held
