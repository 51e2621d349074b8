"""Puts PgBouncer into .corechain/pgbouncer/, for `make test-pgbouncer`.

From Debian's packages, unpacked into our folder in the way of ensure_mosquitto.py: without root,
and nothing is installed. There is no wheel of it.
"""

from pathlib import Path

from ensure_mosquitto import ROOT, ensure_in

FOLDER = ROOT / ".corechain" / "pgbouncer"
PROGRAM = Path("usr") / "sbin" / "pgbouncer"


if __name__ == "__main__":
    raise SystemExit(ensure_in(FOLDER, "pgbouncer", PROGRAM, "PgBouncer"))
