"""Deploys the contracts by running `ape run deploy`: Ape is a tool here, never an import."""

import fcntl
import hashlib
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from corechain.devnet.errors import DeploymentFailed, MissingProgram
from corechain.devnet.process import Command, run_lines
from corechain.devnet.servers import find_anvil

DEPLOY_LIMIT_S = 600.0
TAIL_LINES = 30
NETWORK = "ethereum:local:foundry"
REPOSITORY_VARIABLE = "CORECHAIN_REPOSITORY"
SCRIPT = Path("scripts") / "deploy.py"
Progress = Callable[[str], None]


def find_repository(start: Path | None = None) -> Path:
    """The checkout with the contracts: `start` or a folder above it. Raises MissingProgram.

    Without `start`: CORECHAIN_REPOSITORY, else around the current folder, else around this file
    (an editable install).
    """
    chosen = os.environ.get(REPOSITORY_VARIABLE)
    if start is None and chosen:
        return _chosen_repository(Path(chosen).absolute())
    places = (start,) if start else (Path.cwd(), Path(__file__).resolve())
    for place in places:
        for folder in (place, *place.parents):
            if is_repository(folder):
                return folder
    where = f"run this inside a checkout of the CoreChain repository, or set {REPOSITORY_VARIABLE}"
    raise MissingProgram(str(SCRIPT), where)


def _chosen_repository(folder: Path) -> Path:
    if not is_repository(folder):
        raise MissingProgram(str(folder / SCRIPT), f"correct {REPOSITORY_VARIABLE}")
    return folder


def is_repository(folder: Path) -> bool:
    """Whether a folder is the top of a checkout with the contracts."""
    return (folder / SCRIPT).is_file() and (folder / "ape-config.yaml").is_file()


def _ape() -> str:
    beside = Path(sys.executable).with_name("ape")
    found = str(beside) if beside.exists() else shutil.which("ape")
    if found is None:
        raise MissingProgram("ape", "install the development tools with `make setup`")
    return found


def _environment(repository: Path, rpc_url: str, manifest: Path) -> dict[str, str]:
    solc = repository / ".solcx"
    tools = [str(find_anvil().parent), str(Path(sys.executable).parent)]
    path = os.pathsep.join([*tools, os.environ.get("PATH", os.defpath)])
    changes = {"APE_FOUNDRY_HOST": rpc_url, "DEPLOY_MANIFEST": str(manifest), "PATH": path}
    if solc.is_dir():
        changes["SOLCX_BINARY_PATH"] = str(solc)
    return {**os.environ, **changes, "PYTHONUNBUFFERED": "1"}


@contextmanager
def _alone(repository: Path) -> Iterator[None]:
    """One deployment of a checkout at a time: they share Ape's cache of compiled contracts."""
    folder = repository / ".build"
    folder.mkdir(exist_ok=True)
    with (folder / "deploy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def forget_stale_build(repository: Path) -> None:
    """Makes Ape compile everything anew when any source is another one than at the last time.

    Ape decides file by file, and has kept old bytecode of contracts that had changed.
    """
    folder = repository / ".build"
    digest = hashlib.sha256()
    for source in sorted((repository / "contracts").rglob("*.sol")):
        digest.update(source.read_bytes())
    known = folder / "sources.sha256"
    if known.exists() and known.read_text() == digest.hexdigest():
        return
    (folder / "__local__.json").unlink(missing_ok=True)
    folder.mkdir(exist_ok=True)
    known.write_text(digest.hexdigest())


def deploy_contracts(
    repository: Path, rpc_url: str, manifest: Path, log: Progress = lambda line: None
) -> Path:
    """Deploys to a running anvil and writes the manifest; what is there already is left alone.

    `log` gets each line that the deployment says. Returns the manifest's path.
    Raises DeploymentFailed, MissingProgram.
    """
    environment = _environment(repository, rpc_url, manifest.absolute())
    command = Command(
        [_ape(), "run", "deploy", "-v", "WARNING", "--network", NETWORK], environment=environment
    )
    tail: deque[str] = deque(maxlen=TAIL_LINES)

    def take(line: str) -> None:
        tail.append(line)
        log(line)

    with _alone(repository):
        forget_stale_build(repository)
        code = run_lines(command, repository, DEPLOY_LIMIT_S, take)
    if code is None:
        raise DeploymentFailed(f"not done within {DEPLOY_LIMIT_S:g} s", "\n".join(tail))
    if code != 0:
        raise DeploymentFailed(f"ape ended with exit code {code}", "\n".join(tail))
    if not manifest.is_file():
        raise DeploymentFailed(f"{manifest} was not written", "\n".join(tail))
    return manifest
