"""20,000 reports through a broker while everything breaks: each is in one committed file.

given a flood of singles and lists
  when the network between relayer and broker is cut, and neither side hears of it
  when the relayer is killed
  when the bus is killed, and the broker while it holds what was not acknowledged
    every report that the broker has confirmed is in exactly one committed file
"""

import os
import time
from pathlib import Path

from support.faults import HANG, PASS, RESET, FaultProxy

from corechain.chain import Chain as ChainReader
from corechain.devnet.aedes import mqtt_broker
from corechain.devnet.fleet.acklog import LogReader
from corechain.devnet.fleet.shape import Shape
from corechain.devnet.mosquitto import MosquittoServer
from corechain.devnet.reconcile.files import Folder
from corechain.devnet.reconcile.ledger import Ledger
from corechain.devnet.reconcile.reconciler import Reconciler, Result
from corechain.devnet.servers import Server, ValkeyServer
from relayer.conftest import Start
from relayer.mqtt.conftest import held, settings_of, subscribed
from relayer.mqtt.flood import Flood, signed_fleet
from relayer.support import PATIENCE_S, Chain, RelayerProcess, eventually

DEVICES = 20
REPORTS = int(os.environ.get("BENCH_REPORTS") or 20_000)
"""`make bench-mqtt` takes more: below 119,000, as packet ids do not come twice in a flood."""
SHAPE = Shape(DEVICES, REPORTS // DEVICES)


def test_every_report_that_the_broker_confirmed_is_in_one_committed_file(
    start: Start, chain: Chain, prefix: str, tmp_path: Path
) -> None:
    file = signed_fleet(chain, SHAPE, tmp_path)
    found = mqtt_broker(tmp_path / "broker")
    broker, version = found.server, found.version
    with broker, ValkeyServer(tmp_path / "valkey") as bus, FaultProxy(broker.port) as wire:
        settings = settings_of(broker, version, prefix) | {
            "RELAYER_MQTT_URL": f"mqtt://127.0.0.1:{wire.port}",
            "RELAYER_MQTT_KEEP_ALIVE_S": "2",
            "RELAYER_BUS_URL": bus.url,
            "RELAYER_MAX_READINGS": "5000",
        }
        relayer = subscribed(start(**settings))
        with Flood(broker.port, prefix, version, file) as flood:
            flood.let(0.3)
            flood.reached(0.2)
            cut_the_wire(wire, relayer)
            flood.let(0.5)
            flood.reached(0.4)
            relayer.kill()
            relayer.start()
            flood.let(0.7)
            flood.reached(0.6)
            bus.kill()
            flood.reached(0.7)
            kill_what_keeps(broker)
            bus.start()
            flood.let(1.0)
            flood.wait()
        eventually(lambda: all_taken(relayer))
        result = reconciled(chain, flood.write_log(tmp_path / "acks"), tmp_path / "data")
    assert result.holds, result
    assert (result.acknowledged, result.committed) == (SHAPE.total, SHAPE.total)


def cut_the_wire(wire: FaultProxy, relayer: RelayerProcess) -> None:
    """Nothing comes through, and no connection ends: until the relayer misses its broker."""
    wire.become(HANG)
    eventually(lambda: "said nothing" in relayer.reason("mqtt"))
    wire.become(RESET)
    wire.become(PASS)


def kill_what_keeps(broker: Server) -> None:
    """kill -9 of a broker with sessions on disk, once it has written them: what it has confirmed
    and not written yet it loses, and no relayer can help it. Aedes has them in memory alone."""
    if isinstance(broker, MosquittoServer):
        moment, database = time.time(), broker.directory / "mosquitto.db"
        eventually(lambda: database.exists() and database.stat().st_mtime > moment)
        broker.kill()
        broker.start()


def all_taken(relayer: RelayerProcess) -> bool:
    """all that was acknowledged to the broker is in batches"""
    return relayer.is_ready() and held(relayer) == 0


def reconciled(chain: Chain, log: Path, folder: Path) -> Result:
    ledger = Ledger(LogReader(log))
    reader = ChainReader(chain.url, chain.deployment)
    reconciler = Reconciler(reader, Folder(folder), [ledger])
    result = reconciler.run(PATIENCE_S)
    reconciler.name(20)
    return result
