"""Puts what `corechain up --profile cluster` runs besides into .corechain/: etcd and PgBouncer from
Debian's packages (unpacked, not installed: ensure_mosquitto.py), Patroni in an environment of its
own, for it pins what must not bind what is installed beside ape. A program of the PATH is taken as
it is. Exit code 1 names what is missing; the rest is there all the same.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ensure_mosquitto import ROOT, ensure

HOME = ROOT / ".corechain"
PATRONI = HOME / "patroni"
PINS = Path(__file__).with_name("patroni.txt")
DEBIAN = {
    "etcd": ("etcd-server", Path("usr") / "bin" / "etcd"),
    "pgbouncer": ("pgbouncer", Path("usr") / "sbin" / "pgbouncer"),
}


def fetched(name: str) -> str:
    """What the last attempt lacked; empty when the program is there."""
    package, program = DEBIAN[name]
    places = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
    if (HOME / name / program).is_file() or shutil.which(name, path=places):
        return ""
    print(f"· {name}")
    (HOME / name).mkdir(parents=True, exist_ok=True)
    return ensure(HOME / name, package, program)


def patroni() -> str:
    """The same, for Patroni."""
    if (PATRONI / "bin" / "patroni").is_file():
        return ""
    print("· patroni")
    uv = [sys.executable, "-m", "uv"]
    python = str(PATRONI / "bin" / "python")
    install = ["pip", "install", "--quiet", "--python", python, "--requirement", str(PINS)]
    for words in (["venv", "--quiet", "--clear", str(PATRONI)], install):
        done = subprocess.run([*uv, *words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return (done.stderr.strip().splitlines() or ["uv failed"])[-1]
    return ""


def main() -> int:
    said = {**{name: fetched(name) for name in DEBIAN}, "patroni": patroni()}
    for name, why in said.items():
        if why:
            print(f"! {name} is missing: {why}", file=sys.stderr)
    return int(any(said.values()))


if __name__ == "__main__":
    raise SystemExit(main())
