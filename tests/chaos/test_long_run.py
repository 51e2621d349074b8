"""A run of the simulator over several sessions.

given seeds that were played
  they are not played again by the same code; other code begins anew, and what was is set aside
given a signal while a part is played
  the parts before it count, and the run ends
given that each seed is one story
  the roles take turns by the number of the seed, wherever a run begins; no story is another one
"""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos import long
from chaos.long import Cast, Kept, Total, until_stopped
from chaos.run import ALL, ROLES, simulate, simulate_all


def test_seeds_count_for_the_code_that_has_played_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long, "code", lambda: "this")
    kept = Kept(tmp_path / "state.json", 7, Cast(("submitter",)))
    assert kept.load() == Total.of()
    played = Total(3, 0.5, Counter({("submitter", "29 a reorg"): 2}), [(8, "submitter", "I3: so")])
    kept.keeper()(played)
    assert kept.load() == played
    monkeypatch.setattr(long, "code", lambda: "other")
    assert kept.load() == Total.of()
    assert [path.suffixes[-1] for path in tmp_path.iterdir()] == [".json"]
    assert not kept.path.exists()


def test_a_seed_of_one_story_counts_for_no_run_where_it_is_a_story_of_each_role(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long, "code", lambda: "this")
    kept = Kept(tmp_path / "state.json", 0, ALL)
    kept.keeper()(Total.of(6))
    assert Kept(kept.path, 0, Cast(ROLES, in_turn=True)).load() == Total.of()


def test_roles_take_turns_by_the_number_of_the_seed() -> None:
    """So that a run that goes on, and a replay, have the story that the seed had before."""
    turns = Cast(ROLES, in_turn=True)
    seeds = range(8, 8 + len(ROLES))
    plays = [(seed, ROLES[seed % len(ROLES)]) for seed in seeds]
    assert list(turns.plays(seeds)) == plays
    assert sorted(role for _, role in plays) == sorted(ROLES)
    stories = [simulate(*play).world.reached for play in plays]
    halves = simulate_all(seeds[:4], turns), simulate_all(seeds[4:], turns)
    assert sum(half.seeds for half in halves) == len(seeds)
    assert halves[0].by_fault() + halves[1].by_fault() == sum(stories, Counter())


def test_a_signal_ends_a_run_after_what_was_played() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def parts() -> Iterator[Total]:
        yield Total.of(1)
        os.kill(os.getpid(), signal.SIGTERM)
        yield Total.of(2)

    assert [part.seeds for part in until_stopped(parts())] == [1]
    assert signal.getsignal(signal.SIGTERM) == before
