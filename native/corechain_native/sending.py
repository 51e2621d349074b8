"""The same bytes to many sockets."""

from array import array

from corechain_native._native import ffi, lib

_I32, _U32 = ffi.typeof("int32_t[]"), ffi.typeof("uint32_t[]")


def send_each(sockets: "array[int]", data: bytes) -> list[tuple[int, int]]:
    """(place, bytes that were taken) of each socket whose kernel did not take all of them at once.
    `sockets`: file descriptors of 32 bits. Raises ValueError for other ones."""
    count, length = len(sockets), len(data)
    if sockets.typecode != "i" or sockets.itemsize != 4:
        raise ValueError(f"no descriptors of 32 bits: {sockets.typecode}")
    taken = array("I", bytes(4 * count))
    into = ffi.from_buffer(_U32, taken, True)
    whole = lib.corechain_send_each(ffi.from_buffer(_I32, sockets), count, data, length, into)
    if whole == count:
        return []
    return [(place, size) for place, size in enumerate(taken) if size < length]
