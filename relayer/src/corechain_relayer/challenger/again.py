"""When a batch is looked at again, and which verdicts do not stand."""

import time
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass, field
from math import inf

from corechain.service.nodes import is_by_few
from corechain.service.rpc import Questions
from corechain_relayer.challenger.spans import Key

LONGEST_RETRY_S = 300.0
TRIES_LEFT = 8
"""A pause is at most this part of what is left of the window: as the guard's."""


@dataclass(slots=True)
class Again:
    """Later and later: a file that is missing for a day is not asked for every few seconds, and
    what the contract refuses is not judged anew in each round."""

    retry_s: float
    _tried: dict[Key, tuple[float, float]] = field(default_factory=dict)
    """When, and the pause after it."""
    _tries: Counter[Key] = field(default_factory=Counter)

    def is_due(self, key: Key, left_s: float = inf) -> bool:
        """`left_s`: until it is of no more use. A file that comes back late in a short window is
        found in time."""
        tried_at, pause_s = self._tried.get(key, (0.0, 0.0))
        longest_s = max(self.retry_s, left_s / TRIES_LEFT)
        return tried_at + min(pause_s, longest_s) <= time.monotonic()

    def later(self, key: Key) -> None:
        pause_s = self.retry_s * 2 ** min(self._tries[key], 16)
        self._tries[key] += 1
        self._tried[key] = time.monotonic(), min(LONGEST_RETRY_S, pause_s)

    def begin(self, key: Key) -> None:
        """Soon, and then later and later."""
        self.forget({key})
        self.later(key)

    def forget(self, keys: Set[Key]) -> None:
        for key in keys:
            self._tried.pop(key, None)
            self._tries.pop(key, None)


@dataclass(slots=True)
class Doubts:
    """`refused`: batches of whose charges the contract takes none. One of the two was asked of a
    node that lagged or lied, so they are examined anew, and hide nothing behind their charge."""

    refused: set[Key] = field(default_factory=set)
    _were_few: bool = False

    def judge(self, key: Key, *, is_taken: bool) -> bool:
        """By what the contract says to the charges of a batch; True when it is new that it takes
        none of them."""
        is_news = not is_taken and key not in self.refused
        (self.refused.discard if is_taken else self.refused.add)(key)
        return is_news

    def are_over(self, rpc: Questions) -> bool:
        """True once when enough nodes say the same again: what was found out by fewer than must
        agree is to be found out anew."""
        were_few, self._were_few = self._were_few, is_by_few(rpc)
        return were_few and not self._were_few
