"""Puts the jars of Apache Kafka into .corechain/kafka/lib/, where `corechain up --bus kafka` looks.

Coordinates and SHA-256 checksums are in sdk/src/corechain/devnet/kafka.lock; a jar that is there
with the right checksum stays. Run by `make setup`, which goes on without: nothing but the bus on
Kafka and its tests needs them. Says what it did only when it did something.
"""

import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "sdk" / "src" / "corechain" / "devnet" / "kafka.lock"
LIB = ROOT / ".corechain" / "kafka" / "lib"
SCRIPT = ROOT / "tools" / "fetch-jars.js"
ATTEMPTS, PAUSE_S = 6, 2.0
"""Package mirrors have bad moments: pauses of 2, 6, 14, 30 and 62 s cover two minutes."""
FETCH_LIMIT_S = 300


def locked(text: str) -> dict[str, str]:
    """Coordinate → SHA-256."""
    return dict(line.split() for line in text.splitlines() if line)


def jar_of(folder: Path, coordinate: str) -> Path:
    _, artifact, version = coordinate.split(":")
    return folder / f"{artifact}-{version}.jar"


def wrong(folder: Path, wanted: Mapping[str, str]) -> list[str]:
    """Coordinates whose jar is not there, or is another one."""
    return [one for one, checksum in wanted.items() if _sha256(jar_of(folder, one)) != checksum]


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def node() -> str | None:
    own = ROOT / ".corechain" / "node" / "bin" / "node"
    return str(own) if own.exists() else shutil.which("node")


def fetch(folder: Path, missing: list[str]) -> str:
    """Fetches jars. What went wrong; empty if nothing did."""
    program = node()
    if program is None:
        return "there is no node"
    for coordinate in missing:
        # A half one of an earlier run must not be taken for the whole.
        jar_of(folder, coordinate).unlink(missing_ok=True)
    try:
        done = subprocess.run(
            [program, SCRIPT, folder],
            input="\n".join(missing),
            capture_output=True,
            text=True,
            timeout=FETCH_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"not fetched within {FETCH_LIMIT_S} s"
    return "" if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"


def ensure(folder: Path, wanted: Mapping[str, str]) -> str:
    """Returns when all jars are there, with an empty text, or what the last attempt lacked."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = wrong(folder, wanted)
    said = ""
    for attempt in range(ATTEMPTS):
        if not missing:
            return ""
        time.sleep(PAUSE_S * (2**attempt - 1))
        said = fetch(folder, missing)
        missing = wrong(folder, wanted)
    if not missing:
        return ""
    return said or f"the checksum of {', '.join(missing)} is not the one of kafka.lock"


def main() -> int:
    wanted = locked(LOCK.read_text())
    if not wrong(LIB, wanted):
        return 0
    print(f"· Apache Kafka: {len(wanted)} jars")
    said = ensure(LIB, wanted)
    if said:
        print(f"! Apache Kafka is not there, so its tests will fail: {said}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
