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


def _zeros(typecode: str, count: int) -> "array[int]":
    zeros = array(typecode)
    zeros.frombytes(bytes(zeros.itemsize * count))
    return zeros


def _into(kind: str, column: "array[int] | bytearray") -> object:
    return ffi.from_buffer(f"{kind}[]", column, require_writable=True)


def columns(packed: bytes) -> Fields | None:
    """(starts, firsts, devices, sequences, metrics, cells, times, values) as
    `corechain.protocol.frame.Columns` has them; None for what the reference refuses."""
    found = ffi.new("uint64_t[1]")
    reports = lib.corechain_count_reports(packed, len(packed), found)
    if reports < 0:
        return None
    starts, firsts = _zeros("I", reports + 1), _zeros("I", reports + 1)
    devices, sequences = bytearray(20 * reports), _zeros("Q", reports)
    metrics, cells = _zeros("H", found[0]), _zeros("Q", found[0])
    times, values = _zeros("Q", found[0]), _zeros("i", found[0])
    lib.corechain_fill_columns(
        packed,
        len(packed),
        _into("uint32_t", starts),
        _into("uint32_t", firsts),
        _into("uint8_t", devices),
        _into("uint64_t", sequences),
        _into("uint16_t", metrics),
        _into("uint64_t", cells),
        _into("uint64_t", times),
        _into("int32_t", values),
    )
    return starts, firsts, bytes(devices), sequences, metrics, cells, times, values


def reports_size(data: bytes, offset: int, reports: int) -> int | None:
    """The bytes of so many packed reports from an offset on; None where the reference refuses."""
    if not 0 <= offset <= len(data) or reports < 0:
        raise ValueError(f"no reports begin at {offset} of {len(data)} bytes")
    packed = ffi.from_buffer("uint8_t[]", data) + offset
    size = lib.corechain_reports_size(packed, len(data) - offset, reports)
    return int(size) if size >= 0 else None


def content_digests(packed: bytes, starts: "array[int]") -> bytes:
    """8 bytes a report; `starts` as `columns` has found them in these bytes."""
    count = len(starts) - 1
    digests = bytearray(8 * max(0, count))
    offsets = ffi.from_buffer("uint32_t[]", starts)
    fits = starts.itemsize == 4 and count >= 0
    target = _into("uint8_t", digests)
    if not fits or lib.corechain_content_digests(packed, len(packed), offsets, count, target) != 0:
        raise ValueError(f"no reports begin there in {len(packed)} bytes")
    return bytes(digests)
