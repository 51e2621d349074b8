"""A relayer serves from its first second, whatever is away, and goes on by itself.

given a relayer whose database or node is away when it starts
  it answers /health, and /ready says what is missing
  the gateway takes reports as soon as it knows the devices
  what it took is in a batch once the others are back
given a gateway alone, whose database and node go away
  it stays ready, takes reports, and says what is missing as a warning
  who cannot be looked up meanwhile is told to come again, and not that it is unknown
given a pooler that keeps no sessions before its database
  what needs a session goes past it
"""

import os
from collections import Counter
from pathlib import Path

import httpx
import pytest
from support.liar import AWAY, away, liar
from typer.testing import CliRunner

from corechain.devnet.postgres import PostgresServer
from corechain.devnet.process import free_port
from corechain.devnet.servers import AnvilServer, ValkeyServer
from corechain.service.database import writer
from corechain.service.errors import StoreUnavailable
from corechain_relayer.commands import commands
from corechain_relayer.journal.lanes import hold_lanes
from corechain_relayer.roles import Role
from corechain_relayer.service import Relayer
from relayer.conftest import Start
from relayer.support import Chain, Sensor, eventually, load, secp
from relayer.test_crash import committed_reports, key_of, settings_of
from relayer.test_outage import FAST, frozen


def test_without_a_database_reports_are_taken_and_counted_later(
    start: Start, sensor: Sensor, chain: Chain, tmp_path: Path
) -> None:
    with PostgresServer(tmp_path / "postgres") as server:
        url = server.create_database("relayer")
        server.kill()
        relayer = start(ready=False, RELAYER_DATABASE_URL=url)
        assert relayer.get("/health").status_code == 200
        report = sensor.report()
        eventually(lambda: relayer.send(report).status_code == 202)
        eventually(lambda: relayer.reason("database"))
        assert relayer.get("/v1/batches/1").status_code == 503
        server.start()
        wanted = Counter([key_of(report)])
        eventually(lambda: committed_reports(chain, tmp_path / "data") == wanted)
        eventually(relayer.is_ready)


def test_without_a_node_no_device_is_called_unknown(
    start: Start, sensor: Sensor, chain: Chain, anvil_server: AnvilServer, tmp_path: Path
) -> None:
    report = sensor.report()
    with frozen(anvil_server):
        relayer = start(ready=False, **FAST)
        answer = relayer.send(report)
        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:corechain:error:Unavailable"
        assert int(answer.headers["retry-after"]) > 0
        device = f"/v1/devices/0x{sensor.key.identity.device.hex()}/sequence"
        assert relayer.get(device).status_code == 503
        assert relayer.get("/health").status_code == 200
        eventually(lambda: relayer.reason("node"))
        # Nobody is sent to a gateway that would refuse every report, also once the node is back.
        eventually(lambda: "has not been read yet" in relayer.reason("registry"))
    eventually(lambda: relayer.send(report).status_code == 202)
    eventually(relayer.is_ready)
    wanted = Counter([key_of(report)])
    eventually(lambda: committed_reports(chain, tmp_path / "data") == wanted)
    assert relayer.counter("corechain_dead_letters_total", "UnknownDevice") == 0


def test_without_a_bus_it_serves_and_refuses(
    start: Start, sensor: Sensor, chain: Chain, tmp_path: Path
) -> None:
    with ValkeyServer(tmp_path / "valkey") as server:
        server.kill()
        relayer = start(ready=False, RELAYER_BUS_URL=server.url)
        assert relayer.get("/health").status_code == 200
        report = sensor.report()
        eventually(lambda: relayer.send(report).json()["type"].endswith("Overloaded"))
        eventually(lambda: relayer.reason("bus"))
        server.start()
        eventually(lambda: relayer.send(report).status_code in (202, 409))
        wanted = Counter([key_of(report)])
        eventually(lambda: committed_reports(chain, tmp_path / "data") == wanted)


def test_a_gateway_stays_in_the_balance_while_node_and_database_are_away(
    start: Start, sensor: Sensor, anvil_server: AnvilServer, tmp_path: Path
) -> None:
    with PostgresServer(tmp_path / "postgres") as server:
        url = server.create_database("relayer")
        gateway = start("gateway", RELAYER_DATABASE_URL=url, **FAST)
        server.kill()
        with frozen(anvil_server):
            missing = ("database is away", "node is away")
            eventually(lambda: all(words in gateway.get("/ready").text for words in missing))
            assert gateway.is_ready()
            assert gateway.send(sensor.report()).status_code == 202
            # An aggregator can do nothing without them, and says so.
            aggregator = start("aggregator", ready=False, RELAYER_DATABASE_URL=url, **FAST)
            eventually(lambda: aggregator.reason("node") and aggregator.reason("database"))
            assert not aggregator.is_ready()


@pytest.mark.parametrize("how", AWAY)
def test_who_cannot_be_looked_up_now_is_not_called_unknown(
    how: str, start: Start, sensor: Sensor, chain: Chain
) -> None:
    """A device was registered just before the node went away: the gateway has not read it yet."""
    with liar(chain.url) as node:
        gateway = start("gateway", RELAYER_RPC_URL=node.url, RELAYER_RPC_TIMEOUT_S="1")
        late = Sensor(secp(78), chain.domain)
        with away(node, how):
            chain.register(late.key)
            report = late.report()
            refused = gateway.send(report)
            assert (refused.status_code, error_of(refused)) == (503, "Unavailable")
            assert int(refused.headers["retry-after"]) > 0
            sequence = gateway.get(f"/v1/devices/0x{late.key.identity.device.hex()}/sequence")
            assert (sequence.status_code, error_of(sequence)) == (503, "Unavailable")
            mixed = gateway.send(sensor.report(), report, sensor.report())
            assert mixed.status_code == 202
            errors = [result.get("error") for result in mixed.json()["results"]]
            assert errors == [None, "Unavailable", None]
            assert gateway.is_ready()
        eventually(lambda: gateway.send(report).status_code == 202)
        stranger = Sensor(secp(79), chain.domain).report()
        eventually(lambda: error_of(gateway.send(stranger)) == "UnknownDevice")


def error_of(answer: httpx.Response) -> str:
    return str(answer.json()["type"]).removeprefix("urn:corechain:error:")


async def test_only_roles_that_take_reports_warn_of_receipts(
    environment: dict[str, str], deployment: Path
) -> None:
    settings = settings_of(environment | {"RELAYER_RECEIPT_KEY": "0x" + "07" * 32})
    relayer = Relayer(settings, load(deployment))
    assert relayer.receipts is not None
    relayer.receipts.keeper._looked_at = 0.0  # long ago: before the first look nothing is said
    try:
        for role in Role:
            told = any("signs no receipts" in one for one in relayer.warnings([role]))
            assert told is (role in (Role.GATEWAY, Role.MQTT)), role
    finally:
        await relayer.pool
        await relayer.close()


async def test_what_needs_a_session_goes_past_a_pooler(
    environment: dict[str, str], deployment: Path, database: str
) -> None:
    """It would give the connection that holds a lock to others; here nobody listens at it."""
    pooler = f"postgresql://postgres@127.0.0.1:{free_port()}/nowhere"
    urls = {"RELAYER_DATABASE_URL": pooler, "RELAYER_DATABASE_DIRECT_URL": database}
    settings = settings_of(environment | urls)
    relayer = Relayer(settings, load(deployment))
    await relayer.pool
    try:
        await relayer.migrate()
        async with writer(settings.session_url, "a lane") as connection:
            await hold_lanes(connection, settings.lanes)
        with pytest.raises(StoreUnavailable):
            await relayer._ask_database()
    finally:
        await relayer.close()


def test_migrations_need_the_settings_of_the_journal_alone(
    empty_database: str, deployment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.startswith("RELAYER_"):
            monkeypatch.delenv(name)
    journal = {"RELAYER_DATABASE_URL": empty_database, "RELAYER_DEPLOYMENT": str(deployment)}
    done = CliRunner().invoke(commands, ["migrate"], env=journal)
    assert (done.exit_code, "0001_journal" in done.stdout) == (0, True), done.output
