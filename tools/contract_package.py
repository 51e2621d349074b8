"""Builds the npm package @corechain/contracts: interfaces, consumer library, ABIs, Vyper interface.

python tools/contract_package.py [FOLDER]      (dist by default; `make packages`)

Foundry and Hardhat import its sources from node_modules, Ape takes it as a dependency, Vyper its
`.vyi`. Prints the path of the tarball.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = "@corechain/contracts"
SOURCES = ("consumer", "interfaces")
README = """\
# @corechain/contracts

Interfaces and ABIs of CoreChain's contracts, and `consumer/`: Solidity that takes an answer of the
API as calldata and proves count, sum, min and max of a device's readings, with nothing left out.

    npm install @corechain/contracts

* Foundry: `@corechain/contracts/=node_modules/@corechain/contracts/` in remappings.txt
* Hardhat: nothing to do
* Ape: in ape-config.yaml
  `dependencies: [{name: corechain, local: node_modules/@corechain, version: VERSION,
  config_override: {contracts_folder: contracts}}]`
* Vyper: `vyper -p node_modules/@corechain/contracts/vyper`, then `import IDataBatches`

How to use an answer: docs/developers.md, "In a contract".
An example: consumer/examples/HeatCover.sol.
"""


def version() -> str:
    found = tomllib.loads((ROOT / "sdk" / "pyproject.toml").read_text())
    return str(found["project"]["version"])


def manifest() -> dict[str, object]:
    return {
        "name": NAME,
        "version": version(),
        "description": "Interfaces, ABIs and the consumer library of CoreChain",
        "license": "Apache-2.0",
        "files": [*SOURCES, "abi", "vyper", "ape-config.yaml", "LICENSE", "README.md"],
    }


def fill(folder: Path) -> None:
    """What is in the package."""
    for name in SOURCES:
        shutil.copytree(ROOT / "contracts" / name, folder / name)
    shutil.copytree(ROOT / "sdk" / "src" / "corechain" / "abi", folder / "abi")
    shutil.copytree(ROOT / "examples" / "vyper" / "interfaces", folder / "vyper")
    shutil.copyfile(ROOT / "LICENSE", folder / "LICENSE")
    (folder / "package.json").write_text(json.dumps(manifest(), indent=2) + "\n")
    (folder / "README.md").write_text(README.replace("VERSION", version()))
    # Ape compiles what lies in this folder of a dependency.
    (folder / "ape-config.yaml").write_text("name: corechain-contracts\ncontracts_folder: .\n")


def pack(target: Path) -> Path:
    """The tarball. Raises CalledProcessError when npm fails."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder))
        command = ["npm", "pack", "--json", "--pack-destination", str(target.resolve()), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: Path = target / str(json.loads(done.stdout)[0]["filename"])
    return found


if __name__ == "__main__":
    print(pack(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist"))
