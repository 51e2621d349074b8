"""Memory that a process has freed goes back to the system.

glibc keeps what lies below the highest block that is still used. A burst (a backfill, large files)
that ends beside something long-lived, such as a module imported meanwhile, stays with the process.
"""

import asyncio
import ctypes
import sys
from collections.abc import Callable
from typing import Any

# One to three milliseconds of CPU each (measured with the indexer's modules, 120 MiB resident).
GIVE_BACK_S = 30.0


def trim_of(library: Any) -> Callable[[int], int] | None:
    """malloc_trim(3) of the C library; None where it has none, as with musl and on macOS."""
    return getattr(library, "malloc_trim", None)


# Windows has no library of that name.
_TRIM = None if sys.platform == "win32" else trim_of(ctypes.CDLL(None))


def give_back() -> None:
    """Returns whole free pages of every malloc arena to the system; does nothing without glibc."""
    if _TRIM is not None:
        _TRIM(0)  # keeps nothing in reserve at the end of the heap


async def give_back_forever(every_s: float) -> None:
    """`give_back` after each pause, in a thread: the event loop goes on meanwhile."""
    # Not a fixed M_MMAP_THRESHOLD, which frees large blocks at once: its page faults took the
    # mirror 2 µs more for each event, a quarter.
    while True:
        await asyncio.sleep(every_s)
        await asyncio.to_thread(give_back)
