"""`corechain indexer audit`: an index is compared with a node, and its data with the roots.

given an index with verified batches
  ├── it is clean, with the node's own count and checksum of events
  ├── whatever is changed in it, taken out or put in: it is found, and named
  ├── another chain's node is refused, and so is a range that is not mirrored yet
  └── the command prints the report and exits with 0, with 1 when something is wrong, or
      with 3 when nothing was checked: nothing is final yet, or the contracts came later
"""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from support.command import PROGRAM
from support.forked import completed

from corechain.protocol.errors import NotMirrored
from corechain.service.errors import WrongNode
from corechain_indexer.audit import Report, audit_index
from indexer.support import Driven, World

FIRST_EVENT = "where ctid = (select min(ctid) from event)"
DAMAGE = {
    "an event that is missing": f"delete from event {FIRST_EVENT}",
    "another event": f"update event set data = data || '\\x00' {FIRST_EVENT}",
    "an event that the node does not know": """
        insert into event select block_number, 900, block_hash, transaction, address, topics, data
          from event limit 1""",
    "another block": """
        update block set hash = sha256(hash) where number = (select max(number) from block)""",
    "segments that are not of the leaves": """
        update segment set sum = sum + 1 where batch_id = 2 and position = 0""",
    "segments that are missing": """
        delete from segment where ctid = (select min(ctid) from segment)""",
    "segments of no verified batch": """
        update segment set batch_id = 900 where batch_id = 1""",
    "leaves under another root": """
        update batch_file set leaves = set_byte(leaves, 38, 77) where batch_id = 1""",
    "a header under another commitment": """
        update batch_file set reports_root = substring(data_hash from 1 for 26)
         where batch_id = 2""",
    "leaves that are too few or too many": """
        update batch_file set leaves = substring(leaves from 41) where batch_id = 1""",
    "tree levels that are not of the leaves": """
        update batch_file set tree_levels = '\\x00' where batch_id = 1""",
}
TABLES = ("event", "block", "segment", "batch_file")
COLUMNS = "leaves = k.leaves, tree_levels = k.tree_levels, reports_root = k.reports_root"
PUT_BACK = [
    *(f"delete from {table}" for table in TABLES[:3]),
    *(f"insert into {table} select * from kept_{table}" for table in TABLES[:3]),
    f"update batch_file f set {COLUMNS} from kept_batch_file k where k.batch_id = f.batch_id",
]


async def audited(world: World, indexer: Driven, last: int) -> Report:
    settings, deployment = indexer.indexer.settings, world.chain.deployment
    return await audit_index(settings, deployment, world.chain.rpc_url, 0, last)


async def test_an_index_is_clean_until_something_in_it_is_changed(
    world: World, indexer: Driven
) -> None:
    world.add(hours=2)
    world.add(hours=2)
    await indexer.settle()
    pool, head = indexer.indexer.pool, world.head
    report = await audited(world, indexer, head)
    assert report.findings == {}, report.examples
    assert report.batches == 2
    assert report.leaves == await pool.fetchval("select sum(count) from segment")
    assert report.events == report.events_of_node > 0
    assert report.checksum == report.checksum_of_node
    for table in TABLES:
        await pool.execute(f"create table kept_{table} as select * from {table}")
    for kind, statement in DAMAGE.items():
        await pool.execute(statement)
        report = await audited(world, indexer, head)
        assert kind in report.findings, (kind, report.findings)
        assert any(example.startswith(kind) for example in report.examples)
        assert (report.checksum == report.checksum_of_node) == ("event" not in kind)
        for back in PUT_BACK:
            await pool.execute(back)
    assert (await audited(world, indexer, head)).is_clean


async def test_another_chain_and_a_range_to_come_are_refused(world: World, indexer: Driven) -> None:
    await indexer.settle()
    with pytest.raises(NotMirrored):
        await audited(world, indexer, world.head + 1)
    other = replace(world.chain.deployment, chain_id=1)
    with pytest.raises(WrongNode):
        await audit_index(indexer.indexer.settings, other, world.chain.rpc_url, 0, None)


def run(settings: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return completed(PROGRAM, ["indexer", "audit", *arguments], os.environ | settings)


async def test_the_command_prints_the_report_and_exits_with_1_when_something_is_wrong(
    world: World, indexer: Driven, deployment: Path, database: str, bus_url: str
) -> None:
    await indexer.settle()
    settings = {
        "INDEXER_RPC_URL": world.chain.rpc_url,
        "INDEXER_DEPLOYMENT": str(deployment),
        "INDEXER_DATABASE_URL": database,
        "INDEXER_REDIS_URL": bus_url,
        "INDEXER_DATA_URLS": f"file://{world.data_dir}/{{commitment}}.ccdf",
    }
    early = run(settings)
    assert early.returncode == 3, early.stderr
    assert "nothing was checked" in early.stderr
    said = json.loads(early.stdout)
    assert (said["checked"], said["clean"], said["blocks"]) == (False, False, 0)
    before = run(settings, "--to", str(world.chain.deployment.first_block - 1))
    assert before.returncode == 3, before.stderr
    assert "first block" in before.stderr
    said = json.loads(before.stdout)
    assert (said["checked"], said["clean"], said["blocks"]) == (False, False, 0)
    clean = run(settings, "--to", str(world.head))
    assert clean.returncode == 0, clean.stderr
    assert json.loads(clean.stdout)["clean"] is True
    await indexer.indexer.pool.execute(DAMAGE["an event that is missing"])
    wrong = run(settings, "--to", str(world.head), "--node", world.chain.rpc_url)
    assert wrong.returncode == 1, wrong.stderr
    assert json.loads(wrong.stdout)["findings"] == {"an event that is missing": 1}


def test_a_range_that_ends_before_it_begins_is_a_wrong_argument() -> None:
    done = run({}, "--from", "50", "--to", "3")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --from 50 is after --to 3\n"
