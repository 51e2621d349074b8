"""The relayer through a real PgBouncer in transaction mode. `make test-pgbouncer` runs this, for it
fetches Debian's package; the plain suite does not collect it.

given a pooler with two connections to the journal, and a relayer in one process or in several
  ├── killed (-9) again and again while devices send, it keeps every acknowledged report once
  ├── with the pooler killed besides, the same: a gateway needs none to acknowledge
  ├── questions about devices and batches are answered
  └── the only writer of a lane stays the only one
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from corechain.devnet.pgbouncer import PgBouncerServer
from corechain.devnet.postgres import PostgresServer
from corechain.service.database import writer
from corechain.service.errors import WriterLockHeld
from corechain_relayer.journal.batches import lane_queue
from relayer.conftest import Start
from relayer.support import Chain, Sensor, eventually, secp
from relayer.test_crash import (
    Device,
    acknowledged,
    assert_chain_and_files_agree,
    committed_reports,
    key_of,
)

KILLS = 4


@pytest.fixture(scope="module")
def pooler(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PgBouncerServer]:
    folder = tmp_path_factory.mktemp("pgbouncer")
    with PgBouncerServer(folder, postgres_server, size=2) as server:
        yield server


@pytest.fixture
def pooled(pooler: PgBouncerServer, database: str) -> dict[str, str]:
    """Settings of a relayer whose journal is behind the pooler."""
    return {
        "RELAYER_DATABASE_URL": pooler.database_url(database.rpartition("/")[2]),
        "RELAYER_DATABASE_DIRECT_URL": database,
        "RELAYER_MAX_READINGS": "10",
        "RELAYER_MAX_AGE_S": "0.1",
    }


@contextmanager
def sending(devices: list[Device], chain: Chain) -> Iterator[None]:
    for device in devices:
        chain.register(device.sensor.key)
    threads = [threading.Thread(target=device.run) for device in devices]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for device in devices:
            device.stop.set()
        for thread in threads:
            thread.join()


def assert_each_is_committed_once(devices: list[Device], chain: Chain, folder: Path) -> None:
    wanted = Counter(key_of(r) for device in devices for r in device.acknowledged)

    def complete() -> bool:
        """every acknowledged report is in a committed batch"""
        return committed_reports(chain, folder).keys() >= wanted.keys()

    eventually(complete)
    assert set(committed_reports(chain, folder).values()) == {1}
    assert_chain_and_files_agree(chain, folder)


def test_killed_behind_a_pooler_it_keeps_every_acknowledged_report_once(
    start: Start, chain: Chain, tmp_path: Path, pooled: dict[str, str]
) -> None:
    moments = random.Random(1)
    relayer = start(**pooled)
    devices = [Device(Sensor(secp(n), chain.domain), relayer) for n in (1, 2, 3)]
    with sending(devices, chain):
        for _ in range(KILLS):
            enough = acknowledged(devices) + moments.randint(5, 30)
            eventually(lambda: acknowledged(devices) >= enough)  # noqa: B023
            time.sleep(moments.uniform(0.0, 0.2))
            relayer.kill()
            relayer.start()
    assert_each_is_committed_once(devices, chain, tmp_path / "data")


def test_a_pooler_that_is_killed_loses_and_doubles_nothing(
    start: Start, chain: Chain, tmp_path: Path, pooled: dict[str, str], pooler: PgBouncerServer
) -> None:
    relayer = start(**pooled)
    devices = [Device(Sensor(secp(n), chain.domain), relayer) for n in (1, 2, 3)]
    with sending(devices, chain):
        for _ in range(KILLS):
            enough = acknowledged(devices) + 20
            eventually(lambda: acknowledged(devices) >= enough)  # noqa: B023
            pooler.kill()
            pooler.start()
    assert_each_is_committed_once(devices, chain, tmp_path / "data")


def test_what_is_asked_of_the_journal_is_answered_behind_a_pooler(
    start: Start, chain: Chain, pooled: dict[str, str]
) -> None:
    relayer = start(**pooled)
    sensor = Sensor(secp(7), chain.domain)
    chain.register(sensor.key)
    assert relayer.send(*(sensor.report() for _ in range(10))).status_code == 202
    for _ in range(50):  # more than the pooler has connections
        found = relayer.get(f"/v1/devices/0x{sensor.key.identity.device.hex()}/sequence")
        assert found.status_code == 200, found.text
    eventually(lambda: relayer.get("/v1/batches/1").status_code == 200)


async def test_the_only_writer_of_a_lane_stays_the_only_one(
    start: Start, pooled: dict[str, str], database: str
) -> None:
    start(**pooled)
    with pytest.raises(WriterLockHeld):
        async with writer(database, lane_queue(0)):
            pass
