"""Writes contracts/consumer/Metrics.sol from the vocabulary; `--check` only compares.

python tools/solidity_metrics.py [--check]
"""

import sys
from pathlib import Path

from corechain.protocol.vocabulary import METRICS, Metric

TARGET = Path(__file__).resolve().parent.parent / "contracts" / "consumer" / "Metrics.sol"
HEAD = """\
// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4 <0.9.0;

/// @title Codes and scales of metrics
/// @notice `SCALE` units of a proven value make one unit of the metric: 3.12 °C is 312. Write
/// thresholds with it: `25 * Metrics.AIR_TEMPERATURE_SCALE`.
/// @dev Written by tools/solidity_metrics.py from the vocabulary.
library Metrics {
"""


def _lines(metric: Metric) -> str:
    name = metric.name.upper()
    return (
        f"    uint16 internal constant {name} = {metric.code};\n"
        f"    int32 internal constant {name}_SCALE = {metric.scale}; // make 1 {metric.unit}\n"
    )


def written() -> str:
    return HEAD + "".join(map(_lines, METRICS)) + "}\n"


def main() -> int:
    if TARGET.exists() and TARGET.read_text() == written():
        return 0
    if "--check" in sys.argv:
        print(f"{TARGET.name} is not the vocabulary: python tools/solidity_metrics.py")
        return 1
    TARGET.write_text(written())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
