"""Builds native/fuzz/fuzz_decode.c with AddressSanitizer and UBSan, and runs it.

    python tools/fuzz_decode.py COUNT [SEED]

Ends with another status than 0 at the first byte read out of bounds, the first undefined operation
and the first result that cannot be. The seed makes a run again.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

NATIVE = Path(__file__).resolve().parent.parent / "native"
SOURCES = (
    "blake2b", "cells", "columns", "copy_rows", "keccak", "keccak_rows", "logs", "pack_json",
    "roots",
)  # fmt: skip
STRICT = ["-g", "-O1", "-Wall", "-Wextra", "-Werror"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def build(target: Path, flags: list[str]) -> None:
    """Raises CalledProcessError with what the compiler said."""
    sources = [NATIVE / "fuzz" / "fuzz_decode.c", *(NATIVE / "src" / f"{n}.c" for n in SOURCES)]
    command = [os.environ.get("CC", "cc"), *flags, f"-I{NATIVE / 'src'}", *map(str, sources)]
    subprocess.run([*command, "-o", str(target)], check=True, capture_output=True, text=True)


def run(count: int, seed: int) -> str:
    """What the driver says of its run. Raises CalledProcessError when it ended badly."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "fuzz_decode"
        build(target, STRICT + SANITIZERS)
        command = [str(target), str(count), str(seed)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> int:
    count, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    try:
        print(run(count, seed), end="")
    except subprocess.CalledProcessError as error:
        print(error.stdout, error.stderr, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
