"""Builds the images of relayer and indexer from dist/*.whl, for `make images`.

Wheels of everything in constraints.txt that they need are downloaded first, for the Python of the
base image; the build itself has no network. BASE names the base image. Needs buildah.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "deploy" / "images"
DIST = ROOT / "dist"
CONTEXT = DIST / "image"
TARGETS = ("relayer", "indexer")
DEFAULT_BASE = "python:3.11-slim-bookworm"
PYTHON = "3.11"
"""Of the base image: another one needs wheels of its own."""
WANTED = ("corechain-relayer[kafka,traces]", "corechain-indexer[traces]", "corechain-native")
LIMIT_S = 3_600


class ImagesNotBuilt(Exception):
    """The sentence says what to do."""


def run(words: Sequence[str | Path], folder: Path = ROOT) -> str:
    """What a program printed. Raises ImagesNotBuilt with its last words."""
    try:
        done = subprocess.run(
            list(map(str, words)),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except FileNotFoundError:
        raise ImagesNotBuilt(f"there is no {words[0]} (Debian: apt install {words[0]})") from None
    except subprocess.TimeoutExpired:
        raise ImagesNotBuilt(f"{words[0]}: not done within {LIMIT_S} s") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-20:]
        raise ImagesNotBuilt("\n".join([f"{words[0]} {words[1]} failed:", *said]))
    return done.stdout


def conditional(constraints: str) -> list[str]:
    """Pins for other patch versions of Python than the one that downloads: the base image's may
    be older, and its pip finds nothing that is not here."""
    lines = constraints.splitlines()
    return [
        line.split(";")[0].strip() for line in lines if "python_full_version < '" + PYTHON in line
    ]


def gather(python: str, context: Path) -> int:
    """Fills the context; how many wheels. Raises ImagesNotBuilt."""
    wheels = context / "wheels"
    shutil.rmtree(context, ignore_errors=True)
    wheels.mkdir(parents=True)
    ours = sorted(DIST.glob("corechain*.whl"))
    if not ours:
        raise ImagesNotBuilt("dist/ has no wheels: run make wheels")
    for path in ours:
        shutil.copy(path, wheels)
    pins = conditional((ROOT / "constraints.txt").read_text())
    run(
        [
            *(python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--dest", wheels, "--find-links", wheels, "--only-binary", ":all:"),
            *("--python-version", PYTHON, "--constraint", ROOT / "constraints.txt", *WANTED, *pins),
        ]
    )
    for name in ("sbom.py", "healthcheck.py"):
        shutil.copy(IMAGES / name, context)
    return len(list(wheels.iterdir()))


def build(target: str, base: str, context: Path, tag: str) -> None:
    """Raises ImagesNotBuilt."""
    # The format of OCI knows no HEALTHCHECK. A fixed time makes the same layers of the same files.
    # History names stages by a random number. What is left: this format names the container that
    # built it (`container`, `Hostname`). chroot needs neither a daemon nor a runtime.
    same = ["--timestamp", "0", "--omit-history", "--layers=false"]
    options = ["--format", "docker", "--isolation", "chroot", *same]
    pull = ["--pull-never"] if base.startswith("localhost/") else []
    words = ["--target", target, "--build-arg", f"BASE={base}", "--tag", tag]
    run(["buildah", "build", *options, *pull, *words, "-f", IMAGES / "Containerfile", context])


def main() -> int:
    base, version = os.environ.get("BASE") or DEFAULT_BASE, os.environ.get("TAG") or "latest"
    try:
        print(f"· {gather(os.environ.get('PYTHON') or 'python3', CONTEXT)} wheels", flush=True)
        for target in TARGETS:
            tag = f"localhost/corechain/{target}:{version}"
            build(target, base, CONTEXT, tag)
            print(f"· {tag}", flush=True)
    except ImagesNotBuilt as error:
        print(f"! ImagesNotBuilt: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
