"""What a role of an old chain was told is kept, too: `test_old_chain.py` has how, this that it is.

given a challenger with a guardian's key, whose chain is thousands of blocks old
  its second start asks for no log below what the first has kept: of lanes, roots, commits, devices
  of all commitments of its window the seconds are asked for together: each alone took an hour
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

from support.processes import PATIENCE_S

from corechain.deployment import Deployment
from corechain.protocol.archive import Place
from corechain.service.errors import NodeRefused
from corechain.service.rpc import Block, Call
from corechain_relayer.calldata import selector
from corechain_relayer.challenger.calls import DisputesCalls, Terms
from corechain_relayer.challenger.examining import Examiner, LaneBook
from corechain_relayer.challenger.lanes import Commit, LanesView
from corechain_relayer.challenger.process import ChallengerProcess
from corechain_relayer.challenger.service import Challenger
from corechain_relayer.challenger.settings import ChallengerSettings
from corechain_relayer.keeping import MUCH_BLOCKS
from corechain_relayer.rewards.kept import VIEWS
from corechain_relayer.rewards.proven import Proven
from relayer.challenging import CHALLENGER_KEY
from relayer.old_chain import CONTRACT, DEPTH, RANGE, old_chain
from relayer.support import SUBMITTER_KEY

HEIGHT, MONTHS_S = 20_000, 5_000_000
KEPT = ["DeviceRegistry", "commits", "lanes", "roots"]


async def test_a_challenger_that_starts_again_reads_on_behind_what_is_kept(
    database: str, tmp_path: Path
) -> None:
    names = (*VIEWS, "BatchChallenges")
    deployment = Deployment(31337, {name: replace(CONTRACT, name=name) for name in names})
    async with old_chain(database, HEIGHT) as world:
        given: dict[str, Any] = {"deployment": "none.json", "data_dir": tmp_path}
        given |= {"rpc_url": world.chain.url, "database_url": database}
        given |= {"challenger_key": CHALLENGER_KEY, "guardian_key": SUBMITTER_KEY}
        given |= {"log_range_blocks": RANGE, "confirmations": DEPTH}
        settings = ChallengerSettings(**given)

        async def started() -> int:
            """The lowest block whose logs are asked for."""
            world.chain.calls.clear()
            process = ChallengerProcess(settings, deployment)
            await process.pool
            role, sources = process.role(), process.role()._sources()
            lanes = await role._follower(Terms(MONTHS_S, 0, 0, bytes(20)))
            await asyncio.gather(*(one.refresh_since(0.0) for one in (lanes, process.registry)))
            assert role.guardian is not None
            kept = role._root_watch(sources, role.guardian, Proven()).kept
            assert kept is not None
            for contract in VIEWS:
                await kept.logs(contract, 0, HEIGHT)
            await sources.close()
            await process.close()
            asked = [query for (query,) in world.chain.asked("eth_getLogs")]
            return min(int(query["fromBlock"], 16) for query in asked if "fromBlock" in query)

        assert await started() == 1
        async with asyncio.timeout(PATIENCE_S):  # on a loaded machine it is kept a moment later
            while await started() < HEIGHT - 2 * MUCH_BLOCKS:
                pass
        rows = await world.pool.fetch("select name from final_view")
        assert sorted(row["name"] for row in rows) == KEPT


async def test_a_challenger_asks_together_when_what_it_knows_was_committed() -> None:
    class Ring:
        """Of a contract that has every second commitment."""

        asked: ClassVar[list[int]] = []

        async def call_all(self, calls: Sequence[Call]) -> list[str | NodeRefused]:
            self.asked.append(len(calls))
            numbers = [int(call.params[0]["data"][10:74], 16) for call in calls]
            gone = "0x" + selector("UnknownBatch(uint48)").hex() + "00" * 32
            refused = NodeRefused("eth_call", 3, "execution reverted", gone)
            return [f"0x{number:064x}" if number % 2 else refused for number in numbers]

    ring, nothing = cast(Any, Ring()), cast(Any, None)
    contracts = Deployment(31337, {"DataBatches": CONTRACT})
    calls = DisputesCalls(ring, contracts, bytes(20))
    examiner = Examiner(calls, nothing, nothing, nothing, nothing)
    commits = [Commit(n, bytes(26), Place.alone(n), n) for n in range(2_500)]
    view, missing = LanesView({one.batch_id: [one] for one in commits}), commits[::2]
    follower = cast(Any, SimpleNamespace(view=view))
    limits = cast(Any, SimpleNamespace(retry_s=5.0, others_after_s=5.0))
    parts = (nothing, calls, Terms(10**6, 0, 0, bytes(20)), limits, nothing, nothing, nothing)
    challenger = Challenger(follower, examiner, *parts)
    head, books = Block(1, b"", b"", 5_000, 0), {0: LaneBook(0)}
    found = await challenger._challengeable(head, books)
    assert [(one.batch_id, one.committed_at) for one in found] == [
        (one.batch_id, one.batch_id) for one in commits if one not in missing
    ]
    assert len(Ring.asked) <= 3
