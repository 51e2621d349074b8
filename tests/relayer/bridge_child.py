"""A process that takes uploads as fast as it can, and says which it has acknowledged: to be killed.

    python -m relayer.bridge_child FOLDER FIRST

Upload n holds 1 to 3 observations of second FIRST + n; its line on standard output is n.
"""

import sys
from pathlib import Path

from corechain_relayer.bridge.formats.upload import Measurement, Upload
from relayer.bridges import Stage

ROOF = "roof"


def upload(at: int) -> Upload:
    return Upload(tuple(Measurement(metric, at, at % 1000) for metric in range(1, 2 + at % 3)))


def main() -> None:
    folder, at = Path(sys.argv[1]), int(sys.argv[2])
    bridge = Stage.at(folder).bridge
    station = bridge.store.named(ROOF)
    while True:
        bridge.intake.keep(station, [upload(at)])
        sys.stdout.write(f"{at}\n")
        sys.stdout.flush()
        at += 1


if __name__ == "__main__":
    main()
