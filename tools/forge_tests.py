"""`forge test` of the profile `tests`: tests compiled quickly, contracts as they are shipped.

    python tools/forge_tests.py FORGE        (after `make` has built the contracts: folder `out`)

Prints what `forge test --json` prints. Compiled as contracts are, the tests take nine tenths of the
Solidity compiler's time, and nobody ships them. So they are compiled without Yul and without its
optimizer, and contracts not at all: whatever tests deploy (`new DataBatches(…)`) forge deploys from
artefacts (`dynamic_test_linking`), and those of the shipped contracts are put where it looks for
what it has not compiled. tests/contracts/forge/Shipped.t.sol holds it to that. `make fuzz` compiles
all as contracts are.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = Path("contracts")
SHIPPED = ROOT / "out"
LIBRARIES = Path("tests", "contracts", "forge", "libraries")
HOSTS = ROOT / ".corechain" / "forge" / "hosts"
TESTED = ROOT / ".corechain" / "forge" / "out"
DEPLOYED = ("abi", "bytecode", "deployedBytecode")
"""What is needed of an artefact. Each deployment reads one, and the syntax tree is most of it."""


def ship(sources: Iterable[Path], built: Path, tested: Path) -> int:
    """Puts artefacts of these sources, relative to the checkout, where tests find them by the name
    of the file and by its whole path. How many there are.

    Those alone: `make fuzz` leaves artefacts of tests in the same folder, which may be old.
    """
    artefacts = 0
    for source in sources:
        for artefact in (built / source.name).glob("*.json"):
            whole = json.loads(artefact.read_text())
            needed = json.dumps({part: whole[part] for part in DEPLOYED})
            for folder in (tested / source, tested / source.name):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / artefact.name).write_text(needed)
            artefacts += 1
    return artefacts


def build(command: str, profile: str, *words: str) -> None:
    """Raises subprocess.CalledProcessError; what it says goes to the standard error."""
    environment = os.environ | {"FOUNDRY_PROFILE": profile}
    subprocess.run(
        [command, "build", "--quiet", *words],
        cwd=ROOT, env=environment, stdout=sys.stderr, check=True,
    )  # fmt: skip


def main(command: str) -> int:
    """The exit code of forge."""
    hosts = sorted((ROOT / LIBRARIES).glob("*Host.sol"))
    contracts = sorted((ROOT / SOURCES).rglob("*.sol"))
    # What is no longer there must not be deployed any more.
    shutil.rmtree(TESTED / SOURCES, ignore_errors=True)
    try:
        build(command, "hosts", *(str(host.relative_to(ROOT)) for host in hosts))
        build(command, "tests")
    except subprocess.CalledProcessError as error:
        return error.returncode
    if not ship((source.relative_to(ROOT) for source in contracts), SHIPPED, TESTED):
        print(f"no contracts are built in {SHIPPED}: run make test-contracts", file=sys.stderr)
        return 1
    ship((host.relative_to(ROOT) for host in hosts), HOSTS, TESTED)
    environment = os.environ | {"FOUNDRY_PROFILE": "tests"}
    return subprocess.run(
        [command, "test", "--json"], cwd=ROOT, env=environment, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
