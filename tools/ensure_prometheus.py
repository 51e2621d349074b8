"""Puts Prometheus and promtool into .corechain/prometheus/, for `make test-prometheus`.

From Debian's packages, unpacked into our folder in the way of ensure_mosquitto.py: without root,
and nothing is installed. There is no wheel of them. apt checks the packages' sums and signatures.
"""

import sys
from pathlib import Path

from ensure_mosquitto import ROOT, ensure

FOLDER = ROOT / ".corechain" / "prometheus"
PROGRAM = Path("usr") / "bin" / "prometheus"
"""promtool, of the same package, lies beside it."""


def main() -> int:
    if (FOLDER / PROGRAM).is_file():
        return 0
    print("· Prometheus")
    FOLDER.mkdir(parents=True, exist_ok=True)
    said = ensure(FOLDER, "prometheus", PROGRAM)
    if said:
        print(f"! PrometheusMissing: {said}; to have it: apt install prometheus", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
