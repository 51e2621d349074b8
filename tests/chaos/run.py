"""Runs seeds of the simulator: `python -m chaos.run --seeds 10000`, `--replay 4711`.

Each seed is a story of each role; with `--in-turn` it is the story of one, the roles in turn.

A seed whose story breaks an invariant is printed with the line that replays it, and belongs into
seeds.txt then: what is there is played in every `make test`.
"""

import argparse
import gc
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from chaos.batches import play_batches
from chaos.catalogue import FAULTS
from chaos.challenger import ChallengerStory
from chaos.disputes import CALLS
from chaos.guard import GuardStory
from chaos.lane import play
from chaos.long import Cast, Kept, Total, commit, unstopped, until_stopped
from chaos.quick import quicken
from chaos.rests import batch_of
from chaos.rewards import RewardStory
from chaos.roots import CALLS as OF_ROOTS
from chaos.tower import TowerStory
from chaos.world import Violation, World, virtual
from corechain_relayer import behind
from corechain_relayer.aggregator import sealing
from corechain_relayer.aggregator import service as aggregator
from corechain_relayer.challenger import again, root_logs, wanting
from corechain_relayer.challenger import alerts as challenger_alerts
from corechain_relayer.challenger import roots as reward_roots
from corechain_relayer.challenger import service as challenger_service
from corechain_relayer.guard import alerts
from corechain_relayer.guard import service as guard_service
from corechain_relayer.submitter import budget, footing, held, look, outgoing, service
from corechain_relayer.watchtower import fleet
from corechain_relayer.watchtower import service as tower_service

MODULES = (
    again,
    aggregator,
    alerts,
    behind,
    budget,
    challenger_alerts,
    challenger_service,
    fleet,
    footing,
    guard_service,
    held,
    look,
    outgoing,
    reward_roots,
    root_logs,
    sealing,
    service,
    tower_service,
    wanting,
)
STORIES: dict[str, Callable[[World], None]] = {
    "submitter": play,
    "watchtower": partial(play, kind=TowerStory),
    "guard": partial(play, kind=GuardStory),
    "challenger": partial(play, kind=ChallengerStory),
    "aggregator": play_batches,
    "rewards": partial(play, kind=RewardStory),
}
"""By the role that a story is about."""
TWINS = {**CALLS, **OF_ROOTS, "committed_id": batch_of}
ROLES, SUBMITTER = tuple(STORIES), "submitter"
ALL = Cast(ROLES)
SEEDS = Path(__file__).with_name("seeds.txt")
LEAST = 100
"""Times that each fault of the catalogue has to bite in a whole run."""
CHUNK = 100
REPLAY = "PYTHONPATH=tests .venv/bin/python -m chaos.run --replay {} --role {}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one story. `violation`: None when all held."""

    world: World
    violation: Violation | None


def rare(total: Total) -> dict[str, int]:
    """Faults that have not bitten often enough."""
    wanted = [(role, name) for role, names in FAULTS.items() for name in names]
    return {": ".join(n): total.reached[n] for n in wanted if total.reached[n] < LEAST}


def simulate(seed: int, role: str = SUBMITTER, traced: bool = False) -> Outcome:
    world = World(seed, traced)
    with virtual(world, MODULES, TWINS):
        try:
            STORIES[role](world)
        except Violation as violation:
            return Outcome(world, violation)
    return Outcome(world, None)


def simulate_all(seeds: range, cast: Cast = ALL) -> Total:
    total, begun = Total.of(len(seeds)), time.process_time()
    for seed, role in cast.plays(seeds):
        outcome = simulate(seed, role)
        total.reached.update({(role, n): k for n, k in outcome.world.reached.items()})
        if outcome.violation is not None:
            total.violations.append((seed, role, str(outcome.violation)))
    total.cpu_s = time.process_time() - begun
    return total


def kept_seeds() -> list[tuple[int, str]]:
    """Those that have found something once, with the role whose story it was."""
    lines = SEEDS.read_text().splitlines()
    words = [line.split() for line in lines if line and not line.startswith("#")]
    return [(int(seed), role) for seed, role, *_ in words]


def chunks(first: int, count: int) -> Iterator[range]:
    for start in range(first, first + count, CHUNK):
        yield range(start, min(start + CHUNK, first + count))


def simulate_on(
    processes: int,
    first: int,
    count: int,
    cast: Cast,
    minutes: float = float("inf"),
    shown_every_s: float = 10.0,
    kept: Kept | None = None,
) -> Total:
    """With progress on stderr, and the line to replay each seed that fails. After `minutes`, or a
    signal, no more than was played until then. `kept`: goes on from there."""
    total, shown = Total.of() if kept is None else kept.load(), time.monotonic()
    keep = (lambda total: None) if kept is None else kept.keeper()
    until, left = shown + 60 * minutes, chunks(first + total.seeds, count - total.seeds)
    with multiprocessing.Pool(processes, begin) as pool:
        for part in until_stopped(pool.imap(partial(simulate_all, cast=cast), left)):
            total.add(part)
            keep(total)
            for seed, role, what in part.violations:
                print(f"seed {seed}: {what}\n  {REPLAY.format(seed, role)}", file=sys.stderr)
            if time.monotonic() - shown > shown_every_s or total.seeds == count:
                shown = time.monotonic()
                say(total, count)
            if time.monotonic() > until:
                break
    return total


def begin() -> None:
    """A worker."""
    unstopped()
    ready()


def ready() -> None:
    """A process that plays many seeds."""
    quicken()
    gc.collect()
    gc.freeze()  # what is imported stays: it is not gone through again and again
    gc.set_threshold(100_000)  # a story leaves few cycles; looking for them took a tenth of it


def say(total: Total, count: int) -> None:
    each_ms = total.cpu_s / total.seeds * 1000
    print(
        f"· {total.seeds:,} of {count:,} seeds, {len(total.violations)} violations, "
        f"{each_ms:.2f} ms CPU each",
        file=sys.stderr,
    )


def replay(seed: int, role: str) -> int:
    outcome = simulate(seed, role, traced=True)
    print("\n".join(outcome.world.lines))
    print(f"trace {outcome.world.digest()}: {outcome.violation or 'all invariants hold'}")
    return outcome.violation is not None


def write(total: Total, cast: Cast, path: Path) -> None:
    """Beside what is there already: the crash matrix writes its part of the same file."""
    found = json.loads(path.read_text()) if path.exists() else {}
    found |= {
        "seeds": total.seeds,
        "violations": len(total.violations),
        "stories": cast.stories,
        "roles": list(cast.roles),
        "faults_reached": dict(sorted(total.by_fault().items())),
        "faults_by_role": total.by_role(),
        "seeds_of": commit(),
        "cpu_ms_per_seed": round(total.cpu_s / total.seeds * 1000, 2),
    }
    path.write_text(json.dumps(found, indent=2) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.run", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after which it ends")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--replay", type=int)
    parser.add_argument("--role", choices=ROLES, help="the stories of one role alone")
    parser.add_argument("--in-turn", action="store_true", help="a seed is the story of one role")
    parser.add_argument("--state", type=Path, help="a JSON file: goes on where it ended last")
    parser.add_argument("--write", type=Path, help="a JSON file that gets the figures")
    asked = parser.parse_args()
    if asked.replay is not None:
        return replay(asked.replay, asked.role or SUBMITTER)
    cast = Cast((asked.role,) if asked.role else ROLES, asked.in_turn)
    kept = None if asked.state is None else Kept(asked.state, asked.first, cast)
    seeds = asked.first, asked.seeds
    total = simulate_on(asked.processes, *seeds, cast, asked.minutes, kept=kept)
    if not total.seeds:
        return 1
    if asked.write is not None:
        write(total, cast, asked.write)
    for (role, name), times in sorted(total.reached.items()):
        print(f"{times:>12,}  {role}: {name}")
    is_part = kept is not None and total.seeds < asked.seeds
    seldom = {} if asked.role or is_part else rare(total)
    for name, times in seldom.items():
        print(f"! {name}: {times} times, {LEAST} are wanted", file=sys.stderr)
    if is_part:
        print(f"! {total.seeds:,} of {asked.seeds:,} seeds: the same command goes on")
    return bool(total.violations or seldom or is_part)


if __name__ == "__main__":
    sys.exit(main())
