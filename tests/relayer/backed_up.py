"""A relayer's database and data files with something in every table, and ways to damage files."""

import os
from pathlib import Path

import asyncpg

from corechain.deployment import load_deployment
from corechain.protocol.batch import Origin, batch_id
from corechain.protocol.eip712 import registry_domain
from corechain.protocol.frame import columns_of
from corechain.protocol.hashing import ZERO26
from corechain.protocol.sealing import SealedBatch, seal_columns
from corechain.protocol.states import StateColumns
from corechain_relayer.aggregator.files import write_data_file
from corechain_relayer.aggregator.position import Lane
from corechain_relayer.backup.sets import Backups
from corechain_relayer.journal.batches import BatchJournal, KeptBatch
from corechain_relayer.submitter.journal import IntentJournal
from corechain_relayer.submitter.plan import Attempt, Fees
from relayer.support import Sensor, secp

SENDER = b"\5" * 20
OTHERS = """
insert into channel_state
values (decode(repeat('01', 32), 'hex'), 9, 10::numeric ^ 26, decode(repeat('02', 64), 'hex'),
        decode(repeat('03', 64), 'hex'));
insert into bus_position values (E'a\\tstream', 0, 'run', 7);
insert into lane_count (lanes, most) values (2, 4);
insert into log_position values ('commits:0', 12);
insert into seen_commit
values (9, decode(repeat('04', 26), 'hex'), decode(repeat('05', 32), 'hex'), 3);
insert into final_view
values (default, 'DeviceRegistry', 31337, decode(repeat('06', 20), 'hex'), 1, 9,
        decode(repeat('07', 32), 'hex'), 1, gen_random_uuid(), now());
insert into final_log
select id, 7, 0, block_hash, block_hash, block_hash, '' from final_view;
"""


def backups_of(database: str, deployment: Path, folder: Path) -> Backups:
    folder.mkdir()
    return Backups(database, folder, load_deployment(deployment))


def a_batch(backups: Backups, number: int, previous: bytes = ZERO26) -> SealedBatch:
    """Sealed and written; its reports are signed."""
    place = backups.deployment.chain_id, backups.deployment.address("DeviceRegistry")
    sensor = Sensor(secp(1), registry_domain(*place), sequence=number)
    report = sensor.report()
    identity = sensor.key.identity
    origin = Origin(batch_id(0, number), previous, ZERO26, *place)  # type: ignore[arg-type]
    columns = columns_of(report.pack())
    batch = seal_columns(origin, columns, {identity.device: identity}, StateColumns.of({}))
    write_data_file(backups.data_dir, batch.commitment, batch.data_file)
    return batch


async def fill(backups: Backups) -> None:
    """Two batches, the first with a signed transaction, and a row in each other table."""
    connection = await asyncpg.connect(backups.database_url)
    journal = BatchJournal(connection, 0)
    lane, previous = Lane(0, journal, backups.deployment, backups.data_dir), ZERO26
    for number in (1, 2):
        batch = a_batch(backups, number, previous)
        previous = batch.commitment
        intent = lane.intent(batch.header.batch_id, batch.commitment)
        await journal.keep(KeptBatch.of_sealed(batch), intent)
        if number == 1:
            await journal.fold()
    intents = IntentJournal(connection, "lane:0")
    first = (await intents.open_intents(True, ()))[0]
    attempt = Attempt(b"\7" * 32, 3, b"raw\t\\.\n", Fees(10**15, 1), 1.5, None)
    await intents.record([(first, attempt)], SENDER)
    await connection.execute(OTHERS)
    await connection.close()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def another(path: Path) -> None:
    """What is whole and is another batch's."""
    path.write_bytes(next(p for p in path.parent.glob("*.ccdf") if p != path).read_bytes())


def turn_a_byte(path: Path) -> None:
    """Size and time stay what they were, as on a disk that rots."""
    was, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
