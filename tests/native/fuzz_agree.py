"""The long run: do the decoders agree? The first difference ends it.

    PYTHONPATH=tests python tests/native/fuzz_agree.py --inputs 1000000 --seed 1

A third of the inputs is nearly good JSON, which the native packer, the pure Python one and the
reference have to read alike; a third is nearly good packed reports, for both decoders of columns; a
third is nearly good answers to eth_getLogs, for the native reader, the pure Python one and the
reference.
Prints one JSON line.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from native import test_columns as columns
from protocol import test_json_packing as packing
from support import sent_logs

from corechain.protocol import json_packing

A_POOL = 40
"""Mutants of one good input: making it costs more than changing it."""
NATIVE = json_packing._native_pack


def outcome_of(body: bytes, native_pack: Any) -> object:
    json_packing._native_pack = native_pack
    return packing.outcome(packing.by_packing, body)


def judge_json(random: Random, told: Counter[str]) -> bool:
    """Whether all three say the same of a body and its mutants."""
    good = packing._body(random)
    for body in (good, *(packing._mutated(random, good) for _ in range(A_POOL - 1))):
        expected = packing.outcome(packing.by_reference, body)
        told["json taken whole"] += isinstance(expected, tuple) and expected[1] == {}
        told["json"] += 1
        if any(outcome_of(body, pack) != expected for pack in (NATIVE, None)):
            print(f"they differ: {body!r}", file=sys.stderr)
            return False
    return True


def judge_packed(random: Random, told: Counter[str]) -> bool:
    counts = random.choices((1, 1, 2, 7, 20), k=random.randrange(5))
    good = b"".join(columns.report(random, count) for count in counts)
    for _ in range(A_POOL):
        packed = columns.mutated(random, good)
        told["packed"] += 1
        told["packed taken"] += columns.columns(packed) is not None
        try:
            columns.agree(packed)
        except AssertionError:
            print(f"they differ: {packed.hex()}", file=sys.stderr)
            return False
    return True


def judge_logs(random: Random, told: Counter[str]) -> bool:
    """Whether all three say the same of answers to eth_getLogs."""
    for _ in range(A_POOL):
        body = sent_logs.bent(random, sent_logs.answer(random, random.randrange(6)))
        expected = sent_logs.outcome(sent_logs.by_reference, body)
        told["logs"] += 1
        told["logs taken natively"] += sent_logs.is_native(body)
        if any(
            sent_logs.outcome(read, body) != expected
            for read in (sent_logs.by_parser, sent_logs.by_table)
        ):
            print(f"they differ: {body!r}", file=sys.stderr)
            return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    told: Counter[str] = Counter()
    judges = judge_json, judge_packed, judge_logs
    while told["json"] + told["packed"] + told["logs"] < options.inputs:
        random = Random(f"{options.seed} {told['json']}")
        if not all(judge(random, told) for judge in judges):
            return 1
    # A mix of nothing but rubbish would agree about everything.
    taken = "json taken whole", "packed taken", "logs taken natively"
    if min(told[name] for name in taken) * 100 < options.inputs:
        print(f"too few inputs were good: {told}", file=sys.stderr)
        return 1
    print(json.dumps({"seed": options.seed, "native": NATIVE is not None, **told}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
