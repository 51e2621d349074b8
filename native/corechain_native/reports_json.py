"""Reports from JSON, packed."""

from array import array

from corechain_native._native import ffi, lib

REPORT_CHARACTERS_MIN = 256
"""Below the shortest report in JSON (284): so many fit into a body at most."""
_U8, _I64, _SIZE = ffi.typeof("uint8_t[]"), ffi.typeof("int64_t[]"), ffi.typeof("size_t[1]")
_DECLARED = ffi.typeof("corechain_declared *")
_into = ffi.from_buffer
Packed = tuple[bytes, "array[int]", bytes, bytes]


def vocabulary(metrics: dict[str, int]) -> bytes:
    """Names and codes in the form that `pack_json` takes."""
    entries = ((code.to_bytes(2, "big"), name.encode("ascii")) for name, code in metrics.items())
    return b"".join(code + bytes([len(name)]) + name for code, name in entries)


def pack_json(body: bytes, metrics: bytes) -> Packed | None:
    """(packed reports; a report: its declared chain or -1, its declared registry of 20 bytes, 1 or
    0 for whether there is one). None for what is not plainly good: the reference judges that."""
    room = len(body) // REPORT_CHARACTERS_MIN + 1
    # A packed report is shorter than its JSON.
    packed, used = bytearray(len(body)), ffi.new(_SIZE)
    chains, registries, has = array("q", bytes(8 * room)), bytearray(20 * room), bytearray(room)
    pointers = _into(_I64, chains, True), _into(_U8, registries, True), _into(_U8, has, True)
    declared, target = ffi.new(_DECLARED, pointers), _into(_U8, packed, True)
    count = lib.corechain_pack_json(
        body, len(body), metrics, len(metrics), target, len(packed), used, declared, room
    )
    if count < 0:
        return None
    told = chains[:count], bytes(registries[: 20 * count]), bytes(has[:count])
    return bytes(packed[: used[0]]), *told
