"""Consumers compile our interfaces with compilers of their own; what we deploy has one compiler."""

import re
from pathlib import Path

import pytest
from tools import solidity_metrics

CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"
INTERFACES = sorted((CONTRACTS / "interfaces").glob("*.sol"))
CONSUMER = sorted((CONTRACTS / "consumer").rglob("*.sol"))
OTHERS = sorted(set(CONTRACTS.rglob("*.sol")) - set(INTERFACES) - set(CONSUMER))
PINNED = "pragma solidity 0.8.37;"
LOOSE = "pragma solidity >=0.8.4 <0.9.0;"


@pytest.mark.parametrize("path", INTERFACES, ids=lambda path: path.stem)
def test_an_interface_is_for_many_compilers_and_imports_nothing_else(path: Path) -> None:
    text = path.read_text()
    assert LOOSE in text
    for source in re.findall(r'from "([^"]+)"', text):
        assert re.fullmatch(r"\./\w+\.sol", source), f"{source} has one compiler only"


@pytest.mark.parametrize("path", CONSUMER, ids=lambda path: path.stem)
def test_what_consumers_import_is_for_many_compilers(path: Path) -> None:
    text = path.read_text()
    assert LOOSE in text
    for source in re.findall(r'from "([^"]+)"', text):
        target = (path.parent / source).resolve()
        assert target in {*CONSUMER, *INTERFACES}, f"{source} has one compiler only"


def test_metrics_in_solidity_are_those_of_the_vocabulary() -> None:
    assert solidity_metrics.TARGET.read_text() == solidity_metrics.written()


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_what_is_deployed_has_one_compiler(path: Path) -> None:
    assert PINNED in path.read_text()
