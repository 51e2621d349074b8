"""A thousand stale closes in one block, and a thousand demands: how fast watchtower and guard
answer, and what an answer costs.

python bench/guard.py            (CLOSES=1000 DEMANDS=1000 REORGED=1000 IN_FLIGHT=64; 0: not that)

The demands are of three kinds, on ten batches. The guard is down until nine tenths of the window
are over, by the chain's clock, and meets a base fee above the calm cap: it pays the urgent one.

Then a thousand over a reorg: when half of the answers are in blocks and some in the pool, the chain
loses all blocks from the demands on, and the pool; the demands come again, under the same ids.

The tower and its submitter run in this process, on real servers; a block comes for every
transaction. `cpu_ms_per_answer` is this process's from the first look at the closes to the last
answer in a block, `calls_per_answer` what the node was asked. Beside it the floor of the same run:
the same number of transactions, signed and sent in batches, without journal, contract or receipts.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from corechain.deployment import load_deployment
from corechain.devnet.deploy import deploy_contracts
from corechain.devnet.postgres import PostgresServer
from corechain.devnet.servers import AnvilServer
from corechain_relayer.submitter.plan import Fees, Intent

REPOSITORY = Path(__file__).parent.parent
sys.path.insert(0, str(REPOSITORY / "tests"))

from relayer.channels import challenge_all, open_channels, versions  # noqa: E402
from relayer.demands import ANSWER_WINDOW_S, GUARD, committed  # noqa: E402
from relayer.guards import demand_all, demand_calls, open_guard  # noqa: E402
from relayer.support import SUBMITTER_KEY, Chain, Sensor, secp  # noqa: E402
from relayer.test_towers import undone  # noqa: E402
from relayer.towers import TowerStand, open_tower  # noqa: E402

RESULTS = REPOSITORY / "bench" / "results" / "guard.json"
CLOSES = int(os.environ.get("CLOSES", "1000"))
IN_FLIGHT = int(os.environ.get("IN_FLIGHT", "64"))
DEMANDS = int(os.environ.get("DEMANDS", "1000"))
PERIOD_S = 3_600
DOWN_S = ANSWER_WINDOW_S * 9 // 10
REORGED = int(os.environ.get("REORGED", "1000"))
BATCHES, REPORTS = 10, 25
SPIKE = 100
"""Times the base fee that the demands met."""
LIMIT_S = 600.0
SENT_AT_ONCE = 100
HELD = 7


async def until_answered(stand: TowerStand) -> None:
    done = "select count(*) from intent where state in ('confirmed', 'final')"
    while await stand.pool.fetchval(done) < CLOSES:
        if not await stand.turn():
            await asyncio.sleep(0.01)


async def answers(chain: Chain, database: str) -> dict[str, Any]:
    channels = open_channels(chain, CLOSES, PERIOD_S)
    async with open_tower(chain, database) as stand:
        stand.policy = replace(stand.policy, in_flight=IN_FLIGHT)
        await stand.hold(channels, HELD)
        block = challenge_all(chain, channels)
        stand.rpc.asked.clear()
        started, spent = time.perf_counter(), time.process_time()
        await until_answered(stand)
        took, cpu = time.perf_counter() - started, time.process_time() - spent
        assert set(versions(chain, channels)) == {HELD}
        assert stand.sent() == CLOSES, "an answer was sent twice"
        calls = stand.rpc.asked.total()
    head = chain.rpc("eth_getBlockByNumber", "latest", False)
    return {
        "closes": CLOSES,
        "in_flight": IN_FLIGHT,
        "answers_per_s": CLOSES / took,
        "cpu_ms_per_answer": 1000 * cpu / CLOSES,
        "calls_per_answer": calls / CLOSES,
        "chain_s": int(head["timestamp"], 16) - int(block["timestamp"], 16),
        "period_s": PERIOD_S,
    }


async def demands(chain: Chain, manifest: Path, database: str, home: Path) -> dict[str, Any]:
    chain.register(secp(1))
    sensor = Sensor(secp(1), chain.domain)
    batches = [committed(chain, home / "data", *[sensor] * REPORTS) for _ in range(BATCHES)]
    block = demand_all(chain, demand_calls(chain, batches, DEMANDS))
    base = SPIKE * int(block["baseFeePerGas"], 16)
    chain.rpc("evm_increaseTime", DOWN_S)
    chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(base))
    chain.rpc("evm_mine")
    async with open_guard(chain, manifest, database, home) as stand:
        # The calm cap is below what a block costs now, the urgent one (ten times that) above.
        stand.policy = replace(stand.policy, in_flight=IN_FLIGHT, max_fee=base // 2)
        stand.urgent_cap = 10 * base
        started, spent = time.perf_counter(), time.process_time()
        await stand.until_answered(LIMIT_S)
        took, cpu = time.perf_counter() - started, time.process_time() - spent
        view = stand.guard.follower.view
        answered = [c for closings in view.closings.values() for c in closings if c.answerer]
        assert len(answered) == DEMANDS, "a demand is unanswered, or was answered twice"
        calls, requests = stand.rpc.asked, stand.rpc.posted
    head = chain.rpc("eth_getBlockByNumber", "latest", False)
    return {
        "demands": DEMANDS,
        "unanswered": DEMANDS - len(answered),
        "answers_per_s": DEMANDS / took,
        "cpu_ms_per_answer": 1000 * cpu / DEMANDS,
        "calls_per_answer": calls.total() / DEMANDS,
        "eth_call_requests": requests["eth_call"],
        "down_s": DOWN_S,
        "chain_s": int(head["timestamp"], 16) - int(block["timestamp"], 16),
        "window_s": ANSWER_WINDOW_S,
        "fee_spike": SPIKE,
    }


async def reorged(chain: Chain, manifest: Path, database: str, home: Path) -> dict[str, Any]:
    chain.register(secp(2))
    sensor = Sensor(secp(2), chain.domain)
    batches = [committed(chain, home / "data", *[sensor] * REPORTS) for _ in range(BATCHES)]
    calls, before = demand_calls(chain, batches, REORGED), height(chain)
    demand_all(chain, calls)
    async with open_guard(chain, manifest, database, home) as stand:
        stand.policy, first_nonce = replace(stand.policy, in_flight=IN_FLIGHT), nonces(chain)
        # Full blocks: half of the answers in one block each would be deeper than anvil calls final.
        chain.rpc("evm_setAutomine", False)
        while nonces(chain) - first_nonce < REORGED // 2:
            await stand.turn()
            chain.rpc("evm_mine")
        demanded = set(stand.guard.follower.view.open) | set(stand.guard.follower.view.closings)
        await stand.turn()
        taken, lost = nonces(chain) - first_nonce, height(chain) - before
        undone(chain, lost)
        follower = stand.guard.follower
        here = bytes.fromhex(chain.rpc("eth_getBlockByNumber", "latest", False)["hash"][2:])
        # One look may take the node for one that is behind.
        await stand.until(lambda: follower.seen is not None and follower.seen.hash == here, LIMIT_S)
        assert not follower.view.open, "the reorg took no demand"
        chain.rpc("evm_increaseTime", 60)
        block = demand_all(chain, calls)
        started, spent = time.perf_counter(), time.process_time()
        await stand.until(lambda: demanded <= set(follower.view.closings), LIMIT_S)
        took, cpu = time.perf_counter() - started, time.process_time() - spent
        closings = follower.view.closings
        doubled = [c for c in closings.values() if len([1 for one in c if one.answerer]) != 1]
    head = chain.rpc("eth_getBlockByNumber", "latest", False)
    return {
        "demands": REORGED,
        "answers_undone": taken,
        "blocks_undone": lost,
        "unanswered": len(demanded - set(closings)),
        "doubled": len(doubled),
        "transactions": nonces(chain) - first_nonce,
        "answers_per_s": REORGED / took,
        "cpu_ms_per_answer": 1000 * cpu / REORGED,
        "chain_s": int(head["timestamp"], 16) - int(block["timestamp"], 16),
        "window_s": ANSWER_WINDOW_S,
    }


def height(chain: Chain) -> int:
    return int(chain.rpc("eth_blockNumber"), 16)


def nonces(chain: Chain) -> int:
    return int(chain.rpc("eth_getTransactionCount", GUARD, "latest"), 16)


async def floor(chain: Chain, database: str, number: int) -> dict[str, Any]:
    """Signed and sent, nothing else."""
    async with open_tower(chain, database, SUBMITTER_KEY) as stand:
        signer, node, target = stand.submitter.signer, stand.submitter.node, bytes(19) + b"\1"
        first = stand.sent()
        started, spent = time.perf_counter(), time.process_time()
        for start in range(0, number, SENT_AT_ONCE):
            nonces = range(first + start, first + min(start + SENT_AT_ONCE, number))
            intents = [(Intent(0, "floor", target, bytes(223)), nonce) for nonce in nonces]
            fees = Fees(10**11, 0)
            signed = [signer.sign(i, nonce, fees, 60_000, 0.0).raw for i, nonce in intents]
            refused = [error for error in await node.send(signed) if error]
            assert not refused, refused[0]
        took, cpu = time.perf_counter() - started, time.process_time() - spent
    return {"bare_per_s": number / took, "bare_cpu_ms": 1000 * cpu / number}


def run(home: Path) -> dict[str, Any]:
    with AnvilServer(home / "anvil") as anvil, PostgresServer(home / "postgres") as postgres:
        manifest = deploy_contracts(REPOSITORY, anvil.url, home / "31337.json")
        chain = Chain(anvil.url, load_deployment(manifest))
        most = max(CLOSES, DEMANDS, REORGED)
        bare = asyncio.run(floor(chain, postgres.create_database("floor"), most))
        found: dict[str, Any] = {}
        if CLOSES:
            found |= asyncio.run(answers(chain, postgres.create_database("tower")))
        if DEMANDS:
            database = postgres.create_database("guard")
            found["guard"] = asyncio.run(demands(chain, manifest, database, home))
        if REORGED:
            database = postgres.create_database("reorged")
            found["reorged"] = asyncio.run(reorged(chain, manifest, database, home))
        return found | bare


def rounded(found: dict[str, Any]) -> dict[str, Any]:
    return {
        name: rounded(v) if isinstance(v, dict) else round(v, 2) if isinstance(v, float) else v
        for name, v in found.items()
    }


def main() -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(40),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    with tempfile.TemporaryDirectory(prefix="corechain-bench-") as home:
        found = run(Path(home))
    shown = rounded(found)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(shown, indent=2) + "\n")
    print(json.dumps(shown))


if __name__ == "__main__":
    main()
