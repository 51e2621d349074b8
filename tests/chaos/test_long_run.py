"""A run of the simulator over several sessions.

given seeds that were played
  they are not played again by the same code; other code begins anew, and what was is set aside
given a signal while a part is played
  the parts before it count, and the run ends
"""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos import long
from chaos.long import Kept, Total, until_stopped


def test_seeds_count_for_the_code_that_has_played_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(tmp_path / "state.json", 7, ("submitter",))
    assert kept.load() == Total.of()
    played = Total(3, 0.5, Counter({("submitter", "29 a reorg"): 2}), [(8, "submitter", "I3: so")])
    kept.keeper()(played)
    assert kept.load() == played
    monkeypatch.setattr(long, "code", lambda: "other")
    assert kept.load() == Total.of()
    assert [path.suffixes[-1] for path in tmp_path.iterdir()] == [".json"]
    assert not kept.path.exists()


def test_a_signal_ends_a_run_after_what_was_played() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def parts() -> Iterator[Total]:
        yield Total.of(1)
        os.kill(os.getpid(), signal.SIGTERM)
        yield Total.of(2)

    assert [part.seeds for part in until_stopped(parts())] == [1]
    assert signal.getsignal(signal.SIGTERM) == before
