"""The same bytes to many sockets: one call for all, and a system call for each.

To write to a transport costs an event loop 3 µs beside the 6 of the kernel's `send`. With the
native module the lock of the interpreter is released meanwhile.
"""

import os
from array import array
from collections.abc import Callable

from corechain.protocol import native

Rest = list[tuple[int, int]]
"""(place, bytes that were taken) of sockets that did not take all."""


def by_one(sockets: "array[int]", data: bytes) -> Rest:
    """The reference."""
    rest = []
    for place, descriptor in enumerate(sockets):
        try:
            taken = os.write(descriptor, data)
        except OSError:  # what is wrong with it, its owner is told at the next attempt
            taken = 0
        if taken < len(data):
            rest.append((place, taken))
    return rest


_native: Callable[["array[int]", bytes], Rest] | None = native.function("send_each")
send_each = _native or by_one
"""(descriptors, data): the kernel has it when this returns, but for the rest, which is for the
sockets' owners to send: to who is too slow, or gone. The descriptors are an array of `i`.

Only for sockets that do not block, for which nobody holds earlier bytes, and which cannot be closed
meanwhile.
"""
