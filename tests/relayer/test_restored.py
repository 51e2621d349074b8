"""A relayer whose database is older than its chain, its files and its bus.

given a backup, taken before batches were sealed that the chain may not have yet
  when a relayer finds it in the place of its database (a failover that lost commits)
    each batch is what it was: no second commitment under a number that may be under way
    what was acknowledged is in exactly one batch, though the bus has let go of it
    a report that was acknowledged before is a replay still
  when a relayer starts on it, and the data files of batches that the chain has are lost too
    the lane halts and says which file, and goes on when it is back
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from corechain.deployment import load_deployment
from corechain.protocol.reading import SignedReport
from corechain_relayer.backup.sets import Backups
from relayer.conftest import Start
from relayer.support import Chain, RelayerProcess, Sensor, eventually
from relayer.test_crash import assert_chain_and_files_agree, committed_reports, key_of
from relayer.test_resume import committed, halted

STEADY = {"RELAYER_BUMP_AFTER_S": "3600", "RELAYER_RESEND_AFTER_S": "0.2"}
"""Transactions wait for blocks and are not replaced."""


def sealed(relayer: RelayerProcess, number: int) -> str:
    """The commitment of a batch, as soon as there is one."""

    def found() -> str:
        answer = relayer.get(f"/v1/batches/{number}")
        return answer.json()["commitment"][2:] if answer.status_code == 200 else ""

    return str(eventually(found))


def send(relayer: RelayerProcess, sensor: Sensor) -> SignedReport:
    """A report in a batch of its own: its number is the report's sequence."""
    report = sensor.report()
    assert relayer.send(report).status_code == 202
    sealed(relayer, sensor.sequence)
    return report


@contextmanager
def no_blocks(chain: Chain) -> Iterator[None]:
    """What is sent waits in the node's pool."""
    chain.rpc("evm_setAutomine", False)
    try:
        yield
    finally:
        chain.rpc("evm_setAutomine", True)


async def put_in_place(restored: str, database: str) -> None:
    """The restored database under the name of the other one, which is gone."""
    place, _, name = database.rpartition("/")
    connection = await asyncpg.connect(f"{place}/postgres")
    await connection.execute(f'drop database "{name}" with (force)')
    await connection.execute(f'alter database "{restored.rpartition("/")[2]}" rename to "{name}"')
    await connection.close()


async def test_what_was_sealed_after_the_backup_is_never_sealed_otherwise(
    start: Start,
    sensor: Sensor,
    chain: Chain,
    database: str,
    empty_database: str,
    deployment: Path,
    tmp_path: Path,
) -> None:
    relayer, place = start(**STEADY), (tmp_path / "data", load_deployment(deployment))
    reports = [send(relayer, sensor)]
    committed(chain, 1)
    backup = await Backups(database, *place).take(tmp_path / "backups")
    with no_blocks(chain):
        reports += [send(relayer, sensor), send(relayer, sensor)]
        # Signed, sent, and in no block: what the restored database knows nothing of.
        eventually(lambda: int(chain.rpc("txpool_status")["pending"], 16) == 2)
        was = {number: sealed(relayer, number) for number in (1, 2, 3)}
        await Backups(empty_database, *place).restore(backup)
        await put_in_place(empty_database, database)
        # An aggregator without work notices when it folds, a minute later at most.
        reports.append(send(relayer, sensor))
        assert {number: sealed(relayer, number) for number in was} == was
        replayed = "urn:corechain:error:ReplayedSequence"
        eventually(lambda: relayer.send(reports[2]).json().get("type") == replayed)
    chain.rpc("evm_mine")
    committed(chain, 4)
    on_chain = chain.commitments()
    assert {number: on_chain[number].hex() for number in was} == was
    assert committed_reports(chain, tmp_path / "data") == Counter(map(key_of, reports))
    assert_chain_and_files_agree(chain, tmp_path / "data")
    eventually(lambda: relayer.get("/v1/batches/4").json()["state"] == "confirmed")


async def test_without_the_files_of_what_the_chain_has_a_restored_lane_halts(
    start: Start,
    sensor: Sensor,
    chain: Chain,
    database: str,
    empty_database: str,
    deployment: Path,
    tmp_path: Path,
) -> None:
    relayer, place = start(), (tmp_path / "data", load_deployment(deployment))
    reports = [send(relayer, sensor)]
    backup = await Backups(database, *place).take(tmp_path / "backups")
    reports.append(send(relayer, sensor))
    committed(chain, 2)
    relayer.kill()
    # The machine is gone: what there is, is in the backup, but for what others have of it.
    (tmp_path / "data").rename(tmp_path / "lost")
    await Backups(empty_database, *place).restore(backup)
    restored = start(ready=False, RELAYER_DATABASE_URL=empty_database)
    name = f"{chain.commitments()[2].hex()}.ccdf"
    why = eventually(lambda: halted(restored, "aggregator"))
    assert f"the data file {name} cannot be read" in why
    assert "docs/operators/backup.md" in why
    (tmp_path / "lost" / name).rename(tmp_path / "data" / name)
    reports.append(send(restored, sensor))
    committed(chain, 3)
    assert committed_reports(chain, tmp_path / "data") == Counter(map(key_of, reports))
