"""How many calls the fuzzer made, from `forge test --json` on stdin. Fails below a floor.

With --json forge says of a failure only what is in the JSON, so failures are written out here.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

Result = dict[str, Any]


def results(report: dict[str, Any]) -> Iterator[tuple[str, Result]]:
    for suite, found in report.items():
        for test, result in found["test_results"].items():
            yield f"{suite}:{test}", result


def calls_of(result: Result) -> tuple[int, int]:
    """Of a test with fuzzed arguments, and of an invariant: at most one of them is not zero."""
    kind = result["kind"]
    return kind.get("Fuzz", {}).get("runs", 0), kind.get("Invariant", {}).get("calls", 0)


def counterexample(found: dict[str, Any] | None) -> list[str]:
    if not found:
        return []
    if "Single" in found:
        return [f"    args: {found['Single']['args']}", f"    data: {found['Single']['calldata']}"]
    # What a sequence was shrunk to, behind its first length.
    return [
        f"    {step['sender']} → {step['contract_name']}.{step['signature']}: {step['args']}"
        for step in found["Sequence"][1]
    ]


def failure(name: str, result: Result) -> str:
    logs = [f"    log: {line}" for line in result["decoded_logs"]]
    shown = [f"FAIL {name}", f"    {result['reason']}", *counterexample(result["counterexample"])]
    return "\n".join([*shown, *logs])


def judge(report: dict[str, Any], least: int) -> tuple[list[str], bool]:
    """What to print, and whether all is well."""
    found = list(results(report))
    failed = [failure(name, result) for name, result in found if result["status"] == "Failure"]
    fuzzed = sum(calls_of(result)[0] for _, result in found)
    invariants = sum(calls_of(result)[1] for _, result in found)
    total = fuzzed + invariants
    lines = [*failed]
    if failed:
        lines.append("Again with traces: forge test --rerun -vvv")
    elif total < least:
        lines.append(f"FAIL {total:,} calls; this profile promises at least {least:,}")
    lines.append(
        f"forge: {len(found) - len(failed)} of {len(found)} tests passed, "
        f"{total:,} calls ({fuzzed:,} fuzzed + {invariants:,} of invariants)"
    )
    return lines, bool(found) and not failed and total >= least


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--least", type=int, required=True, help="calls that must have been made")
    least = parser.parse_args().least
    text = sys.stdin.read()
    try:
        report = json.loads(text)
    except json.JSONDecodeError:
        # The compiler's errors come in place of the report.
        print(text or "forge said nothing")
        return 1
    lines, well = judge(report, least)
    print("\n".join(lines))
    return 0 if well else 1


if __name__ == "__main__":
    raise SystemExit(main())
