"""Writes the ABIs that the SDK ships from forge's artefacts; `--check` only compares.

python scripts/export_abi.py [--check]      (after `forge build`)
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "sdk" / "src" / "corechain" / "abi"
CONTRACTS = (
    "BatchChallenges",
    "CoreToken",
    "DataBatches",
    "DeviceRegistry",
    "Erc3009Collector",
    "PaymentChannels",
    "Permit2Collector",
    "StateChannels",
)


def exported(name: str) -> str:
    artefact = ROOT / "out" / f"{name}.sol" / f"{name}.json"
    abi = json.loads(artefact.read_text())["abi"]
    ordered = sorted(abi, key=lambda entry: (entry["type"], entry.get("name", ""), str(entry)))
    return json.dumps(ordered, indent=1) + "\n"


def main() -> int:
    stale = []
    for name in CONTRACTS:
        target, text = TARGET / f"{name}.json", exported(name)
        if not target.exists() or target.read_text() != text:
            stale.append(name)
            if "--check" not in sys.argv:
                target.write_text(text)
    if stale and "--check" in sys.argv:
        print(f"ABI of {', '.join(stale)} differs from the contracts: run `make abi` and commit")
        return 1
    print("ABI: " + (f"wrote {', '.join(stale)}" if stale else "up to date"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
