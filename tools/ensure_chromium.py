"""Puts Chromium into .corechain/chromium/, for the tests and pictures of the explorer.

From Debian's packages, unpacked into our folder in the way of ensure_mosquitto.py: without root,
and nothing is installed. One on the PATH is taken as it is. `--there` only asks whether there is
one: exit code 1 and a sentence where there is none.
"""

import shutil
import sys
from pathlib import Path

from ensure_mosquitto import ROOT, ensure_in

FOLDER = ROOT / ".corechain" / "chromium"
PROGRAM = Path("usr") / "lib" / "chromium" / "chromium"
NAMES = "chromium", "chromium-browser", "google-chrome"


def main() -> int:
    if any(map(shutil.which, NAMES)) or (FOLDER / PROGRAM).is_file():
        return 0
    if "--there" in sys.argv:
        print("! there is no Chromium: the explorer is NOT tested in a browser (make web-tools)")
        return 1
    return ensure_in(FOLDER, "chromium", PROGRAM, "Chromium")


if __name__ == "__main__":
    sys.exit(main())
