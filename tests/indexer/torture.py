"""An indexer as a process of its own that is killed at random points, on a chain that forks deeply,
while its stores go away and come back."""

import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from support.command import PROGRAM, environment
from support.fake_chain import FakeChain
from support.forked import Forked, begin
from support.liar import DECEITS, LyingChain
from support.processes import eventually, family

from corechain.devnet.servers import Server
from corechain_indexer.service import Indexer
from indexer.modelled import CONTRACTS, HAPPENS, Model
from indexer.support import TABLES

CONFIRMATIONS = 256
DEEPEST = 200
"""What may be undone; a reorg below the final block would halt the mirror, rightly."""
EVENTS_A_BLOCK = 3
LONGEST_PAUSE_S = 1.0
PATIENCE_WITH_IT_S = 10.0
"""After so long it is killed in any case, whatever keeps it from asking."""

DERIVED = (*TABLES, "batch_file", "block", "chain_mark", "unjudged_batch")
"""Other tables are queues, logs of what was emitted, and what queries were paid with."""
COLUMNS = """select string_agg(quote_ident(column_name), ', ' order by column_name)
from information_schema.columns
where table_schema = current_schema() and table_name = $1
    and data_type not like 'timestamp%' and column_name <> all($2)"""
SUMS = """select state, sum(batches), sum(readings), sum(rejected) from tally group by state
having sum(batches) <> 0"""
"""Rows of `tally` are changes of a number, folded now and then."""
VOLATILE = ("attempts",)
"""How often something was tried. Times of a clock are left out by their type."""


async def derived(index: Indexer) -> dict[str, list[str]]:
    """Every row of every table that follows from the chain and the data files, in order."""
    found = {"tally": await _rows(index, SUMS)}
    for table in DERIVED:
        columns = await index.pool.fetchval(COLUMNS, table, list(VOLATILE))
        assert columns, f"there is no table {table}"
        found[table] = await _rows(index, f"select {columns} from {table}")
    return found


async def _rows(index: Indexer, query: str) -> list[str]:
    return sorted(repr(tuple(row.values())) for row in await index.pool.fetch(query))


def write_manifest(path: Path) -> Path:
    """The contracts of the model, as `scripts/deploy.py` writes them."""
    contracts = {
        name: {"address": "0x" + c.address.hex(), "block": c.block} for name, c in CONTRACTS.items()
    }
    path.write_text(json.dumps({"chain_id": 31337, "contracts": contracts}))
    return path


@dataclass
class Process:
    """The indexer, as `corechain indexer run` starts it."""

    settings: dict[str, str]
    log: Path
    _child: "Forked | subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        given = environment(self.settings)
        self._child = begin(PROGRAM, ["indexer", "run"], given, self.log)

    def kill(self) -> None:
        """SIGKILL, to its children too."""
        if self._child is None:
            return
        with suppress(psutil.NoSuchProcess):
            for process in reversed(family(self._child.pid)):
                process.kill()
        self._child.wait()
        self._child = None


@contextmanager
def paused(server: Server) -> Iterator[None]:
    """A server that hangs: its connections stay, nothing answers."""
    stopped = family(server.pid)
    for process in stopped:
        process.suspend()
    try:
        yield
    finally:
        for process in stopped:
            with suppress(psutil.NoSuchProcess):
                process.resume()


@dataclass
class Torture:
    """One run: what happens is drawn from `chance` alone; when, from what the indexer asks."""

    chain: FakeChain
    nodes: list[LyingChain]
    """Each knows the chain as far as it has seen it; two of three must agree."""
    model: Model
    process: Process
    servers: list[Server]
    chance: random.Random
    kills: int = 0
    outages: int = 0
    lies: int = 0
    depths: list[int] = field(default_factory=list)

    def grow(self, blocks: int, busy: float = 1.0) -> None:
        """`busy`: the part of the blocks in which anything may happen."""
        for _ in range(blocks):
            most = EVENTS_A_BLOCK if self.chance.random() < busy else 0
            for _ in range(self.chance.randint(0, most)):
                getattr(self.model, self.chance.choice(HAPPENS))(self.chance.randrange(16))
            self.model.mine()
        self.see()

    def see(self) -> None:
        """Some of the nodes learn of it; the others later."""
        for node in self.nodes:
            if self.chance.random() < 0.8:
                node.catch_up()

    def lie(self) -> None:
        """One of the nodes lies now, or none."""
        for node in self.nodes:
            node.lie = None
        if self.chance.random() < 0.7:
            self.chance.choice(self.nodes).lie = DECEITS[self.chance.choice(sorted(DECEITS))]
            self.lies += 1

    def asked(self) -> int:
        """How many questions the nodes have got."""
        return sum(len(node.calls) for node in self.nodes)

    def reorg(self) -> None:
        """Of a depth from 1 to 200; half of them are short, as they are in the world."""
        most = DEEPEST if self.chance.random() < 0.5 else 10
        before = self.chain.blocks[-1].number
        self.model.reorg(self.chance.randrange(most))
        self.depths.append(before - self.chain.blocks[-1].number)
        self.grow(self.chance.randint(0, 5))
        self.model.outgrow()
        self.see()

    def happen(self) -> None:
        """Something of what happens to an indexer between two kills; all of it before the first."""
        self.lie()
        self.grow(self.chance.randint(1, 20))
        if self.kills == 0 or self.chance.random() < 0.6:
            self.reorg()
        if self.kills == 0 or self.chance.random() < 0.4:
            self.outage()

    def outage(self) -> None:
        server = self.chance.choice(self.servers)
        self.outages += 1
        if self.chance.random() < 0.5:
            with paused(server):
                time.sleep(self.chance.uniform(0, LONGEST_PAUSE_S))
            return
        server.kill()
        time.sleep(self.chance.uniform(0, LONGEST_PAUSE_S))
        server.start()

    def kill_after(self, questions: int) -> None:
        """Lets it run until it has asked the node so many questions more, and kills it between two
        instructions of its own."""
        wanted = self.asked() + questions
        eventually(lambda: self.asked() >= wanted, PATIENCE_WITH_IT_S)
        time.sleep(self.chance.uniform(0, 0.03))
        self.process.kill()
        self.kills += 1

    def run(self, kills: int) -> None:
        self.grow(DEEPEST + 60, busy=0.1)
        while self.kills < kills:
            self.process.start()
            self.happen()
            self.kill_after(self.chance.randint(0, 300))
        self.model.outgrow()
        for node in self.nodes:
            node.lie = None
            node.catch_up()
        self.process.start()


def asked_kills(default: int) -> int:
    """`KILLS` of the environment: `make torture-index KILLS=100`."""
    return int(os.environ.get("KILLS") or default)
