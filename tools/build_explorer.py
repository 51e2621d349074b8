"""Builds the explorer into the indexer's package. Run by `make setup`; it needs Node and npm.

Exit code 1 and a sentence where it could not: all else works, and the page at /explorer/ says so.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "web" / "explorer"
LOG = ROOT / ".corechain" / "explorer.log"
LIMIT_S = 900
STEPS = (
    ("npm", "ci", "--ignore-scripts", "--loglevel=error", "--no-progress", "--prefer-offline"),
    ("node", "land.mjs"),
    ("node", "node_modules/vite/bin/vite.js", "build", "--logLevel", "warn"),
)
LAST_LINES = 5


def main() -> int:
    print("· explorer")
    LOG.parent.mkdir(parents=True, exist_ok=True)
    own = ROOT / ".corechain" / "node" / "bin"
    environment = os.environ | {"PATH": f"{own}{os.pathsep}{os.environ.get('PATH', '')}"}
    with LOG.open("w") as log:
        for step in STEPS:
            try:
                done = subprocess.run(
                    step, cwd=FOLDER, env=environment, stdout=log, stderr=log, timeout=LIMIT_S
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                return _failed(step, str(error))
            if done.returncode != 0:
                log.flush()
                return _failed(step, " / ".join(LOG.read_text().splitlines()[-LAST_LINES:]))
    return 0


def _failed(step: tuple[str, ...], why: str) -> int:
    print(
        f"! ExplorerNotBuilt: {' '.join(step[:2])}: {why}; to have it: make explorer",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
