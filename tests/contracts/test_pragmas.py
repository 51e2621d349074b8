"""Consumers compile our interfaces with compilers of their own; what we deploy has one compiler."""

import re
from pathlib import Path

import pytest

CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"
INTERFACES = sorted((CONTRACTS / "interfaces").glob("*.sol"))
OTHERS = sorted(set(CONTRACTS.rglob("*.sol")) - set(INTERFACES))
PINNED = "pragma solidity 0.8.37;"
LOOSE = "pragma solidity >=0.8.20 <0.9.0;"


@pytest.mark.parametrize("path", INTERFACES, ids=lambda path: path.stem)
def test_an_interface_is_for_many_compilers_and_imports_nothing_else(path: Path) -> None:
    text = path.read_text()
    assert LOOSE in text
    for source in re.findall(r'from "([^"]+)"', text):
        assert re.fullmatch(r"\./\w+\.sol", source), f"{source} has one compiler only"


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_what_is_deployed_has_one_compiler(path: Path) -> None:
    assert PINNED in path.read_text()
