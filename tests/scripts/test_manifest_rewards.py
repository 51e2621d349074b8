"""Reward rules in the manifest: written once, left as they are where epochs stand."""

import json
from pathlib import Path

import pytest
from scripts._deploy.manifest import Manifest
from scripts._deploy.parameters import read_parameters

LOCAL = Path(__file__).resolve().parents[2] / "deployments" / "ethereum-local.yaml"
ADDRESS = "0x" + "07" * 20


def deployed(path: Path, weight: int, address: str = ADDRESS) -> object:
    """What the manifest says of rewards after a run with a weight."""
    manifest = Manifest.open(path, 1, {}, [address], weight)
    manifest.add("CoreToken", {"address": address, "block": 1})
    manifest.finish()
    return json.loads(path.read_text())["rewards"]


def step(first: int, weight: int) -> dict[str, int]:
    return {"from_epoch": first, "bridge_weight_bps": weight}


def test_a_second_run_leaves_the_rules_as_they_are_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "1.json"
    assert deployed(path, 5_000) == [step(1, 5_000)]
    document = json.loads(path.read_text())
    document["rewards"].append(step(9, 4_000))
    path.write_text(json.dumps(document))
    assert deployed(path, 4_000) == [step(1, 5_000), step(9, 4_000)]
    assert capsys.readouterr().out == ""
    assert deployed(path, 3_000) == [step(1, 5_000), step(9, 4_000)]
    assert "stay as they are" in capsys.readouterr().out


def test_other_contracts_have_rules_of_their_own(tmp_path: Path) -> None:
    deployed(tmp_path / "1.json", 5_000)
    assert deployed(tmp_path / "1.json", 3_000, "0x" + "08" * 20) == [step(1, 3_000)]


def test_a_manifest_of_before_the_rules_gets_those_of_the_parameters(
    tmp_path: Path,
) -> None:
    path = tmp_path / "1.json"
    deployed(path, 5_000)
    document = json.loads(path.read_text())
    del document["rewards"]
    path.write_text(json.dumps(document))
    assert deployed(path, 5_000) == [step(1, 5_000)]


def test_parameters_of_before_the_weight_are_deployed_with_the_default(tmp_path: Path) -> None:
    lines = LOCAL.read_text().splitlines(keepends=True)
    older = tmp_path / "older.yaml"
    older.write_text("".join(line for line in lines if "bridge_weight" not in line))
    assert read_parameters(older).bridge_weight_bps == 5_000
    assert read_parameters(LOCAL).bridge_weight_bps == 5_000
