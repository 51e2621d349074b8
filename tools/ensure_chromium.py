"""Puts Chromium into .corechain/chromium/, for the tests and pictures of the explorer.

From Debian's packages, unpacked into our folder in the way of ensure_mosquitto.py: without root,
and nothing is installed. One on the PATH is taken as it is. `--there` only asks whether there is
one: exit code 1 and a sentence where there is none.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ensure_mosquitto import ROOT, ensure_in

FOLDER = ROOT / ".corechain" / "chromium"
PROGRAM = Path("usr") / "lib" / "chromium" / "chromium"
PARTS = ("chromium-common",)
"""It looks for its data beside itself, so those of the system are none of it."""
START_LIMIT_S = 120
NAMES = "chromium", "chromium-browser", "google-chrome"


def main() -> int:
    if any(map(shutil.which, NAMES)) or (FOLDER / PROGRAM).is_file():
        return 0
    if "--there" in sys.argv:
        print("! there is no Chromium: the explorer is NOT tested in a browser (make web-tools)")
        return 1
    if code := ensure_in(FOLDER, "chromium", PROGRAM, "Chromium", PARTS):
        return code
    if said := trouble(FOLDER):
        shutil.rmtree(FOLDER)
        print(f"! ChromiumUnusable: {said}; to have one: apt install chromium", file=sys.stderr)
        return 1
    return 0


def trouble(folder: Path) -> str:
    """What the unpacked program says when it does not show an empty page; empty when it does."""
    places = sorted({str(file.parent) for file in folder.glob("usr/lib/*-linux-gnu/**/*.so*")})
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    environment = os.environ | {"LD_LIBRARY_PATH": os.pathsep.join(places)}
    try:
        done = subprocess.run(
            [folder / PROGRAM, *words, "--dump-dom", "about:blank"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=START_LIMIT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0 and "<html>" in done.stdout:
        return ""
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


if __name__ == "__main__":
    sys.exit(main())
