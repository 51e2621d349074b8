"""A relayer on Kafka that dies, or whose broker dies, loses nothing and doubles nothing.

given a gateway, an aggregator and a broker of their own
  when each is killed (-9) in turn while devices send
    every acknowledged report is in exactly one committed batch
    the gateway names the bus in /ready while the broker is away, and goes on by itself
"""

import threading
from collections import Counter
from pathlib import Path

from corechain.devnet.kafka import KafkaServer
from relayer.conftest import Start
from relayer.support import Chain, RelayerProcess, Sensor, eventually, secp
from relayer.test_crash import (
    Device,
    acknowledged,
    assert_chain_and_files_agree,
    committed_reports,
    key_of,
)

ONE_COPY = {"RELAYER_KAFKA_COPIES": "1"}


def test_gateway_aggregator_and_broker_are_killed_and_every_report_is_counted_once(
    start: Start, chain: Chain, tmp_path: Path
) -> None:
    with KafkaServer(tmp_path / "kafka") as broker:
        settings = {"RELAYER_BUS_URL": broker.url, "RELAYER_MAX_READINGS": "10", **ONE_COPY}
        aggregator = start("aggregator", "submitter", **settings)
        gateway = start("gateway", **settings)
        devices = [Device(Sensor(secp(number), chain.domain), gateway) for number in (1, 2)]
        for device in devices:
            chain.register(device.sensor.key)
        threads = [threading.Thread(target=device.run) for device in devices]
        for thread in threads:
            thread.start()
        try:
            for victim in (gateway, aggregator):
                more_acknowledged(devices)
                victim.kill()
                victim.start()
            more_acknowledged(devices)
            kill_and_miss(broker, gateway)
            more_acknowledged(devices)
        finally:
            for device in devices:
                device.stop.set()
            for thread in threads:
                thread.join()
        wanted = Counter(key_of(r) for device in devices for r in device.acknowledged)

        def complete() -> bool:
            """every acknowledged report is in a committed batch"""
            return committed_reports(chain, tmp_path / "data").keys() >= wanted.keys()

        eventually(complete)
        assert set(committed_reports(chain, tmp_path / "data").values()) == {1}
        assert_chain_and_files_agree(chain, tmp_path / "data")
        broker.kill()


def more_acknowledged(devices: list[Device]) -> None:
    enough = acknowledged(devices) + 8
    eventually(lambda: acknowledged(devices) >= enough, pause_s=0.01)


def kill_and_miss(broker: KafkaServer, gateway: RelayerProcess) -> None:
    broker.kill()
    eventually(lambda: "Kafka: " in gateway.reason("bus"))
    broker.start()


def log_of(settings: dict[str, str], folder: Path, wanted: str) -> str:
    """What a relayer says, as soon as something is in it; whether it ends by it or the broker took
    too long to answer, and it goes on asking."""
    process = RelayerProcess(settings, folder, ("gateway",))
    process.launch()
    try:
        eventually(lambda: wanted in process.log_path.read_text())
        return process.log_path.read_text()
    finally:
        process.close()


def test_one_broker_is_refused_unless_one_copy_is_what_is_wanted(
    environment: dict[str, str], kafka_url: str, tmp_path: Path
) -> None:
    said = log_of(environment | {"RELAYER_BUS_URL": kafka_url}, tmp_path, "RELAYER_KAFKA_COPIES=1")
    assert "number of brokers is '1' and has to be '3 or more'" in said


def test_another_number_of_lanes_than_partitions_is_refused_with_the_command_that_mends_it(
    start: Start, environment: dict[str, str], kafka_url: str, tmp_path: Path
) -> None:
    settings = {"RELAYER_BUS_URL": kafka_url, **ONE_COPY}
    start("gateway", **settings)
    said = log_of(environment | settings | {"RELAYER_LANES": "2"}, tmp_path, "corechain bus resize")
    assert "has 1 partitions and RELAYER_LANES is 2" in said
