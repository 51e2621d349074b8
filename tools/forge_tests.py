"""`forge test` of the profile `tests`: tests compiled quickly, contracts as they are shipped.

    python tools/forge_tests.py FORGE        (after `make` has built the contracts: folder `out`)

Prints what `forge test --json` prints. Compiled by the Solidity compiler's full optimiser the tests
take three quarters of its time, and nobody ships them. So they are compiled without; whatever they
deploy (`new DataBatches(…)`) forge deploys from its artefacts (`dynamic_test_linking`), and those
of contracts are replaced by the shipped ones first. tests/contracts/forge/Shipped.t.sol holds it to
that. `make fuzz` compiles all with the full optimiser.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "contracts"
SHIPPED = ROOT / "out"
TESTED = ROOT / ".corechain" / "forge" / "out"


def ship(sources: Path, shipped: Path, tested: Path) -> int:
    """Puts the artefacts of contracts in place of those of the tests' profile. How many they are.

    Those alone: `make fuzz` leaves artefacts of tests in the same folder, which may be old.
    """
    artefacts = [
        artefact
        for source in sources.rglob("*.sol")
        for artefact in (shipped / source.name).glob("*.json")
        # Of a file without a contract there is one only beside build-info.
        if (tested / source.name / artefact.name).exists()
    ]
    for artefact in artefacts:
        shutil.copyfile(artefact, tested / artefact.relative_to(shipped))
    return len(artefacts)


def main(forge: str) -> int:
    """The exit code of forge."""
    environment = os.environ | {"FOUNDRY_PROFILE": "tests"}
    built = subprocess.run(
        [forge, "build", "--quiet"], cwd=ROOT, env=environment, stdout=sys.stderr, check=False
    )
    if built.returncode:
        return built.returncode
    if not ship(SOURCES, SHIPPED, TESTED):
        print(f"no contracts are built in {SHIPPED}: run make test-contracts", file=sys.stderr)
        return 1
    return subprocess.run(
        [forge, "test", "--json"], cwd=ROOT, env=environment, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
