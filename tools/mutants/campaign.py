"""Judges mutants: a small forge project with one library and its tests, compiled anew for each."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from functools import cache
from pathlib import Path
from queue import Queue

from mutants.mutant import LIBRARIES, ROOT, Mutant, sources

FORGE = ROOT / "node_modules" / ".tools" / "forge"
SCRATCH = ROOT / ".corechain" / "mutants"
SOLC = next((ROOT / ".solcx").glob("solc-v*"), ROOT / ".solcx")
# The stack is too deep for the faster pipeline, which all the others take.
THROUGH_IR = {"PackedVouchers", "StatisticsTree"}
IR = {"FOUNDRY_VIA_IR": "true", "FOUNDRY_OPTIMIZER": "true", "FOUNDRY_OPTIMIZER_RUNS": "1"}
# Endless loops end by the gas limit; who takes longer than this has met another trouble.
TIMEOUT_S = 600


class Verdict(StrEnum):
    CAUGHT = "caught"
    SURVIVED = "survived"
    INVALID = "does not compile"


class BrokenTests(Exception):
    """The tests fail on the library as it is."""


def settings(library: str, folder: Path | None = None) -> dict[str, str]:
    """Of forge; with a folder, the folder's own warm compiler."""
    found = {"FOUNDRY_PROFILE": "mutants", "FOUNDRY_SOLC": str(SOLC)}
    if library in THROUGH_IR:
        found |= IR
    if folder is not None:
        found["FOUNDRY_SOLC"] = str(Path(__file__).with_name("solc"))
        found |= {"MUTANTS_SOLC": _version(), "MUTANTS_SOCKET": str(folder / "solc.socket")}
    return found


@cache
def _version() -> str:
    return subprocess.run([SOLC, "--version"], capture_output=True, text=True, check=True).stdout


@contextmanager
def compiler(folder: Path) -> Iterator[None]:
    """Loading the compiler takes longer than most compilations."""
    script = Path(__file__).with_name("solc-server.js")
    command = ["node", str(script), str(ROOT), str(folder / "solc.socket")]
    # It ends with its input, so also when this process is killed.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        try:
            yield
        finally:
            server.kill()


def project(library: str, number: int) -> Path:
    """A folder with the library, its tests, what they import, and foundry.toml."""
    folder = SCRATCH / f"{library}-{number}"
    shutil.rmtree(folder, ignore_errors=True)
    for path in [*sources(library), Path("foundry.toml")]:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, folder / path)
    return folder


def judge(library: str, folder: Path, source: str) -> tuple[Verdict, str]:
    (folder / LIBRARIES / f"{library}.sol").write_text(source)
    run = subprocess.run(
        [FORGE, "test", "--fail-fast"],
        cwd=folder,
        env=os.environ | settings(library, folder),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    said = run.stdout + run.stderr
    if run.returncode == 0:
        return Verdict.SURVIVED, said
    if "Compiler run failed" in said:
        return Verdict.INVALID, said
    return Verdict.CAUGHT, said


def judge_all(
    library: str, mutants: list[Mutant], folders: list[Path]
) -> Iterator[tuple[Mutant, Verdict]]:
    """In order; as many at a time as there are folders."""
    free: Queue[Path] = Queue()

    def one(mutant: Mutant) -> tuple[Mutant, Verdict]:
        folder = free.get()
        try:
            return mutant, judge(library, folder, mutant.source)[0]
        finally:
            free.put(folder)

    with ExitStack() as stack:
        for folder in folders:
            stack.enter_context(compiler(folder))
            free.put(folder)
        _require_passing(library, folders[0])
        yield from stack.enter_context(ThreadPoolExecutor(len(folders))).map(one, mutants)


def _require_passing(library: str, folder: Path) -> None:
    original = (ROOT / LIBRARIES / f"{library}.sol").read_text()
    verdict, said = judge(library, folder, original)
    if verdict is not Verdict.SURVIVED:
        raise BrokenTests(said)
