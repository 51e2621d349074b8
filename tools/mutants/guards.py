"""Guard clauses of the contracts that consumers use or copy: is each one missed when it is gone?

`if (…) revert …;` is left out once each. Their tests deploy DataBatches and all that it needs, so a
compilation takes a minute: all mutants are in one. The clause of a mutant is off while the block's
coinbase is its number, which forge sets and no contract of ours reads.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from os import environ
from pathlib import Path

from mutants.campaign import FORGE, SCRATCH, TIMEOUT_S
from mutants.mutant import ROOT, closure

CONSUMERS = (
    Path("contracts/consumer/ProvenAnswers.sol"),
    Path("contracts/consumer/examples/HeatCover.sol"),
)
TESTS = tuple(
    Path("tests/contracts/forge") / f"{name}.t.sol"
    for name in ("ConsumerAnswers", "HeatCover", "AttacksConsumer")
)
DEPLOYED_BY_NAME = Path("contracts/BatchChallenges.sol")
VECTORS = Path("tests/vectors")
FIRST = 0xC0DE0000
"""The number of the first clause."""
_GUARD = re.compile(r"(?P<if>\bif \()(?P<condition>[^;{}]+?)(?P<end>\) (?:\{\s*)?revert \w+)")


class BrokenTests(Exception):
    """The tests fail on the contracts as they are, or see the switches."""


@dataclass(frozen=True, slots=True)
class Guard:
    """A clause, by the number that turns it off."""

    number: int
    path: Path
    line: int
    text: str


def switched(path: Path, source: str, first: int) -> tuple[str, list[Guard]]:
    """The source with a switch in each clause, and the clauses."""
    found: list[Guard] = []

    def one(match: re.Match[str]) -> str:
        number, line = first + len(found), source.count("\n", 0, match.start()) + 1
        found.append(Guard(number, path, line, " ".join(match.group().split())))
        off = f"block.coinbase != address(uint160({number:#x}))"
        return f"{match['if']}{off} && ({match['condition']}){match['end']}"

    return _GUARD.sub(one, source), found


def project() -> tuple[Path, list[Guard]]:
    """A folder with the switched contracts, and their tests."""
    folder, guards = SCRATCH / "consumers", list[Guard]()
    for path in [*closure(*TESTS, DEPLOYED_BY_NAME), Path("foundry.toml")]:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        text = (ROOT / path).read_text()
        if path in CONSUMERS:
            text, found = switched(path, text, FIRST + len(guards))
            guards += found
        if not (folder / path).exists() or (folder / path).read_text() != text:
            (folder / path).write_text(text)
    shutil.copytree(ROOT / VECTORS, folder / VECTORS, dirs_exist_ok=True)
    return folder, guards


def judge(folder: Path, coinbase: int) -> bool:
    """Whether a test fails."""
    solc = next((ROOT / ".solcx").glob("solc-v*"))
    own = {"FOUNDRY_PROFILE": "tests", "FOUNDRY_SOLC": str(solc), "FOUNDRY_DENY": "never"}
    own |= {"FOUNDRY_OUT": "out", "FOUNDRY_DYNAMIC_TEST_LINKING": "false"}
    command = [FORGE, "test", "--fail-fast", "--block-coinbase", f"{coinbase:#042x}"]
    run = subprocess.run(
        command,
        cwd=folder,
        env=environ | own,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    said = run.stdout + run.stderr
    if "Suite result" not in said:
        raise BrokenTests(said)
    return run.returncode != 0


def survivors() -> tuple[int, list[Guard]]:
    """How many clauses there are, and those that no test misses."""
    folder, guards = project()
    if judge(folder, FIRST - 1):
        raise BrokenTests("the tests of the consumers fail with all clauses on")
    return len(guards), [guard for guard in guards if not judge(folder, guard.number)]
