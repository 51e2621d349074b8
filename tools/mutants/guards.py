"""Conditions of the contracts that consumers use or copy: is each one missed when it is another?

Each `if (…) revert …;` is left out once, and each comparison once takes its border the other way
(`>=` for `>`). Their tests deploy DataBatches and all that it needs, so a compilation takes a
minute: all mutants are in one. A mutant is there while the block's coinbase is its number, which
forge sets and no contract of ours reads.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
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
_CONDITION = re.compile(r"\b(?:if \(|(?:return|bool \w+ =) (?=[^;{}]*[<>]))")
_COMPARISON = re.compile(r"(?<![<>])[<>]=?(?![<>])")
_ASSIGNED = re.compile(r"\)\s*[\w.]+ = ")
_OTHER = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}


class BrokenTests(Exception):
    """The tests fail on the contracts as they are, or see the switches."""


@dataclass(frozen=True, slots=True)
class Guard:
    """A change, by the number that makes it."""

    number: int
    path: Path
    line: int
    text: str


def switched(path: Path, source: str, first: int) -> tuple[str, list[Guard]]:
    """The source with a switch in each condition, and the changes."""
    found: list[Guard] = []

    def added(text: str, place: int) -> str:
        number = first + len(found)
        line = source.count("\n", 0, place) + 1
        found.append(Guard(number, path, line, " ".join(text.split())))
        return f"block.coinbase == address(uint160({number:#x}))"

    pieces, done = [], 0
    for start, end in _conditions(source):
        condition = source[start:end]
        changed = f"({condition})"
        # `if (a < b) b = a;` does the same with either border.
        keeps_border = not _ASSIGNED.match(source, end)
        for each in _COMPARISON.finditer(condition) if keeps_border else ():
            other = _OTHER[each.group()]
            bent = condition[: each.start()] + other + condition[each.end() :]
            is_on = added(f"{condition}: {other} for {each.group()}", start + each.start())
            changed = f"({is_on} ? ({bent}) : {changed})"
        if _GUARD.match(source, start - len("if (")):
            changed = f"!({added(f'{condition}: left out', start)}) && {changed}"
        pieces += [source[done:start], changed]
        done = end
    # What reads the coinbase is not pure.
    return "".join([*pieces, source[done:]]).replace(
        "pure returns (bool)", "view returns (bool)"
    ), found


def _conditions(source: str) -> Iterator[tuple[int, int]]:
    """Where they stand, without the parentheses around them."""
    for match in _CONDITION.finditer(source):
        start = match.end()
        if match.group().startswith("if"):
            yield start, _closing(source, start)
        else:
            yield start, source.index(";", start)


def _closing(source: str, start: int) -> int:
    """Where the parenthesis is closed that was opened before."""
    depth = 1
    for place in range(start, len(source)):
        depth += {"(": 1, ")": -1}.get(source[place], 0)
        if depth == 0:
            return place
    raise BrokenTests("a parenthesis that nobody closes")


def project() -> tuple[Path, list[Guard]]:
    """A folder with the switched contracts, and their tests."""
    folder, guards = SCRATCH / "consumers", list[Guard]()
    for path in [*closure(*TESTS, DEPLOYED_BY_NAME), Path("foundry.toml")]:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        text = (ROOT / path).read_text()
        if path in CONSUMERS:
            text, found = switched(path, text, FIRST + len(guards))
            guards += found
        # What reads the coinbase is not pure, nor is who calls it.
        if "ProvenAnswers" in text:
            text = text.replace("pure returns (bool)", "view returns (bool)")
        if not (folder / path).exists() or (folder / path).read_text() != text:
            (folder / path).write_text(text)
    shutil.copytree(ROOT / VECTORS, folder / VECTORS, dirs_exist_ok=True)
    return folder, guards


def judge(folder: Path, coinbase: int) -> bool:
    """Whether a test fails."""
    solc = next((ROOT / ".solcx").glob("solc-v*"))
    own = {"FOUNDRY_PROFILE": "guards", "FOUNDRY_SOLC": str(solc), "FOUNDRY_DENY": "never"}
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
    """How many changes there are, and those that no test misses."""
    folder, guards = project()
    if judge(folder, FIRST - 1):
        raise BrokenTests("the tests of the consumers fail without a change")
    return len(guards), [guard for guard in guards if not judge(folder, guard.number)]
