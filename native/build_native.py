"""What the extension `corechain_native._native` is made of.

A C file is added by its name in SOURCES; its functions are seen from Python when its header is in
HEADERS. Headers hold plain declarations: cffi reads them without a preprocessor, so lines that
begin with `#` are for the C compiler alone.
"""

import os
import platform
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
SOURCES = (
    "blake2b.c",
    "cells.c",
    "columns.c",
    "copy_rows.c",
    "keccak.c",
    "keccak_rows.c",
    "lanes.c",
    "logs.c",
    "pack_json.c",
    "pages.c",
    "ranges.c",
    "roots.c",
    "send_each.c",
    "sums.c",
    "verify.c",
)
HEADERS = (
    "columns.h",
    "keccak.h",
    "keccak_rows.h",
    "logs.h",
    "copy_rows.h",
    "pack_json.h",
    "pages.h",
    "ranges.h",
    "roots.h",
    "send_each.h",
    "verify.h",
)
LIBSECP256K1 = "libsecp256k1"

# 15 is the library's own default: a table of 1 MiB, which most processors keep in their cache.
MACROS = [("ECMULT_WINDOW_SIZE", "15")]
if platform.machine() in ("x86_64", "AMD64"):
    MACROS.append(("USE_ASM_X86_64", "1"))
# Hidden: another library of the process may carry libsecp256k1 too (coincurve does).
FLAGS = ["-O3", "-fvisibility=hidden", *os.environ.get("CORECHAIN_NATIVE_CFLAGS", "").split()]


def _declarations(name: str) -> str:
    lines = (HERE / "src" / name).read_text().splitlines()
    return "\n".join(line for line in lines if not line.startswith("#"))


def _sources() -> list[str]:
    # Relative: setuptools takes paths from the folder of setup.py.
    return [*(f"src/{name}" for name in SOURCES), f"{LIBSECP256K1}/src/precomputed_ecmult.c"]


def _builder() -> FFI:
    if not (HERE / LIBSECP256K1 / "src" / "ecmult_impl.h").exists():
        raise SystemExit("the source of libsecp256k1 is not here: run fetch.py first")
    builder = FFI()
    builder.cdef("\n".join(map(_declarations, HEADERS)))
    builder.set_source(
        "corechain_native._native",
        "#include <stdint.h>\n" + "\n".join(f'#include "{name}"' for name in HEADERS),
        sources=_sources(),
        include_dirs=["src", LIBSECP256K1, f"{LIBSECP256K1}/src", f"{LIBSECP256K1}/include"],
        define_macros=MACROS,
        extra_compile_args=FLAGS,
        # An object of an earlier build is reused only when none of these is newer.
        depends=[str(path.relative_to(HERE)) for path in sorted((HERE / "src").iterdir())],
        py_limited_api=True,
    )
    return builder


ffibuilder = _builder()
