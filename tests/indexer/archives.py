"""Damage to files of archived leaves."""

from collections.abc import Callable
from pathlib import Path

NAME, BLOCKS = b"\xab" * 26, [b"first" * 9, b"second", b"", b"last" * 400]
Change = Callable[[Path], object]


def flip(at: int) -> Change:
    def change(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        path.write_bytes(data)

    return change
