"""The npm package of contracts, installed into an empty project: a consumer compiles from it.

given the packed tarball
  forge compiles a contract that imports it, without an optimizer, as a new project does
  ABIs and the interface for Vyper are in it; nothing of it names this machine
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONSUMER = """\
// SPDX-License-Identifier: MIT
pragma solidity ^0.8.4;

import "@corechain/contracts/consumer/AnswerTypes.sol";
import { Metrics } from "@corechain/contracts/consumer/Metrics.sol";
import { ProvenAnswers } from "@corechain/contracts/consumer/ProvenAnswers.sol";

contract Mine {
    bool public hot;

    function settle(ICoreChainBatches batches, address device, Answer calldata answer) external {
        Span memory span = Span(0, Metrics.AIR_TEMPERATURE, 1, device, 2, 3, 4);
        Tally memory found = ProvenAnswers.prove(batches, span, answer);
        ProvenAnswers.requireFinal(batches, found);
        hot = ProvenAnswers.isMeanAbove(found, 35 * Metrics.AIR_TEMPERATURE_SCALE);
    }
}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("consumer")
    script = ROOT / "tools" / "contract_package.py"
    made = subprocess.run(
        [sys.executable, str(script), str(folder / "dist")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (folder / "package.json").write_text('{"private": true}')
    command = ["npm", "install", "--offline", "--no-audit", "--no-fund", made.stdout.strip()]
    subprocess.run(command, cwd=folder, capture_output=True, check=True)
    return folder


def test_a_new_project_compiles_a_consumer_from_it(project: Path) -> None:
    (project / "src").mkdir()
    (project / "src" / "Mine.sol").write_text(CONSUMER)
    solc = ROOT / ".solcx" / "solc-v0.8.37"
    settings = [
        "[profile.default]",
        f'solc = "{solc}"',
        "offline = true",
        'libs = ["node_modules"]',
    ]
    (project / "foundry.toml").write_text("\n".join(settings))
    (project / "remappings.txt").write_text(
        "@corechain/contracts/=node_modules/@corechain/contracts/\n"
    )
    forge = ROOT / "node_modules" / ".tools" / "forge"
    subprocess.run([str(forge), "build", "--quiet"], cwd=project, check=True)
    built = json.loads((project / "out" / "Mine.sol" / "Mine.json").read_text())
    assert len(built["bytecode"]["object"]) > 1_000


def test_it_holds_abis_and_the_interface_for_vyper(project: Path) -> None:
    package = project / "node_modules" / "@corechain" / "contracts"
    abi = json.loads((package / "abi" / "DataBatches.json").read_text())
    assert {"verifyRange", "requireCommitted"} <= {entry.get("name") for entry in abi}
    assert (package / "vyper" / "IDataBatches.vyi").is_file()
    assert not (package / "mocks").exists()
    for path in package.rglob("*"):
        assert path.is_dir() or str(ROOT) not in path.read_text()
