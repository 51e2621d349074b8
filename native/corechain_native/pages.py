"""Pages of readings as JSON, from the arrays that Postgres sends."""

from array import array
from collections.abc import Mapping, Sequence

from corechain_native._native import ffi, lib

_ONE_PAGE, _ONE_FINALITY = ffi.typeof("corechain_page[1]"), ffi.typeof("corechain_finality[1]")
_U8, _I64 = ffi.typeof("uint8_t[]"), ffi.typeof("int64_t[]")
READING_MAX = 320
"""Above what a reading takes beside its device and end (`pages.c`)."""
WORD_BYTES = 16
_into = ffi.from_buffer


def page_json(
    arrays: Sequence[bytes],
    count: int,
    finality: Mapping[int, str],
    device: bytes,
    end: bytes,
) -> bytes:
    """The first `count` readings of five arrays (array_send: metric << 40 | second, batch,
    position, value << 8 | flag, cell), with commas between. `finality`: a word of up to 15 ASCII
    letters for each batch; `device` and `end`: what each reading says between its cell and its
    time, and behind its finality. Raises ValueError for what are no such arrays."""
    places = {word: place for place, word in enumerate(dict.fromkeys(finality.values()))}
    words = b"".join(word.encode("ascii").ljust(WORD_BYTES, b"\0") for word in places)
    if len(words) != WORD_BYTES * len(places) or len(places) > 255 or len(arrays) != 5:
        raise ValueError(f"{list(places)} are no words of finality")
    known = sorted(finality)
    batches, word_of = array("q", known), bytes([places[finality[batch]] for batch in known])
    # They must outlive the call, and the structs do not hold what they point to.
    held = [_into(_U8, one) for one in arrays]
    held += [_into(_U8, word_of), _into(_I64, batches), _into("char[]", words)]
    page = ffi.new(_ONE_PAGE, [(*held[:5], *map(len, arrays))])
    sure = ffi.new(_ONE_FINALITY, [(held[6], held[5], len(known), held[7])])
    room = count * (READING_MAX + len(device) + len(end))
    out = bytearray(room)
    size = lib.corechain_page_json(
        page, count, sure, device, len(device), end, len(end), _into(_U8, out, True), room
    )
    if size < 0:
        raise ValueError(f"no page of {count} readings")
    return bytes(memoryview(out)[:size])
