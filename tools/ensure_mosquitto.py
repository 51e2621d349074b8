"""Puts the MQTT broker Mosquitto into .corechain/mosquitto/, where `corechain up --mqtt` looks.

There is no wheel of it. One on the PATH is taken as it is; else Debian's packages are fetched by
apt and unpacked into our folder: without root, and nothing is installed. Run by `make setup`, which
goes on without: only role mqtt's tests and `corechain up --mqtt` need it. Says what it did only
when it did something.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".corechain" / "mosquitto"
PACKAGE = "mosquitto"
PROGRAM = Path("usr") / "sbin" / "mosquitto"
ATTEMPTS, PAUSE_S = 3, 2.0
"""Package mirrors have bad moments: one pause each, doubled."""
LIMIT_S = 180
_URI = re.compile(r"^'\S+' (\S+?)_\S+\.deb ", re.MULTILINE)


class Failed(Exception):
    """A step that did not work, and what it said."""


def run(words: Sequence[str | Path], folder: Path) -> str:
    """What a program printed. Raises Failed."""
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    shown = f"{words[0]} {words[-1]}"
    try:
        done = subprocess.run(
            list(map(str, words)),
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except FileNotFoundError:
        raise Failed(f"there is no {words[0]}: install it by hand") from None
    except subprocess.TimeoutExpired:
        raise Failed(f"{shown}: not done within {LIMIT_S} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise Failed(f"{shown}: {' '.join(last) or f'exit code {done.returncode}'}")
    return done.stdout


def options(state: Path) -> list[str]:
    """Lists and caches in our folder: those of the system need root to be brought up to date."""
    for part in ("lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True, exist_ok=True)
    settings = {
        "Dir::State::lists": state / "lists",
        "Dir::State::status": "/var/lib/dpkg/status",
        "Dir::Cache": state / "cache",
        # As root, apt fetches as a user who may not write into our folder.
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "true",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def packages(
    apt: Sequence[str], folder: Path, package: str, parts: Sequence[str] = ()
) -> list[str]:
    """The package, its parts, and what they need that the system does not have. Raises Failed."""
    said = run([*apt, "install", "--print-uris", "-qq", "--no-install-recommends", package], folder)
    found = _URI.findall(said)
    # What is installed, but not on the PATH, is fetched all the same; and what lies beside it.
    return [*found, *(name for name in (package, *parts) if name not in found)]


def fetch(folder: Path, package: str, parts: Sequence[str] = ()) -> None:
    """Raises Failed."""
    state, debs, unpacked = folder / "apt", folder / "debs", folder / "unpacked"
    for place in (debs, unpacked):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
    mine = ["apt-get", *options(state)]
    try:
        names = packages(["apt-get", "-o", "Debug::NoLocking=true"], debs, package, parts)
        run(["apt-get", "download", *names], debs)
    except Failed:
        # The system has no lists, or old ones: lists of our own.
        run([*mine, "update"], debs)
        run([*mine, "download", *packages(mine, debs, package, parts)], debs)
    for deb in sorted(debs.glob("*.deb")):
        run(["dpkg-deb", "-x", deb, unpacked], debs)
    # Whole or not at all: of one that was interrupted, half a program would be taken as there.
    for part in sorted(unpacked.iterdir()):
        shutil.rmtree(folder / part.name, ignore_errors=True)
        part.rename(folder / part.name)
    shutil.rmtree(unpacked)
    shutil.rmtree(debs)
    shutil.rmtree(state, ignore_errors=True)


def ensure(
    folder: Path, package: str = PACKAGE, program: Path = PROGRAM, parts: Sequence[str] = ()
) -> str:
    """Returns when the program is there, with an empty text, or what the last attempt lacked."""
    said = ""
    for attempt in range(ATTEMPTS):
        if (folder / program).is_file():
            return ""
        time.sleep(PAUSE_S * (2**attempt - 1))
        try:
            fetch(folder, package, parts)
        except Failed as error:
            said = str(error)
            if said.startswith("there is no"):
                return said
    return "" if (folder / program).is_file() else said or "the package has no program"


def ensure_in(
    folder: Path, package: str, program: Path, name: str, parts: Sequence[str] = ()
) -> int:
    """The exit code of a command that has a package of Debian's in a folder of ours. `parts` are
    packages without which the program does not run, whether or not the system has them."""
    if (folder / program).is_file():
        return 0
    print(f"· {name}")
    folder.mkdir(parents=True, exist_ok=True)
    said = ensure(folder, package, program, parts)
    if said:
        print(f"! {name}Missing: {said}; to have it: apt install {package}", file=sys.stderr)
        return 1
    return 0


def main() -> int:
    places = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    if shutil.which(PACKAGE, path=places) or (FOLDER / PROGRAM).is_file():
        return 0
    print("· Mosquitto")
    FOLDER.mkdir(parents=True, exist_ok=True)
    said = ensure(FOLDER)
    if said:
        print(
            f"! MosquittoMissing: {said}. MQTT is tested on the broker from npm alone, so NOT in "
            "version 5; to have it all: apt install mosquitto",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
