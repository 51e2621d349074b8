"""A lane's submitter on real servers, in the test's own process."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from support.processes import PATIENCE_S

from corechain.protocol.hashing import keccak
from corechain.service.database import create_pool, migrate, writer
from corechain.service.rpc import Rpc
from corechain_relayer.calldata import commit_call
from corechain_relayer.journal.sql import migrations
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.commits import CommitSearch, CommitStore
from corechain_relayer.submitter.journal import IntentJournal
from corechain_relayer.submitter.node import Node
from corechain_relayer.submitter.plan import Policy, State
from corechain_relayer.submitter.service import Submitter
from corechain_relayer.submitter.settled import CommittedBatches
from corechain_relayer.submitter.signer import Signer
from relayer.support import SUBMITTER_KEY, Chain

CONFIRMED = 5_000
RANGE = 5
"""Blocks in one question for logs."""
LIMIT_S = PATIENCE_S
POLICY = Policy(5, 60, 0.0, 10**12, refused_pause_s=0.05, in_flight=4)


class CountingRpc(Rpc):
    """Counts the calls by method, those in a batch one by one; and requests by what they carry."""

    def __init__(self, url: str) -> None:
        super().__init__(url, 20.0)
        self.asked: Counter[str] = Counter()
        self.posted: Counter[str] = Counter()

    async def _post(self, method: str, request: Any, most: int, *, unread: bool) -> Any:
        calls = request if isinstance(request, list) else [request]
        self.posted.update({call["method"] for call in calls})
        return await super()._post(method, request, most, unread=unread)

    async def call(self, method: str, *params: Any) -> Any:
        self.asked[method] += 1
        return await super().call(method, *params)

    async def call_many(self, calls: Any) -> list[Any]:
        self.asked.update(call.method for call in calls)
        return await super().call_many(calls)


@dataclass
class Lane:
    """A submitter on real servers, driven step by step."""

    chain: Chain
    rpc: CountingRpc
    journal: IntentJournal
    submitter: Submitter
    pool: Any

    async def want(self, number: int) -> None:
        target = self.chain.deployment.address("DataBatches")
        call = commit_call(number, keccak(b"%d" % number)[:26])
        await self.journal.want(f"batch:{number}", target, call)

    async def until_confirmed(self, key: str) -> tuple[int, int]:
        """Rounds that it took, and those of them that did something: others wait for a block."""
        deadline, rounds, busy = time.monotonic() + LIMIT_S, 0, 0
        while await self.state(key) != "confirmed":
            assert time.monotonic() < deadline, f"{key} is {await self.state(key)}"
            rounds += 1
            if await self.submitter.step():
                busy += 1
            else:
                await asyncio.sleep(0.02)
        return rounds, busy

    def restart(self, **changes: Any) -> None:
        """What a new process knows: the journal. `changes` to the policy."""
        old = self.submitter
        policy = replace(old.policy, **changes)
        self.submitter = Submitter(
            old.journal, old.node, old.signer, old.settled, policy, old.metrics
        )

    async def until(self, wanted: Callable[[], Awaitable[bool]]) -> None:
        """Rounds until it is so."""
        deadline = time.monotonic() + LIMIT_S
        while not await wanted():
            assert time.monotonic() < deadline, f"not within {LIMIT_S} s"
            if not await self.submitter.step():
                await asyncio.sleep(0.02)

    async def state(self, key: str) -> str:
        found = await self.journal.connection.fetchval(
            "select state from intent where key = $1", key
        )
        return str(found)

    async def counts(self) -> dict[State, int]:
        """How many intents are in each state that is not the last."""
        submitter = self.submitter
        return await self.journal.note_look(submitter.signer.address, submitter.policy, None)

    async def many_confirmed(self, block: dict[str, Any], number: int = CONFIRMED) -> None:
        """As if so many had been committed in one block."""
        await self.journal.connection.execute(
            """insert into intent (queue, key, target, calldata, state, sender, nonce, transaction,
                                   block_number, block_hash)
               select $1, 'old:' || n, $2, $2, 'confirmed', $2, n, sha256(n::text::bytea), $3, $4
               from generate_series(1, $5) n""",
            self.journal.queue,
            bytes(20),
            int(block["number"], 16),
            bytes.fromhex(block["hash"][2:]),
            number,
        )
        await self.journal.connection.execute("analyze intent")

    def mine(self, blocks: int) -> None:
        """In pieces: anvil takes its time for each block."""
        for done in range(0, blocks, 40):
            self.chain.rpc("anvil_mine", hex(min(40, blocks - done)))

    def block(self, tag: str = "latest") -> dict[str, Any]:
        return dict(self.chain.rpc("eth_getBlockByNumber", tag, False))


@asynccontextmanager
async def open_lane(chain: Chain, database: str) -> AsyncIterator[Lane]:
    await migrate(database, migrations())
    rpc, pool = CountingRpc(chain.url), create_pool(database)
    await pool
    node = Node(rpc, 64, 10**12, 0)
    signer = Signer.of(SUBMITTER_KEY, chain.deployment.chain_id)
    search = CommitSearch(node, chain.deployment, CommitStore(pool, 0), RANGE)
    async with writer(database, "lane") as connection:
        journal = IntentJournal(connection, "lane:0")
        settled = CommittedBatches(search)
        submitter = Submitter(journal, node, signer, settled, POLICY, Metrics())
        yield Lane(chain, rpc, journal, submitter, pool)
    await rpc.close()
    await pool.close()
