"""`make guard-honest`: searches honest batches for frauds; any accusation is a failure.

Lanes as odd as they may lawfully be (tests/support/honest.py), a new one for each seed, so that a
failing seed is all that is needed to see it again: SEED=… BATCHES=1.
"""

import json
import os
import sys
import time
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.honest import accused, network  # noqa: E402

RESULT = ROOT / "bench" / "results" / "guard_honest.json"
WINDOWS = 20


def main() -> None:
    wanted, first = int(os.environ["BENCH_BATCHES"]), int(os.environ["BENCH_SEED"])
    started, batches, accusations, seed = time.process_time(), 0, 0, first
    shown = 0
    while batches < wanted:
        suspects = network(Random(seed))
        found = list(accused(suspects))
        if found:
            print(f"seed {seed}: {found[0]}", flush=True)
        batches, accusations, seed = batches + len(suspects), accusations + len(found), seed + 1
        if batches * WINDOWS // wanted > shown:
            shown = batches * WINDOWS // wanted
            print(f"{batches} batches, {accusations} accusations", flush=True)
    seconds = time.process_time() - started
    done = {
        "batches": batches,
        "first_seed": first,
        "lanes": seed - first,
        "accusations": accusations,
        "cpu_ms_per_batch": round(1000 * seconds / batches, 3),
    }
    RESULT.write_text(json.dumps(done, indent=2) + "\n")
    print(json.dumps(done))
    sys.exit(accusations > 0)


if __name__ == "__main__":
    main()
