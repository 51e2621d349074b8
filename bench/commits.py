"""How many batches a lane commits, and what one costs: the landed submitter on real servers.

python bench/commits.py

Three chains: a block for every transaction, every second, every 12 seconds. Figures per transaction
are CPU milliseconds of the submitter's process (this one), of Postgres and of anvil;
`signing_cpu_ms`, the signature alone, is the floor of the same run. `lane_readings_per_s` is what a
lane carries for good with windows of the default size: as many as it committed here, but no more
batches than the contract's ring takes in a challenge window.
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import structlog

from corechain.deployment import Deployment, load_deployment
from corechain.devnet.deploy import deploy_contracts
from corechain.devnet.postgres import PostgresServer
from corechain.devnet.servers import AnvilServer, Server, rpc
from corechain.devnet.settings import SUBMITTER_KEY
from corechain.protocol.batch import RING_SIZE
from corechain.protocol.hashing import keccak
from corechain.service.database import create_pool, migrate, writer
from corechain.service.rpc import Rpc
from corechain_relayer.aggregator.pace import chain_pace, pace_of
from corechain_relayer.calldata import commit_call
from corechain_relayer.journal.sql import migrations
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.commits import CommitSearch, CommitStore
from corechain_relayer.submitter.journal import IntentJournal
from corechain_relayer.submitter.node import Node
from corechain_relayer.submitter.plan import Fees, Intent, Policy
from corechain_relayer.submitter.service import Submitter
from corechain_relayer.submitter.settled import CommittedBatches
from corechain_relayer.submitter.signer import Signer

REPOSITORY = Path(__file__).parent.parent
RESULTS = REPOSITORY / "bench" / "results" / "commits.jsonl"
QUEUED = 600
"""Intents in the queue when the clock starts: more than any window."""
COMMITS = {"instant": 400, "every second": 120, "every 12 seconds": 80}
BLOCK_TIME_S = {"every second": 1, "every 12 seconds": 12}
IN_FLIGHT = 16
"""As `RELAYER_NONCES_IN_FLIGHT` is by default."""
POLL_S = 0.5
LIMIT_S = 240.0
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
SIGNATURES = 200


def tree(pid: int) -> list[int]:
    """The process and all below it: Postgres has one a connection."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(found for child in children for found in tree(int(child)))]


def cpu_s(server: Server) -> float:
    """CPU seconds of a server, of children that have ended too (proc_pid_stat(5))."""
    ticks = 0
    for pid in tree(server.pid):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / TICKS_A_SECOND


def signing_cpu_ms(signer: Signer) -> float:
    intent = Intent(0, "batch:1", bytes(20), commit_call(1, keccak(b"1")[:26]))
    spent = []
    for nonce in range(SIGNATURES):
        started = time.process_time()
        signer.sign(intent, nonce, Fees(10**9, 10**9), 60_000, 0.0)
        spent.append(time.process_time() - started)
    return 1000 * statistics.median(spent)


async def commit(submitter: Submitter, servers: dict[str, Server], number: int) -> dict[str, float]:
    """Runs until so many more are in a block."""
    fetch = submitter.journal.connection.fetchval
    done = "select count(*) from intent where state in ('confirmed', 'final')"
    first, started, spent = await fetch(done), time.perf_counter(), time.process_time()
    before = {name: cpu_s(server) for name, server in servers.items()}
    now = first
    while now < first + number:
        assert time.perf_counter() - started < LIMIT_S, f"{now - first} commits in {LIMIT_S} s"
        if await submitter.step():
            now = await fetch(done)
        else:
            await asyncio.sleep(POLL_S)
    took, count = time.perf_counter() - started, now - first
    costs = {"submitter": time.process_time() - spent}
    costs |= {name: cpu_s(server) - before[name] for name, server in servers.items()}
    figures = {f"{name}_cpu_ms": 1000 * cost / count for name, cost in costs.items()}
    return {"commits": count, "commits_per_s": count / took, **figures}


async def commits_per_block(submitter: Submitter) -> dict[str, float]:
    rows = await submitter.journal.connection.fetch(
        "select block_number from intent where block_number is not null"
    )
    sizes = Counter(row["block_number"] for row in rows).values()
    return {"commits_per_block": statistics.median(sizes), "most_in_a_block": max(sizes)}


async def lane_figures(rpc: Rpc, deployment: Deployment, commits_per_s: float) -> dict[str, float]:
    chain = await chain_pace(rpc, deployment)
    pace = pace_of(chain, IN_FLIGHT)
    for_good = min(commits_per_s, RING_SIZE / chain.challenge_window_s)
    return {
        "window_readings": pace.max_readings,
        "window_age_s": pace.max_age_s,
        "lane_readings_per_s": pace.max_readings * for_good,
    }


async def measure(
    deployment: Deployment, servers: dict[str, Server], url: str, mode: str
) -> dict[str, Any]:
    node = Node(Rpc(servers["anvil"].url), 64, 10**12, 0)
    await migrate(url, migrations())
    pool = create_pool(url)
    await pool
    try:
        async with writer(url, "bench") as connection:
            journal = IntentJournal(connection, "lane:0")
            signer = Signer.of(SUBMITTER_KEY, deployment.chain_id)
            search = CommitSearch(node, deployment, CommitStore(pool, 0), 10_000)
            policy = Policy(15, 60, 5, 10**12, in_flight=IN_FLIGHT)
            parts = (journal, node, signer, CommittedBatches(search), policy, Metrics())
            submitter = Submitter(*parts)
            for number in range(1, QUEUED + 1):
                call = commit_call(number, keccak(b"%d" % number)[:26])
                await journal.want(f"batch:{number}", deployment.address("DataBatches"), call)
            figures = await commit(submitter, servers, COMMITS[mode])
            figures |= await commits_per_block(submitter)
            figures |= await lane_figures(node.rpc, deployment, figures["commits_per_s"])
            return {"blocks": mode, **figures, "signing_cpu_ms": signing_cpu_ms(signer)}
    finally:
        await pool.close()
        await node.rpc.close()


def run(home: Path) -> list[dict[str, Any]]:
    results = []
    with (
        AnvilServer(home / "anvil") as anvil,
        PostgresServer(home / "postgres") as postgres,
    ):
        manifest = deploy_contracts(REPOSITORY, anvil.url, home / "31337.json")
        deployment = load_deployment(manifest)
        for mode in COMMITS:
            snapshot = rpc(anvil.url, "evm_snapshot")
            if mode in BLOCK_TIME_S:
                rpc(anvil.url, "evm_setIntervalMining", BLOCK_TIME_S[mode])
            url = postgres.create_database(mode.replace(" ", "_"))
            servers: dict[str, Server] = {"anvil": anvil, "postgres": postgres}
            results.append(asyncio.run(measure(deployment, servers, url, mode)))
            rpc(anvil.url, "evm_revert", snapshot)
    return results


def main() -> None:
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(sys.stderr))
    with tempfile.TemporaryDirectory(prefix="corechain-bench-") as home:
        results = run(Path(home))
    shown = [
        {name: round(v, 2) if isinstance(v, float) else v for name, v in result.items()}
        for result in results
    ]
    lines = [json.dumps(result) for result in shown]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
