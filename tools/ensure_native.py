"""Builds and installs corechain-native where a C compiler is; says which implementation runs.

Run by `make setup`. A download or a build that fails is told and pure Python goes on; an archive
that is not the pinned one is an error. With CORECHAIN_NATIVE=0 nothing is built, with 1 every
failure is an error. The stamp is written only after success, so that the next run tries again.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NATIVE = ROOT / "native"
STAMP = ROOT / ".venv" / ".native"
HEADERS = Path(sysconfig.get_path("include"))
COMPILERS = ("cc", "gcc", "clang")
PURE = "pure Python verifies signatures"
EARLIER = "an earlier build of it verifies signatures"
VARIABLE = "CORECHAIN_NATIVE"
TOLD_LINES = 15
"""Of a build that failed: the compiler's own words are at the end."""


class NotBuilt(Exception):
    """Why; pure Python does the same, slower."""


def load_fetch() -> Any:
    """native/fetch.py, which lies in no package."""
    spec = importlib.util.spec_from_file_location("fetch", NATIVE / "fetch.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compiler() -> str:
    """The C compiler's path. Raises NotBuilt."""
    names = (os.environ["CC"],) if os.environ.get("CC") else COMPILERS
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise NotBuilt(f"no C compiler ({', '.join(names)})")
    return found


def check_headers() -> None:
    """Raises NotBuilt: a distribution's Python may come without its C headers."""
    if not (HEADERS / "Python.h").exists():
        raise NotBuilt(f"no {HEADERS / 'Python.h'} (Debian: apt install python3-dev)")


def fetch_source() -> None:
    """Raises NotBuilt; a forged archive ends the program."""
    fetch = load_fetch()
    try:
        fetch.fetch()
    except fetch.Unavailable as error:
        raise NotBuilt(f"libsecp256k1 was not downloaded: {error}") from error
    except fetch.Forged as error:
        raise SystemExit(f"corechain-native: {error}") from error


def works() -> bool:
    """Whether a build is installed that can be loaded, and hashes well."""
    probe = "import corechain_native as n; assert n.keccak256(b'')[:2] == b'\\xc5\\xd2'"
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    command = [sys.executable, "-c", probe]
    return (
        subprocess.run(command, capture_output=True, env=environment, check=False).returncode == 0
    )


def build(cc: str) -> None:
    """Raises NotBuilt with the end of what the compiler said."""
    command = [
        sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable,
        "--constraint", str(ROOT / "constraints.txt"), "--reinstall-package", "corechain-native",
        str(NATIVE),
    ]  # fmt: skip
    # Objects of a build with other flags (make native-asan) look up to date.
    shutil.rmtree(NATIVE / "build", ignore_errors=True)
    environment = {**os.environ, "CC": cc}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-TOLD_LINES:]
        raise NotBuilt("the build failed:\n  " + "\n  ".join(said))
    if not works():
        raise NotBuilt("what was built cannot be loaded")


def main() -> int:
    wanted = os.environ.get(VARIABLE, "")
    if wanted == "0":
        print(f"· corechain-native: not wanted (CORECHAIN_NATIVE=0): {PURE}")
        return 0
    try:
        cc = compiler()
        check_headers()
        fetch_source()
        build(cc)
    except NotBuilt as error:
        print(f"! corechain-native: {error}\n! {EARLIER if works() else PURE}")
        return 1 if wanted == "1" else 0
    STAMP.touch()
    print("· corechain-native: built; it verifies signatures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
