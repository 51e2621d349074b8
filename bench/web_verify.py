"""What @corechain/verify spends on a proof in Node, beside Python on the same machine in this run.

python bench/web_verify.py

A batch of 16,384 readings: one reading (14 siblings), a range of an hour of one device, a page of
1,000 neighbouring readings by one proof; a report's signature on each curve. CPU, the best of five.
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

from columns import cpu_us
from proofs import LEAVES, START, leaves_of

from corechain.protocol.eip712 import registry_domain, report_digest
from corechain.protocol.hashing import hash26
from corechain.protocol.keys import DeviceKey, P256Key, Secp256k1Key, verify
from corechain.protocol.merkle import MerkleTree, depth_of, verify_inclusion, verify_multiproof
from corechain.protocol.reading import Observation, Report
from corechain.protocol.statistics import StatisticsTree, verify_range

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.verify_package import built, run  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "web_verify.jsonl"
ROUNDS = {"inclusion": 200, "range": 50, "page": 2, "secp256k1": 16, "p256": 16}
CHAIN_ID, REGISTRY = 31337, b"\x11" * 20
POSITION, PAGE = 5_000, range(6_000, 7_000)
Case = dict[str, Any]
Cases = dict[str, Any]


def hexed(items: Any) -> Any:
    return "0x" + items.hex() if isinstance(items, bytes) else [hexed(item) for item in items]


def proofs(leaves: list[bytes]) -> Cases:
    """With Python's own check of each under `python`."""
    tree, statistics = MerkleTree.over(leaves), StatisticsTree(leaves)
    leaf = leaves[POSITION]
    one, page = tree.proof(POSITION), tree.multiproof(PAGE)
    part = statistics.range_proof(POSITION, POSITION + 2)
    low, high = leaves[POSITION][:35], leaves[POSITION + 1][:35]
    depth, shown = depth_of(len(leaves)), [leaves[at] for at in PAGE]
    bounds = {"count": len(leaves), "from": POSITION, "to": POSITION + 2}
    keys = {"low": hexed(low), "high": hexed(high)}
    nodes = [node.pack() for node in part.nodes]
    return {
        "inclusion": {"root": hexed(tree.root), "leaf": hexed(leaf), "position": POSITION}
        | {"proof": hexed(one)},
        "range": bounds
        | keys
        | {"root": hexed(statistics.root), "leaves": hexed(part.leaves), "nodes": hexed(nodes)},
        "page": {"root": hexed(tree.root), "leaves": hexed(shown), "nodes": hexed(page)}
        | {"positions": [*PAGE], "depth": depth},
        "python": {
            "inclusion": lambda: verify_inclusion(tree.root, hash26(leaf), POSITION, one),
            "range": lambda: verify_range(
                statistics.root, len(leaves), POSITION, POSITION + 2, low, high, part
            ),
            "page": lambda: verify_multiproof(
                tree.root, [hash26(leaf) for leaf in shown], PAGE, depth, page
            ),
        },
    }


def signature(key: DeviceKey) -> tuple[Case, Any]:
    domain, identity = registry_domain(CHAIN_ID, REGISTRY), key.identity
    report = Report.of(identity.device, 7, [Observation(1, 5, START, 6)])
    signed = key.sign(report_digest(domain, report))
    case = {
        "keyType": "p256" if isinstance(key, P256Key) else "secp256k1",
        "device": hexed(identity.device),
        "publicKey": hexed(identity.public_key),
        "sequence": 7,
        "observations": hexed(report.packed),
        "signature": hexed(signed),
    }
    return case, lambda: verify(identity, report_digest(domain, report), signed)


def main() -> None:
    packed, rng = leaves_of(1), random.Random(1)
    cases = proofs([packed[at : at + 40] for at in range(0, 40 * LEAVES, 40)])
    python = cases.pop("python")
    for name, kind in (("secp256k1", Secp256k1Key), ("p256", P256Key)):
        cases[name], python[name] = signature(kind(b"\0" + rng.randbytes(31)))
    cases |= {"rounds": ROUNDS, "chainId": CHAIN_ID, "deviceRegistry": hexed(REGISTRY)}
    in_node = json.loads(run(["node", "test/bench.js"], built(), input=json.dumps(cases)))
    for name, micros in in_node.items():
        rounds = ROUNDS[name]
        ours = cpu_us(lambda: [python[name]() for _ in range(rounds)], rounds)  # noqa: B023
        row = {"bench": f"web_verify.{name}", "node_cpu_us": round(micros, 1)}
        row |= {"proofs_per_s": round(1e6 / micros), "python_cpu_us": round(ours, 1)}
        line = json.dumps(row | {"node": run(["node", "--version"], built()).strip()})
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a") as kept:
            kept.write(line + "\n")
        print(line)


if __name__ == "__main__":
    main()
