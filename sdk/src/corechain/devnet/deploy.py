"""Deploys the contracts by running `ape run deploy`: Ape is a tool here, never an import."""

import fcntl
import hashlib
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from corechain.deployment import Deployment
from corechain.devnet.errors import DeploymentFailed
from corechain.devnet.process import Command, run_lines
from corechain.devnet.programs import find_anvil, find_ape
from corechain.devnet.servers import rpc

DEPLOY_LIMIT_S = 600.0
TAIL_LINES = 30
NETWORK = "ethereum:local:foundry"
Progress = Callable[[str], None]


def _environment(repository: Path, rpc_url: str, manifest: Path) -> dict[str, str]:
    solc = repository / ".solcx"
    tools = [str(find_anvil().parent), str(Path(sys.executable).parent)]
    path = os.pathsep.join([*tools, os.environ.get("PATH", os.defpath)])
    changes = {"APE_FOUNDRY_HOST": rpc_url, "DEPLOY_MANIFEST": str(manifest), "PATH": path}
    if solc.is_dir():
        changes["SOLCX_BINARY_PATH"] = str(solc)
    return {**os.environ, **changes, "PYTHONUNBUFFERED": "1"}


@contextmanager
def alone(repository: Path) -> Iterator[None]:
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


def has_contracts(rpc_url: str, deployment: Deployment) -> bool:
    """Whether every contract of the manifest has code on this chain."""
    addresses = ("0x" + entry.address.hex() for entry in deployment.contracts.values())
    return all(rpc(rpc_url, "eth_getCode", address, "latest") != "0x" for address in addresses)


def deploy_contracts(
    repository: Path, rpc_url: str, manifest: Path, log: Progress = lambda line: None
) -> Path:
    """Deploys to a running anvil and writes the manifest; what is there already is left alone.

    `log` gets each line that the deployment says. Returns the manifest's path.
    Raises DeploymentFailed, MissingProgram.
    """
    environment = _environment(repository, rpc_url, manifest.absolute())
    command = Command(
        [find_ape(), "run", "deploy", "-v", "WARNING", "--network", NETWORK],
        environment=environment,
    )
    tail: deque[str] = deque(maxlen=TAIL_LINES)

    def take(line: str) -> None:
        tail.append(line)
        log(line)

    with alone(repository):
        forget_stale_build(repository)
        code = run_lines(command, repository, DEPLOY_LIMIT_S, take)
    if code is None:
        raise DeploymentFailed(f"not done within {DEPLOY_LIMIT_S:g} s", "\n".join(tail))
    if code != 0:
        raise DeploymentFailed(f"ape ended with exit code {code}", "\n".join(tail))
    if not manifest.is_file():
        raise DeploymentFailed(f"{manifest} was not written", "\n".join(tail))
    return manifest
