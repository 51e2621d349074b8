"""Servers and networks fail; the relayer waits, refuses or goes on, and loses nothing."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.valkey import command

from corechain.devnet.postgres import PostgresServer
from corechain.devnet.servers import AnvilServer, ValkeyServer
from relayer.conftest import Start
from relayer.support import Chain, RelayerProcess, Sensor, eventually
from relayer.test_crash import committed_reports, key_of

SUBMITTER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
# A node that is there answers in time also where the machine pauses for a moment.
FAST = {"RELAYER_RPC_TIMEOUT_S": "2", "RELAYER_RESEND_AFTER_S": "0.2"}


def metric(relayer: RelayerProcess, name: str) -> float:
    lines = relayer.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_a_bus_outage_refuses_reports_and_ends_by_itself(
    start: Start, sensor: Sensor, chain: Chain, tmp_path: Path
) -> None:
    with ValkeyServer(tmp_path / "valkey") as server:
        relayer = start(RELAYER_BUS_URL=server.url)
        first, second = sensor.report(), sensor.report()
        assert relayer.send(first).status_code == 202
        server.kill()
        answer = relayer.send(second)
        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:corechain:error:Overloaded"
        eventually(lambda: relayer.reason("bus"))
        assert relayer.get("/health").status_code == 200
        server.start()
        eventually(lambda: relayer.send(second).status_code in (202, 409))
        wanted = Counter([key_of(first), key_of(second)])
        eventually(lambda: committed_reports(chain, tmp_path / "data") == wanted)


def test_a_bus_without_memory_refuses_before_it_acknowledges(
    start: Start, sensor: Sensor, tmp_path: Path
) -> None:
    with ValkeyServer(tmp_path / "valkey") as server:
        relayer = start("gateway", RELAYER_BUS_URL=server.url)
        assert command(server.port, "CONFIG", "SET", "maxmemory", "1") == b"+OK\r\n"
        report = sensor.report()
        assert relayer.send(report).status_code == 503
        assert command(server.port, "CONFIG", "SET", "maxmemory", "0") == b"+OK\r\n"
        assert relayer.send(report).status_code == 202


def test_the_gateway_takes_reports_while_the_database_is_away(
    start: Start, sensor: Sensor, secure_sensor: Sensor, chain: Chain, tmp_path: Path
) -> None:
    with PostgresServer(tmp_path / "postgres") as server:
        relayer = start(RELAYER_DATABASE_URL=server.create_database("relayer"))
        first, second = sensor.report(), secure_sensor.report()
        assert relayer.send(first).status_code == 202
        eventually(chain.commitments)
        server.kill()
        # A device it has not looked up yet: the aggregator will look again.
        assert relayer.send(second).status_code == 202
        assert relayer.get("/v1/batches/1").status_code == 503
        eventually(lambda: relayer.reason("database"))
        server.start()
        wanted = Counter([key_of(first), key_of(second)])
        eventually(lambda: committed_reports(chain, tmp_path / "data") == wanted)
        assert metric(relayer, "corechain_sessions_restarted_total") > 0


@contextmanager
def frozen(server: AnvilServer) -> Iterator[None]:
    """The node takes connections and answers nothing."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def test_reports_are_taken_while_the_node_hangs(
    start: Start, sensor: Sensor, chain: Chain, anvil_server: AnvilServer, tmp_path: Path
) -> None:
    relayer = start(**FAST)
    first, second = sensor.report(), sensor.report()
    assert relayer.send(first).status_code == 202
    eventually(chain.commitments)  # a lane needs the node once, to compare journal and chain
    with frozen(anvil_server):
        assert relayer.send(second).status_code == 202
        eventually(lambda: relayer.get("/v1/batches/2").status_code == 200)
        eventually(lambda: metric(relayer, "corechain_sessions_restarted_total") > 0)
    wanted = Counter([key_of(first), key_of(second)])
    eventually(lambda: committed_reports(chain, tmp_path / "data") == wanted)


@pytest.fixture
def slow_chain(chain: Chain) -> Iterator[Chain]:
    """A chain that mines when it is told to."""
    chain.rpc("evm_setAutomine", False)
    yield chain
    chain.rpc("anvil_dropAllTransactions")
    chain.rpc("evm_setAutomine", True)


def pool(chain: Chain) -> list[dict[str, str]]:
    pending = chain.rpc("txpool_content")["pending"]
    return [tx for by_nonce in pending.values() for tx in by_nonce.values()]


def test_a_transaction_that_is_not_mined_is_replaced_at_a_higher_fee(
    start: Start, sensor: Sensor, slow_chain: Chain
) -> None:
    relayer = start(RELAYER_BUMP_AFTER_S="0.5")
    assert relayer.send(sensor.report()).status_code == 202
    (first,) = eventually(lambda: pool(slow_chain))
    fee = int(first["maxFeePerGas"], 16)

    def replaced() -> bool:
        """a replacement with a higher fee is in the pool"""
        (held,) = pool(slow_chain)
        return int(held["maxFeePerGas"], 16) * 10 >= fee * 11 and held["nonce"] == first["nonce"]

    eventually(replaced)
    slow_chain.rpc("evm_mine")
    eventually(lambda: relayer.get("/v1/batches/1").json()["state"] == "confirmed")
    assert len(slow_chain.commitments()) == 1


def test_a_forgotten_transaction_is_sent_again_unchanged(
    start: Start, sensor: Sensor, slow_chain: Chain
) -> None:
    relayer = start(RELAYER_RESEND_AFTER_S="0.2")
    assert relayer.send(sensor.report()).status_code == 202
    (first,) = eventually(lambda: pool(slow_chain))
    slow_chain.rpc("anvil_dropAllTransactions")
    (again,) = eventually(lambda: pool(slow_chain))
    assert again["hash"] == first["hash"]
    slow_chain.rpc("evm_mine")
    eventually(slow_chain.commitments)


def test_without_funds_it_waits_for_them(start: Start, sensor: Sensor, chain: Chain) -> None:
    chain.rpc("anvil_setBalance", SUBMITTER, "0x0")
    relayer = start(RELAYER_REFUSED_PAUSE_S="0.3")
    assert relayer.send(sensor.report()).status_code == 202

    def waits() -> bool:
        """the log says that the intent waits"""
        return any(entry["event"] == "intent waits" for entry in relayer.events())

    eventually(waits)
    assert relayer.process is not None
    assert relayer.process.poll() is None
    chain.rpc("anvil_setBalance", SUBMITTER, hex(10**20))
    eventually(chain.commitments)
