"""Compiles the contracts for Ape, alone: `make test` begins several things at once that need them.

Ape's cache of compiled contracts is one file. Whoever deploys waits for the same lock.
"""

import subprocess
import sys
from pathlib import Path

from corechain.devnet.deploy import alone
from corechain.devnet.programs import find_ape

REPOSITORY = Path(__file__).resolve().parent.parent


def main() -> int:
    """The exit code of `ape compile`."""
    with alone(REPOSITORY):
        return subprocess.run([find_ape(), "compile"], cwd=REPOSITORY, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
