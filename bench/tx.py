"""Transactions a second: journaled, signed, sent and confirmed over lanes, beside a bare send loop.

python bench/tx.py            (BENCH_SECONDS=60 BENCH_LANES=10 BENCH_NODE=anvil|geth)

The landed submitter on a real Postgres and a real node with a block a second. All lanes share this
process, as lanes of one relayer do. Three parts in one run: the bare loop (signed and sent in
batches, nothing kept, nothing asked), the stages of one lane alone, and the whole for `seconds`;
afterwards the nonces on the chain are held against the journal. `cpu_us_per_transaction` has the
whole run's figures by process and, of the lane alone, by stage.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from commits import cpu_s
from tx_lanes import CALLDATA, MAX_FEE, TARGET, Stand, key_of, stages

from corechain.devnet.postgres import PostgresServer
from corechain.devnet.servers import AnvilServer, Server, rpc
from corechain.service.command import collect_seldom, new_event_loop
from corechain.service.database import migrate
from corechain.service.logs import configure_logs
from corechain.service.rpc import Rpc
from corechain_relayer.journal.sql import migrations
from corechain_relayer.submitter.journal import PENDING_LIMIT
from corechain_relayer.submitter.node import Node
from corechain_relayer.submitter.plan import Fees, Intent
from corechain_relayer.submitter.signer import Signer

REPOSITORY = Path(__file__).parent.parent
sys.path.insert(0, str(REPOSITORY / "tests"))

from support.nodes import GethServer  # noqa: E402

NODE = os.environ.get("BENCH_NODE", "anvil")
SECONDS = float(os.environ.get("BENCH_SECONDS", "60"))
LANES = int(os.environ.get("BENCH_LANES", "10"))
WINDOW = int(os.environ.get("BENCH_WINDOW", str(PENDING_LIMIT)))
RESULTS = REPOSITORY / "bench" / "results" / ("tx.json" if NODE == "anvil" else f"tx-{NODE}.json")
BARE, BARE_AT_ONCE, STAGES = 10_000, 100, 2_048
BARE_LANES = 10
GAS = 27_900
"""What an estimate with its buffer comes to: a node fills blocks by what transactions may use."""
WARM_UP_S = 3.0
"""Until the first windows are in blocks: a rate begins with a full pipe."""
ETHER = 10**18


async def bare(stand: Stand, server: Server) -> dict[str, float]:
    """Signed, and sent a hundred at a time until all are in blocks."""
    signers = [Signer.of(key_of(n, "bare"), stand.chain_id) for n in range(BARE_LANES)]
    node, fees = Node(Rpc(stand.node_url, 60.0), 64, MAX_FEE, 10**9), Fees(10**11, 10**9)
    call, each = Intent(0, "bare", TARGET, CALLDATA), BARE // BARE_LANES
    started, spent, of_node = time.perf_counter(), time.process_time(), cpu_s(server)

    async def send_all(signer: Signer) -> None:
        for first in range(0, each, BARE_AT_ONCE):
            nonces = range(first, first + BARE_AT_ONCE)
            signed = [signer.sign(call, nonce, fees, GAS, 0.0).raw for nonce in nonces]
            refused = [error for error in await node.send(signed) if error]
            assert not refused, refused[0]

    await asyncio.gather(*map(send_all, signers))
    cpu = time.process_time() - spent
    while min([await node.count(s.address) for s in signers]) < each:  # noqa: ASYNC110
        await asyncio.sleep(0.1)  # for another process
    took = time.perf_counter() - started
    await node.rpc.close()
    return {
        "per_s": BARE / took,
        "relayer": 1e6 * cpu / BARE,
        "node": 1e6 * (cpu_s(server) - of_node) / BARE,
    }


async def whole(stand: Stand, servers: dict[str, Server]) -> dict[str, Any]:
    """All lanes at once, and what they cost by process."""
    async with stand.lanes(LANES, "lane") as lanes:
        until = time.perf_counter() + WARM_UP_S + SECONDS
        driven = [asyncio.create_task(lane.drive(stand.window, until)) for lane in lanes]
        await asyncio.sleep(WARM_UP_S)
        first = sum([await lane.in_blocks() for lane in lanes])
        started, spent = time.perf_counter(), time.process_time()
        before = {name: cpu_s(server) for name, server in servers.items()}
        await asyncio.sleep(until - time.perf_counter())
        last = sum([await lane.in_blocks() for lane in lanes])
        took, cpu = time.perf_counter() - started, time.process_time() - spent
        costs = {name: cpu_s(server) - before[name] for name, server in servers.items()}
        await asyncio.gather(*driven)
        gaps = sum([await lane.gaps() for lane in lanes])
        wanted = sum(lane.wanted for lane in lanes)
    done = last - first
    return {
        "transactions_per_s": done / took,
        "seconds": took,
        "transactions": wanted,
        "gaps": gaps,
        "cpu": {name: 1e6 * cost / done for name, cost in ({"relayer": cpu} | costs).items()},
    }


async def measure(stand: Stand, servers: dict[str, Server]) -> dict[str, Any]:
    await migrate(stand.database, migrations())
    floor = await bare(stand, servers["node"])
    alone = await stages(stand, STAGES)
    found = await whole(stand, servers)
    cpu = found.pop("cpu")
    return {
        "node": NODE,
        "lanes": LANES,
        "window": stand.window,
        **found,
        "cpu_us_per_transaction": {
            **alone["by_stage"],
            "relayer": cpu["relayer"],
            "postgres": cpu["postgres"],
            "node": cpu["node"],
        },
        "calls_per_transaction": alone["calls"],
        "bare_per_s": floor["per_s"],
        "bare_cpu_us": {"relayer": floor["relayer"], "node": floor["node"]},
        "bare_loop_ratio": found["transactions_per_s"] / floor["per_s"],
        "bare_cpu_ratio": cpu["relayer"] / floor["relayer"],
    }


@contextmanager
def a_node(home: Path) -> Iterator[Server]:
    """With a block a second."""
    if NODE == "anvil":
        with AnvilServer(home / "anvil", block_time_s=1) as anvil:
            yield anvil
        return
    with GethServer(home / "geth") as geth:
        yield geth


def fund(url: str) -> None:
    (rich, *_) = rpc(url, "eth_accounts")
    parts = {"lane": LANES, "bare": BARE_LANES, "stages": 1}
    keys = [key_of(n, part) for part, number in parts.items() for n in range(number)]
    accounts = ["0x" + Signer.of(key, 1).address.hex() for key in keys]
    for account in accounts:
        payment = {"from": rich, "to": account, "value": hex(50 * ETHER)}
        rpc(url, "eth_sendTransaction", payment)
    while not all(int(rpc(url, "eth_getBalance", a, "latest"), 16) for a in accounts):
        time.sleep(0.1)


def run(home: Path) -> dict[str, Any]:
    with a_node(home) as node, PostgresServer(home / "postgres") as postgres:
        fund(node.url)
        chain_id = int(rpc(node.url, "eth_chainId"), 16)
        stand = Stand(node.url, postgres.create_database("tx"), chain_id, WINDOW)
        collect_seldom()
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(measure(stand, {"node": node, "postgres": postgres}))


def rounded(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: rounded(value) for name, value in found.items()}
    return round(found, 3 if found < 10 else 1) if isinstance(found, float) else found


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="corechain-bench-") as home:
        said = sys.stderr
        # Two lines a transaction, as a relayer writes them: they are part of what it costs.
        with (Path(home) / "log").open("w") as sys.stderr:
            configure_logs("INFO")
            try:
                found = rounded(run(Path(home)))
            finally:
                sys.stderr = said
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found))
    if found["gaps"]:
        sys.exit(f"{found['gaps']} gaps")


if __name__ == "__main__":
    main()
