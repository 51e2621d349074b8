"""Which small change to a library does no test notice?

make mutants                                   every library; fails when a survivor is not explained
make mutants ARGS="--only FleetTree"           one library; only prints
make mutants ARGS="--only consumers"           conditions of contracts/consumer
make mutants ARGS=--write                      every library, and docs/mutants.md
"""

import argparse
import json
import sys
from hashlib import sha256
from pathlib import Path

from mutants import guards, report
from mutants.campaign import SCRATCH, Verdict, judge_all, project
from mutants.mutant import LIBRARIES, ROOT, TESTS, sources
from mutants.own import own_mutants
from mutants.report import Explained, Score, Survivor
from mutants.slithers import slither_mutants

CONSUMERS = "consumers"
EXPLAINED = Path(__file__).with_name("survivors.json")
PAGE = ROOT / "docs" / "mutants.md"


def libraries() -> list[str]:
    return sorted(path.name.removesuffix(".t.sol") for path in (ROOT / TESTS).glob("*.t.sol"))


def fingerprint(library: str) -> str:
    """Changes with the library, its tests and what makes the mutants."""
    makers = [Path(__file__).with_name(name) for name in ("mutant.py", "own.py", "slithers.py")]
    files = [*sources(library), *makers]
    return sha256(b"".join((ROOT / path).read_bytes() for path in files)).hexdigest()


def campaign(library: str, jobs: int) -> Score:
    """Remembered until something changes that it depends on."""
    memory = SCRATCH / f"{library}.json"
    current = fingerprint(library)
    if memory.exists():
        known = json.loads(memory.read_text())
        if known["fingerprint"] == current:
            return report.from_json(library, known)
    score = run(library, jobs)
    memory.write_text(json.dumps({"fingerprint": current, **report.to_json(score)}, indent=1))
    return score


def run(library: str, jobs: int) -> Score:
    folders = [project(library, number) for number in range(jobs)]
    original = (ROOT / LIBRARIES / f"{library}.sol").read_text()
    mutants = slither_mutants(library, folders[0]) + own_mutants(original)
    score = Score(library)
    for mutant, verdict in judge_all(library, mutants, folders):
        if verdict is not Verdict.INVALID:
            score.made[mutant.maker] += 1
        if verdict is Verdict.SURVIVED:
            one = Survivor(mutant.maker, mutant.rule, mutant.line, mutant.change)
            score.survivors.append(one)
            print(f"{library}.sol:{one.line} [{one.maker} {one.rule}] {one.change}", flush=True)
    return score


def unmissed_guards() -> list[str]:
    """Complaints, one a change that no test notices."""
    count, left = guards.survivors()
    print(f"{CONSUMERS}: {count} changes, {len(left)} that no test notices", flush=True)
    return [f"{one.path}:{one.line} no test notices {one.text}" for one in left]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutants")
    parser.add_argument("--only", action="append", help="a library; only prints")
    parser.add_argument("--write", action="store_true", help="write docs/mutants.md")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    scores = []
    chosen = arguments.only or [*libraries(), CONSUMERS]
    unmissed = unmissed_guards() if CONSUMERS in chosen else []
    for library in (name for name in chosen if name != CONSUMERS):
        print(f"· {library}", file=sys.stderr, flush=True)
        scores.append(campaign(library, arguments.jobs))
        print(report.line(scores[-1]), flush=True)
    explained = Explained(json.loads(EXPLAINED.read_text()))
    if arguments.write and not arguments.only:
        PAGE.write_text(report.page(scores, explained))
    complaints = unmissed + report.complaints(scores, explained)
    print("\n".join(complaints))
    return 1 if complaints else 0


if __name__ == "__main__":
    raise SystemExit(main())
