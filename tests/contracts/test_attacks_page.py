"""docs/attacks.md says which test stands against which attack: none is invented, none left out."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FORGE = ROOT / "tests/contracts/forge"
NAME = r"(?:test|invariant)_\w+"


def _named_on_the_page() -> set[str]:
    return set(re.findall(rf"`({NAME})`", (ROOT / "docs/attacks.md").read_text()))


def _defined_in(files: list[Path], keyword: str) -> set[str]:
    definition = re.compile(rf"^\s*{keyword} ({NAME})\(", re.MULTILINE)
    return {name for file in files for name in definition.findall(file.read_text())}


def test_every_test_on_the_page_exists() -> None:
    solidity = _defined_in(sorted(FORGE.rglob("*.t.sol")), "function")
    python = _defined_in(sorted((ROOT / "tests").rglob("test_*.py")), "(?:async )?def")
    assert _named_on_the_page() - solidity - python == set()


def test_every_attack_test_is_on_the_page() -> None:
    attacks = _defined_in(sorted(FORGE.glob("Attacks*.t.sol")), "function")
    assert attacks
    assert attacks - _named_on_the_page() == set()
