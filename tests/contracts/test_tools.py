"""What `make` believes about tests and documentation is right when it says no, too."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def _tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _report(status: str = "Success", counterexample: Any = None) -> dict[str, Any]:
    invariant = {
        "status": "Success",
        "reason": None,
        "counterexample": None,
        "decoded_logs": [],
        "kind": {"Invariant": {"runs": 2, "calls": 60}},
    }
    fuzzed = {
        "status": status,
        "reason": "Unequal(1, 2)",
        "counterexample": counterexample,
        "decoded_logs": [],
        "kind": {"Fuzz": {"runs": 40}},
    }
    return {"A.t.sol:A": {"test_results": {"invariant_x()": invariant, "test_x(uint8)": fuzzed}}}


@pytest.mark.parametrize(("least", "well"), [(100, True), (101, False)])
def test_fewer_calls_than_promised_fail(least: int, well: bool) -> None:
    lines, found = _tool("count_calls").judge(_report(), least)
    assert found is well
    assert "100 calls (40 fuzzed + 60 of invariants)" in lines[-1]


def test_no_tests_are_no_success() -> None:
    assert not _tool("count_calls").judge({}, 0)[1]


def test_a_failure_says_for_which_arguments() -> None:
    single = {"Single": {"args": "7", "calldata": "0x07"}}
    lines, well = _tool("count_calls").judge(_report("Failure", single), 0)
    assert not well
    assert "test_x(uint8)" in lines[0]
    assert "Unequal(1, 2)" in lines[0]
    assert "args: 7" in lines[0]


def test_a_failure_of_an_invariant_says_after_which_calls() -> None:
    step = {"sender": "0x01", "contract_name": "H", "signature": "add(uint256)", "args": "9"}
    lines, _ = _tool("count_calls").judge(_report("Failure", {"Sequence": [14, [step]]}), 0)
    assert "0x01 → H.add(uint256): 9" in lines[0]


def test_what_has_no_notice_is_named() -> None:
    words = {"type": "tuple[]", "components": [{"type": "uint8"}, {"type": "address"}]}
    output = {
        "abi": [
            {"type": "function", "name": "told", "inputs": [words]},
            {"type": "function", "name": "untold", "inputs": []},
            {"type": "event", "name": "Happened", "inputs": [{"type": "uint8"}]},
            {"type": "error", "name": "Refused", "inputs": []},
            {"type": "constructor", "inputs": []},
        ],
        "userdoc": {
            "methods": {"told((uint8,address)[])": {"notice": "Says it."}},
            "errors": {"Refused()": [{"notice": "Says no."}]},
        },
    }
    found = list(_tool("check_natspec").missing(output))
    assert found == ["function untold()", "event Happened(uint8)"]


def test_what_tests_deploy_is_found_by_its_name_and_by_its_path(tmp_path: Path) -> None:
    source, built, tested = Path("contracts", "a", "A.sol"), tmp_path / "out", tmp_path / "tested"
    (built / "A.sol").mkdir(parents=True)
    needed = {"abi": [], "bytecode": {"object": "0x01"}, "deployedBytecode": {"object": "0x02"}}
    (built / "A.sol" / "A.json").write_text(json.dumps({**needed, "ast": {}}))
    assert _tool("forge_tests").ship([source, Path("contracts", "B.sol")], built, tested) == 1
    for place in (tested / "A.sol", tested / source):
        assert json.loads((place / "A.json").read_text()) == needed
