"""A small picture in pure Python: lines, digits, PNG. No library of megabytes for two curves.

PNG as of RFC 2083: 8 bits a channel, RGB, no interlace.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Colour = tuple[int, int, int]
WHITE, BLACK, GREY = (255, 255, 255), (40, 40, 40), (220, 220, 220)
BLUE, RED = (31, 90, 180), (200, 60, 40)
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
GLYPH_WIDTH, GLYPH_HEIGHT, DOT = 3, 5, 2
# 3 × 5 dots a sign, row after row.
_GLYPHS = {
    "0": "111101101101111",
    "1": "010110010010111",
    "2": "111001111100111",
    "3": "111001111001111",
    "4": "101101111001001",
    "5": "111100111001111",
    "6": "111100111101111",
    "7": "111001010010010",
    "8": "111101111101111",
    "9": "111101111001111",
    ".": "000000000000010",
    "/": "001001010100100",
    "a": "000111011101111",
    "c": "000111100100111",
    "d": "001001111101111",
    "e": "111101111100111",
    "g": "111101111001111",
    "k": "100101110101101",
    "l": "010010010010011",
    "m": "000111111101101",
    "n": "000110101101101",
    "o": "000111101101111",
    "p": "000111101111100",
    "r": "000111100100100",
    "s": "011100010001110",
    "t": "010111010010011",
    "w": "000101101111111",
    "y": "101101111001111",
}


@dataclass(slots=True)
class Picture:
    """Dots from the upper left corner on."""

    width: int
    height: int
    _dots: bytearray = field(init=False)

    def __post_init__(self) -> None:
        self._dots = bytearray(WHITE * self.width * self.height)

    def dot(self, x: int, y: int, colour: Colour) -> None:
        """Outside of the picture nothing happens."""
        if 0 <= x < self.width and 0 <= y < self.height:
            at = 3 * (y * self.width + x)
            self._dots[at : at + 3] = bytes(colour)

    def line(self, start: tuple[int, int], end: tuple[int, int], colour: Colour) -> None:
        (x, y), (x_end, y_end) = start, end
        steps = max(abs(x_end - x), abs(y_end - y), 1)
        for step in range(steps + 1):
            across, down = (x_end - x) * step / steps, (y_end - y) * step / steps
            self.dot(round(x + across), round(y + down), colour)

    def curve(self, points: Sequence[tuple[int, int]], colour: Colour) -> None:
        for start, end in pairwise(points):
            self.line(start, end, colour)
            # Two dots thick, to be seen over the grid.
            self.line((start[0], start[1] + 1), (end[0], end[1] + 1), colour)

    def text(self, x: int, y: int, words: str, colour: Colour) -> None:
        """Its upper left corner at (x, y). A sign that has no glyph is left blank."""
        for place, sign in enumerate(words):
            left = x + place * (GLYPH_WIDTH + 1) * DOT
            for across, down in _inked(_GLYPHS.get(sign, "")):
                for more in range(DOT * DOT):
                    self.dot(left + across * DOT + more % DOT, y + down * DOT + more // DOT, colour)

    def png(self) -> bytes:
        row = 3 * self.width
        # Each row begins with its filter: none.
        rows = (b"\0" + self._dots[at : at + row] for at in range(0, len(self._dots), row))
        head = struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)
        body = zlib.compress(b"".join(rows), 9)
        return _SIGNATURE + b"".join(
            _chunk(kind, data) for kind, data in ((b"IHDR", head), (b"IDAT", body), (b"IEND", b""))
        )


def text_width(words: str) -> int:
    return len(words) * (GLYPH_WIDTH + 1) * DOT


def _inked(glyph: str) -> Iterator[tuple[int, int]]:
    for place, bit in enumerate(glyph):
        if bit == "1":
            yield place % GLYPH_WIDTH, place // GLYPH_WIDTH


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
