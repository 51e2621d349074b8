"""How often Python looks for cyclic garbage."""

import gc

YOUNG_OBJECTS = 5_000
"""More containers than went away, before Python looks for cycles among the young ones. Its own 700
are a few requests: a gateway spent an eighth of a single report on looking."""


def collect_seldom() -> None:
    """Spares a process most searches for cyclic garbage: what is there by now is never looked at
    again, the rest when enough of it is there. Modules make hundreds of thousands of objects that
    stay, so a command calls this before it imports them: that is an eighth of its start."""
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
