"""Puts Prometheus and promtool into .corechain/prometheus/, for `make test-prometheus`.

From Debian's packages, unpacked into our folder in the way of ensure_mosquitto.py: without root,
and nothing is installed. There is no wheel of them. apt checks the packages' sums and signatures.
"""

from pathlib import Path

from ensure_mosquitto import ROOT, ensure_in

FOLDER = ROOT / ".corechain" / "prometheus"
PROGRAM = Path("usr") / "bin" / "prometheus"
"""promtool, of the same package, lies beside it."""


if __name__ == "__main__":
    raise SystemExit(ensure_in(FOLDER, "prometheus", PROGRAM, "Prometheus"))
