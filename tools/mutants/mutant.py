"""A library with one small change."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = Path("contracts/libraries")
TESTS = Path("tests/contracts/forge/libraries")
_IMPORT = re.compile(r'^(?:import|}) .*from "(\.[^"]+)";', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mutant:
    maker: str
    rule: str
    line: int
    source: str
    change: str
    """`old line → new line`, without indents: how a survivor is named in survivors.json."""


def mutant(maker: str, rule: str, original: str, start: int, end: int, text: str) -> Mutant:
    """The original with the characters of [start, end) replaced."""
    source = original[:start] + text + original[end:]
    line = original.count("\n", 0, start) + 1
    return Mutant(maker, rule, line, source, _change(original, source))


def _change(original: str, source: str) -> str:
    """The lines that differ."""
    old, new = (
        [" ".join(line.split()) for line in text.splitlines()] for text in (original, source)
    )
    while old and new and old[0] == new[0]:
        old, new = old[1:], new[1:]
    while old and new and old[-1] == new[-1]:
        old, new = old[:-1], new[:-1]
    return f"{' '.join(old)} → {' '.join(new)}"


def distinct(original: str, mutants: list[Mutant]) -> list[Mutant]:
    """Without those that change only comments, and each change once."""
    by_code = {_code(one.source): one for one in reversed(mutants)}
    by_code.pop(_code(original), None)
    return sorted(by_code.values(), key=lambda one: one.line)


def _code(source: str) -> str:
    return " ".join(re.sub(r"//[^\n]*", "", source).split())


def sources(library: str) -> list[Path]:
    """A library, its tests and what they import.

    A host that the tests do not import is found by its name: it alone is compiled with a mutant.
    """
    host = TESTS / f"{library}Host.sol"
    return closure(TESTS / f"{library}.t.sol", *([host] if (ROOT / host).exists() else []))


def closure(*start: Path) -> list[Path]:
    """Solidity files and all that they import, as paths in the repository."""
    found: list[Path] = []
    waiting = list(start)
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.append(path)
        names = _IMPORT.findall((ROOT / path).read_text())
        waiting += [(ROOT / path.parent / name).resolve().relative_to(ROOT) for name in names]
    return found
