"""Puts the pinned Solidity compiler into .solcx/, where ape, forge and slither look for it.

Already there, else the native compiler by py-solc-x, else a shim around the compiler from npm.
Run by `make setup`; prints what it did.
"""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

VERSION = "0.8.37"
ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".solcx"
TARGET = FOLDER / f"solc-v{VERSION}"
PROBE_TIMEOUT_S = 3

WRAPPER = """#!/bin/sh
root="$(dirname "$0")/.."
node="$root/.corechain/node/bin/node"
[ -x "$node" ] || node=node
exec "$node" "$root/tools/solc-shim.js" "$@"
"""
"""Node of tools/ensure_node.py where the machine's would not do; no PATH has to name it."""


def works(executable: Path) -> bool:
    try:
        answer = subprocess.run(
            [executable, "--version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and f"Version: {VERSION}" in answer.stdout


def native_reachable() -> bool:
    """A closed network is told in seconds, not after the installer's own patience."""
    from solcx.install import BINARY_DOWNLOAD_BASE

    url = BINARY_DOWNLOAD_BASE.format("linux-amd64", "list.json")
    try:
        with urllib.request.urlopen(url, timeout=PROBE_TIMEOUT_S):
            return True
    except (urllib.error.URLError, OSError, ValueError):
        return False


def install_native() -> bool:
    import solcx
    from solcx.exceptions import SolcInstallationError

    try:
        solcx.install_solc(VERSION, solcx_binary_path=FOLDER)
    except (SolcInstallationError, OSError) as error:
        print(f"solc {VERSION}: native compiler not installed ({error})")
        return False
    return works(TARGET)


def install_shim() -> bool:
    if not (ROOT / "node_modules" / "solc").is_dir():
        print("solc: the npm compiler is missing; run `npm ci` first")
        return False
    TARGET.unlink(missing_ok=True)
    TARGET.write_text(WRAPPER)
    TARGET.chmod(0o755)
    return works(TARGET)


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    os.environ["SOLCX_BINARY_PATH"] = str(FOLDER)
    if works(TARGET):
        print(f"solc {VERSION}: already there")
        return 0
    if native_reachable() and install_native():
        print(f"solc {VERSION}: native")
        return 0
    if install_shim():
        print(f"solc {VERSION}: from npm, through tools/solc-shim.js")
        return 0
    print(f"solc {VERSION} could not be installed: neither native nor from npm", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
