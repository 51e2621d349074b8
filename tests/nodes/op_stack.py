"""A submitter on op-geth, by the rules of an OP stack. `make test-op-geth` builds the node and runs
this; pytest does not collect it by itself, for Go is not on every machine.

given an OP stack's node, whose transactions pay for their bytes on L1
├── what is sent is mined once, and the journal has to the wei what the account has paid
├── while no block comes a bump and a cancel replace what waits in the pool
├── a cancelled call is not mined, and its intent ends as cancelled once that is final
├── at the budget of a day, L1's fee included, nothing is signed
└── what a reorg takes is mined again, once
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from support.op_geth import CHAIN_ID, OpGethServer, Sequencer
from support.processes import PATIENCE_S

from corechain.devnet.postgres import PostgresServer
from corechain.devnet.servers import rpc
from corechain.service.database import create_pool, migrate, writer
from corechain.service.rpc import Rpc
from corechain_relayer.journal.sql import migrations
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.budget import BUDGET_REACHED
from corechain_relayer.submitter.chains import RULES
from corechain_relayer.submitter.journal import IntentJournal
from corechain_relayer.submitter.node import Node
from corechain_relayer.submitter.plan import Intent, Policy
from corechain_relayer.submitter.service import Submitter
from corechain_relayer.submitter.settled import Found
from corechain_relayer.submitter.signer import Signer
from corechain_relayer.transactions.book import Book

KEY = "0x" + "5e" * 32
TARGET, QUEUE = bytes(19) + b"\x99", "op"
RULES_HERE = RULES["optimism"]
POLICY = Policy(
    2, 30, 1, 10**12, refused_pause_s=0.5, ordered=False, in_flight=8,
    replaces=RULES_HERE.replaces, nonce_at_send=RULES_HERE.nonce_at_send, l1_fee=RULES_HERE.l1_fee,
    budget=10**20,
)  # fmt: skip


async def none_settled(intents: list[Intent]) -> list[Found]:
    return [None for _ in intents]


@dataclass
class Stand:
    submitter: Submitter
    connection: Any
    sequencer: Sequencer
    book: Book

    async def want(self, *names: str) -> None:
        for name in names:
            await self.submitter.journal.want(name, TARGET, b"\x01" * 36 + name.encode())

    async def until(self, wanted: Callable[[], Awaitable[bool]], *, blocks: bool = True) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not await wanted():
                await self.submitter.step()
                if blocks:
                    await asyncio.to_thread(self.sequencer.block)
                await asyncio.sleep(0.05)

    async def states(self) -> dict[str, str]:
        rows = await self.connection.fetch("select key, state from intent order by id")
        return {row["key"]: row["state"] for row in rows}

    def all_in(self, state: str, *names: str) -> Callable[[], Awaitable[bool]]:
        async def is_so() -> bool:
            found = await self.states()
            return all(found[name] == state for name in names)

        return is_so

    def balance(self) -> int:
        url, sender = self.sequencer.node.url, "0x" + self.submitter.signer.address.hex()
        return int(rpc(url, "eth_getBalance", sender, "latest"), 16)

    async def attempts(self, name: str) -> list[Any]:
        sql = "select a.* from attempt a join intent i on i.id = a.intent_id where i.key = $1"
        return list(await self.connection.fetch(f"{sql} order by a.signed_at", name))


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    signer = Signer.of(KEY, CHAIN_ID)
    with (
        OpGethServer(tmp_path / "op-geth", [signer.address.hex()]) as node,
        PostgresServer(tmp_path / "postgres") as postgres,
    ):
        database = postgres.create_database("op")
        await migrate(database, migrations())
        rpc_, pool = Rpc(node.url, PATIENCE_S), create_pool(database)
        await pool
        asks = Node(rpc_, RULES_HERE.confirmations, POLICY.max_fee, RULES_HERE.min_priority_fee)
        async with writer(database, signer.lock) as connection:
            parts = IntentJournal(connection, QUEUE), asks, signer, none_settled, POLICY, Metrics()
            yield Stand(Submitter(*parts), connection, Sequencer(node), Book(pool))
        await rpc_.close()
        await pool.close()


async def test_a_submitter_works_by_the_rules_of_an_op_stack(stand: Stand) -> None:
    before, sequencer = stand.balance(), stand.sequencer
    names = [f"first:{n}" for n in range(20)]
    await stand.want(*names)
    await stand.until(stand.all_in("final", *names))
    journal = stand.submitter.journal
    assert before - stand.balance() == await journal.spent_in_a_day()
    hashes = [a["hash"].hex() for name in names for a in await stand.attempts(name)]
    receipts = [rpc(sequencer.node.url, "eth_getTransactionReceipt", f"0x{h}") for h in hashes]
    fees = [int(receipt["l1Fee"], 16) for receipt in receipts if receipt]
    assert len(fees) == len(names)
    most = await stand.submitter.node.l1_fee(256 + 46)
    assert 0 < max(fees) <= most

    # No block comes: what waits in the pool is replaced.
    await stand.want("bumped", "cancelled", "capped")
    await stand.until(stand.all_in("pending", "bumped", "cancelled", "capped"), blocks=False)
    await stand.book.bump("bumped", "by a test")
    await stand.book.cancel("cancelled", "by a test")
    (waiting,) = await stand.attempts("capped")
    fees_capped = replace(stand.submitter.policy, max_fee=waiting["max_fee"])

    async def replaced() -> bool:
        return len(await stand.attempts("bumped")) == len(await stand.attempts("cancelled")) == 2

    await stand.until(replaced, blocks=False)
    stand.submitter.policy = fees_capped
    await stand.book.cancel("capped", "by a test")

    async def refused() -> bool:
        found = (await stand.book.find("capped")).wait
        return found is not None and found.kind == "ReplacementUnderpriced"

    await stand.until(refused, blocks=False)
    assert [a["cancels"] for a in await stand.attempts("capped")] == [False, True]
    await stand.until(stand.all_in("final", "bumped", "capped"))
    await stand.until(stand.all_in("void", "cancelled"))
    stand.submitter.policy = POLICY

    # What a reorg takes comes again.
    await stand.want("undone")
    await stand.until(stand.all_in("confirmed", "undone"))
    await asyncio.to_thread(sequencer.reorg, 2)
    await stand.until(stand.all_in("final", "undone"))
    # Counted at what it cost in the block that is gone.
    spent = await journal.spent_in_a_day()
    assert abs(before - stand.balance() - spent) < spent // 100

    # A wei less than one more can cost, with what it pays to L1.
    stand.submitter.policy = replace(POLICY, budget=await journal.spent_in_a_day() + most)
    await stand.want("over the budget")

    async def told() -> bool:
        found = (await stand.book.find("over the budget")).wait
        return found is not None and found.kind == BUDGET_REACHED

    await stand.until(told)
    assert (await stand.states())["over the budget"] == "queued"
