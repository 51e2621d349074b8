"""`make guard-honest`: searches honest batches for frauds; any accusation is a failure.

Lanes as odd as they may lawfully be (tests/support/honest.py), a new one for each seed, so that a
failing seed is all that is needed to see it again: SEED=… BATCHES=1.
"""

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from functools import cache
from itertools import count
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.honest import accused, network  # noqa: E402

from corechain.protocol import p256  # noqa: E402

RESULT = ROOT / "bench" / "results" / "guard_honest.json"
PART = 1_000


@dataclass
class Tally:
    """What was searched so far; written whenever a part is done, so that a run that is ended early
    says how far it came."""

    first_seed: int
    batches: int = 0
    lanes: int = 0
    accusations: int = 0

    def search(self, seed: int) -> None:
        suspects = network(Random(seed))
        found = list(accused(suspects))
        if found:
            print(f"seed {seed}: {found[0]}", flush=True)
        self.batches += len(suspects)
        self.lanes += 1
        self.accusations += len(found)

    def write(self) -> None:
        spent = round(1000 * time.process_time() / max(1, self.batches), 3)
        done = asdict(self) | {"cpu_ms_per_batch": spent}
        RESULT.write_text(json.dumps(done, indent=2) + "\n")
        print(json.dumps(done), flush=True)


def main() -> None:
    wanted, first = int(os.environ["BENCH_BATCHES"]), int(os.environ["BENCH_SEED"])
    # The same few hundred reports are in all lanes: to judge them anew is a fifth of a run.
    p256.verify = cache(p256.verify)
    tally = Tally(first)
    for seed in count(first):
        tally.search(seed)
        if tally.lanes % PART == 0 or tally.batches >= wanted:
            tally.write()
        if tally.batches >= wanted:
            sys.exit(tally.accusations > 0)


if __name__ == "__main__":
    main()
