"""Puts PgBouncer into .corechain/pgbouncer/, for `make test-pgbouncer`.

From Debian's packages, unpacked into our folder in the way of ensure_mosquitto.py: without root,
and nothing is installed. There is no wheel of it.
"""

import sys
from pathlib import Path

from ensure_mosquitto import ROOT, ensure

FOLDER = ROOT / ".corechain" / "pgbouncer"
PROGRAM = Path("usr") / "sbin" / "pgbouncer"


def main() -> int:
    if (FOLDER / PROGRAM).is_file():
        return 0
    print("· PgBouncer")
    FOLDER.mkdir(parents=True, exist_ok=True)
    said = ensure(FOLDER, "pgbouncer", PROGRAM)
    if said:
        print(f"! PgBouncerMissing: {said}; to have it: apt install pgbouncer", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
