"""Packed reports as columns."""

from array import array

from corechain_native._native import ffi, lib

Fields = tuple[
    "array[int]",
    "array[int]",
    bytes,
    "array[int]",
    "array[int]",
    "array[int]",
    "array[int]",
    "array[int]",
]


# Types looked up once: by name, each call would parse or look up the name anew.
_U8, _U16, _U32, _U64, _I32 = (
    ffi.typeof(f"{kind}[]") for kind in ("uint8_t", "uint16_t", "uint32_t", "uint64_t", "int32_t")
)
_ONE_U64 = ffi.typeof("uint64_t[1]")
_into = ffi.from_buffer
"""(type, buffer, whether it must be writable): a pointer into it."""


def columns(packed: bytes) -> Fields | None:
    """(starts, firsts, devices, sequences, metrics, cells, times, values) as
    `corechain.protocol.frame.Columns` has them; None for what the reference refuses."""
    found = ffi.new(_ONE_U64)
    reports = lib.corechain_count_reports(packed, len(packed), found)
    if reports < 0:
        return None
    many = found[0]
    starts, firsts = array("I", bytes(4 * reports + 4)), array("I", bytes(4 * reports + 4))
    devices, sequences = bytearray(20 * reports), array("Q", bytes(8 * reports))
    metrics, cells = array("H", bytes(2 * many)), array("Q", bytes(8 * many))
    times, values = array("Q", bytes(8 * many)), array("i", bytes(4 * many))
    lib.corechain_fill_columns(
        packed,
        len(packed),
        _into(_U32, starts, True),
        _into(_U32, firsts, True),
        _into(_U8, devices, True),
        _into(_U64, sequences, True),
        _into(_U16, metrics, True),
        _into(_U64, cells, True),
        _into(_U64, times, True),
        _into(_I32, values, True),
    )
    return starts, firsts, bytes(devices), sequences, metrics, cells, times, values


def reports_size(data: bytes, offset: int, reports: int) -> int | None:
    """The bytes of so many packed reports from an offset on; None where the reference refuses."""
    if not 0 <= offset <= len(data) or reports < 0:
        raise ValueError(f"no reports begin at {offset} of {len(data)} bytes")
    packed = _into(_U8, data) + offset
    size = lib.corechain_reports_size(packed, len(data) - offset, reports)
    return int(size) if size >= 0 else None


def content_digests(packed: bytes, starts: "array[int]") -> bytes:
    """8 bytes a report; `starts` as `columns` has found them in these bytes."""
    count = len(starts) - 1
    digests = bytearray(8 * max(0, count))
    offsets = _into(_U32, starts)
    fits = starts.itemsize == 4 and count >= 0
    target = _into(_U8, digests, True)
    if not fits or lib.corechain_content_digests(packed, len(packed), offsets, count, target) != 0:
        raise ValueError(f"no reports begin there in {len(packed)} bytes")
    return bytes(digests)
