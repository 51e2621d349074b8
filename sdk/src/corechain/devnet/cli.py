"""`corechain up`: the network on this machine, until Ctrl-C."""

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from corechain.cli_output import console, table
from corechain.devnet.programs import require_programs
from corechain.devnet.settings import BRIDGE, BUSES, CHAIN_ID, CHALLENGER, SERVICES, Ports
from corechain.later import add_later

if TYPE_CHECKING:
    from corechain.devnet.network import Network

CHECK_S = 0.25
ONE, CLUSTER = "one", "cluster"
DEMO = "corechain.devnet.demo"


class Interrupted(BaseException):
    """SIGINT or SIGTERM: the orderly way out of whatever is going on. Not an error."""


def register(app: typer.Typer) -> None:
    """Adds `up`, `fleet` and `reconcile`, and `demo` where it is installed, to `corechain`."""
    add_later(
        app,
        "up",
        "corechain.devnet.cli:up",
        "Run the whole network on this machine until Ctrl-C.",
    )
    if find_spec(DEMO) is not None:
        add_later(
            app,
            "demo",
            f"{DEMO}:demo",
            "Run the network on real weather data from sensor to paid, proven answer; then stop "
            "it.",
        )
    add_later(
        app,
        "fleet",
        "corechain.devnet.fleet.cli:fleet",
        "Load for a relayer: devices enrolled by root, reports signed ahead and replayed.",
    )
    add_later(
        app,
        "reconcile",
        "corechain.devnet.reconcile.command:reconcile",
        "Hold logs of acknowledgements against data files and chain; exit code 1 if anything is "
        "wrong, 3 if the logs acknowledge nothing.",
    )


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM raise Interrupted, once: the end they start is not to be disturbed."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        for known in before:
            signal.signal(known, lambda *_: None)
        raise Interrupted

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


Port = Annotated[int, typer.Option(min=1, max=65_535)]
DEFAULT = Ports()


def up(
    home: Annotated[
        Path, typer.Option(envvar="CORECHAIN_HOME", help="Folder of all state.")
    ] = Path(".corechain"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget earlier runs.")] = False,
    price: Annotated[
        int, typer.Option(min=0, help="Price of a query in token base units; 0 is free.")
    ] = 0,
    service: Annotated[
        list[str] | None, typer.Option(help="Only this service (repeatable); all when not given.")
    ] = None,
    no_services: Annotated[
        bool, typer.Option("--no-services", help="Servers and contracts, none of ours.")
    ] = False,
    one_process: Annotated[
        bool, typer.Option("--one-process", help="The relayer as one process: less memory.")
    ] = False,
    profile: Annotated[
        str,
        typer.Option(help="one: a server of each kind. cluster: a small copy of what grows."),
    ] = ONE,
    bus: Annotated[
        str | None,
        typer.Option(help="The bus of the relayer: valkey, or kafka (needs Java's wheel)."),
    ] = None,
    mqtt: Annotated[
        bool | None,
        typer.Option(help="An MQTT broker too, which gateways take from; a cluster has one."),
    ] = None,
    bridge: Annotated[
        bool | None,
        typer.Option(help="A bridge for stations that cannot sign, too; a cluster has one."),
    ] = None,
    challenger: Annotated[
        bool,
        typer.Option(help="A challenger too, unless single services are chosen."),
    ] = True,
    anvil_port: Port = DEFAULT.anvil,
    postgres_port: Port = DEFAULT.postgres,
    valkey_port: Port = DEFAULT.valkey,
    relayer_port: Port = DEFAULT.relayer,
    indexer_port: Port = DEFAULT.indexer,
    aggregator_port: Port = DEFAULT.aggregator,
    submitter_port: Port = DEFAULT.submitter,
    guard_port: Port = DEFAULT.guard,
    kafka_port: Port = DEFAULT.kafka,
    mqtt_port: Port = DEFAULT.mqtt,
    bridge_port: Port = DEFAULT.bridge,
    challenger_port: Port = DEFAULT.challenger,
) -> None:
    """Run the whole network on this machine until Ctrl-C.

    Gateway, aggregator, submitter and guard of the relayer are processes of their own; a challenger
    watches all lanes.

    RELAYER_*, INDEXER_* and BRIDGE_* in the environment override the settings of the services.
    """
    services = _chosen_services(service or (), no_services)
    bus = bus or ("kafka" if profile == CLUSTER else "valkey")
    if bus not in BUSES:
        raise typer.BadParameter(f"--bus is one of {', '.join(BUSES)}, not {bus!r}")
    deploys = fresh or not is_deployed(home)
    all_of_ours = not service and not no_services
    challenger = challenger and all_of_ours
    # A cluster is the whole plan, unless single services are chosen.
    usual = profile == CLUSTER and all_of_ours
    mqtt, bridge = usual if mqtt is None else mqtt, usual if bridge is None else bridge
    more = {BRIDGE: bridge, CHALLENGER: challenger}
    wanted = (*services, *(name for name, chosen in more.items() if chosen))
    require_programs(wanted, deploys=deploys, kafka=bus == "kafka", cluster=profile == CLUSTER)
    network = network_of(profile)(
        home,
        ports=Ports(
            anvil_port,
            postgres_port,
            valkey_port,
            relayer_port,
            indexer_port,
            aggregator_port,
            submitter_port,
            guard_port,
            kafka_port,
            mqtt_port,
            bridge_port,
            challenger_port,
        ),
        fresh=fresh,
        price=price,
        settings=_given_settings(),
        services=services,
        one_process=one_process,
        bus=bus,
        mqtt=mqtt,
        bridge=bridge,
        challenger=challenger,
        progress=_say,
    )
    try:
        with interruptible(), network:
            _show(network)
            while True:
                network.check()
                time.sleep(CHECK_S)
    except Interrupted:
        _say("stopped")


def _chosen_services(named: Sequence[str], none: bool) -> Sequence[str]:
    if none and named:
        raise typer.BadParameter("--service and --no-services exclude each other")
    for name in named:
        if name not in SERVICES:
            raise typer.BadParameter(f"--service is one of {', '.join(SERVICES)}, not {name!r}")
    return () if none else named or SERVICES


def network_of(profile: str) -> "type[Network]":
    """Imported late: `corechain --help` needs none of it, and not everybody has it."""
    if profile == CLUSTER:
        from corechain.devnet.cluster import ClusterNetwork

        return ClusterNetwork
    if profile != ONE:
        raise typer.BadParameter(f"--profile is one of {ONE}, {CLUSTER}, not {profile!r}")
    from corechain.devnet.network import Network

    return Network


def is_deployed(home: Path) -> bool:
    """Whether an earlier run has deployed the contracts: then nothing is needed for that."""
    try:
        return json.loads((home / f"{CHAIN_ID}.json").read_text()).get("finished") is True
    except (OSError, ValueError, AttributeError):
        return False


def _given_settings() -> dict[str, str]:
    prefixes = "RELAYER_", "INDEXER_", "BRIDGE_"
    return {name: value for name, value in os.environ.items() if name.startswith(prefixes)}


def _say(line: str) -> None:
    typer.echo(f"· {line}")


def _show(network: "Network") -> None:
    rows = table("process", "endpoint", "pid", title="CoreChain is up; Ctrl-C stops it")
    for name, url, pid in network.rows():
        rows.add_row(name, url, str(pid))
    shown = console()
    shown.print(rows)
    shown.print(f"contracts {network.manifest}", soft_wrap=True, highlight=False)
    if "indexer" in network.pids() or "api-1" in network.pids():
        shown.print(f"explorer  {network.urls.indexer}/explorer/", soft_wrap=True, highlight=False)
