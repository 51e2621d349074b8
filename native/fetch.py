"""Puts the source of libsecp256k1 into native/libsecp256k1/, by the ordinary Python package client.

It is in the source archive of PyPI's `electrum-ecc`; the archive is kept, checked by its SHA-256
each time, and never committed. Exit codes: 1 when it cannot be had, 3 when it is not what is
pinned here (then nothing is unpacked).
"""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE, VERSION = "electrum-ecc", "0.0.8"
SHA256 = "94869a77de28ee79b7f7e974af5c20b392b949905880a8b26504e28202644106"
FOLDER = "libsecp256k1"
HERE = Path(__file__).resolve().parent
KEPT = HERE.parent / ".corechain" / "native"
UNAVAILABLE, FORGED = 1, 3
TIMEOUT_S = 180


class Unavailable(Exception):
    """The archive could not be downloaded."""


class Forged(Exception):
    """The archive is not the one that is pinned."""


def client() -> list[str]:
    """pip where this Python has it, else pip as uv runs it. Neither needs to build the package:
    it is only asked for its name, which takes setuptools."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    return [sys.executable, "-m", "uv", "tool", "run", "--quiet", "pip"]


def download(into: Path) -> Path:
    """The archive, unchecked. Raises Unavailable with what the client said."""
    command = [
        *client(), "download", "--quiet", "--disable-pip-version-check", "--retries", "1",
        "--no-deps", "--no-binary", PACKAGE, "--dest", str(into), f"{PACKAGE}=={VERSION}",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(str(error)) from error
    found = next(into.glob("*.tar.gz"), None)
    if done.returncode != 0 or found is None:
        raise Unavailable(done.stderr.strip() or "the package client found no archive")
    return found


def checked(archive: Path) -> Path:
    """The archive, when it is what is pinned. Raises Forged."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SHA256:
        raise Forged(f"{archive.name} has SHA-256 {found}, not the pinned {SHA256}")
    return archive


def archive() -> Path:
    """The kept archive, or a new one. Raises Unavailable, Forged."""
    kept = KEPT / f"{PACKAGE}-{VERSION}.tar.gz"
    if not kept.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=KEPT) as folder:
            checked(download(Path(folder))).replace(kept)
    return checked(kept)


def unpack(source: Path, target: Path) -> None:
    """Only the library's folder, and whole or not at all."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder, tarfile.open(source) as tar:
        # Python before 3.11.4 has no filter; the checksum says what is in the archive.
        tar.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
        found = next(Path(folder).glob(f"*/{FOLDER}"))
        shutil.rmtree(target, ignore_errors=True)
        found.replace(target)


def fetch() -> Path:
    """The library's folder, freshly unpacked. Raises Unavailable, Forged."""
    target = HERE / FOLDER
    unpack(archive(), target)
    return target


def main() -> int:
    try:
        print(fetch())
    except (Unavailable, Forged) as error:
        print(error, file=sys.stderr)
        return FORGED if isinstance(error, Forged) else UNAVAILABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
