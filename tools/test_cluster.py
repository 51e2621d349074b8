"""`make test-cluster`: every test of tests/cluster, each in a pytest of its own, and one table.

python tools/test_cluster.py [NAME …]     only these (postgres_failover, three_brokers, …)

Writes bench/results/cluster.json from what the tests have measured. Its last lines say
what failed, and what was not run and why: a test that cannot run here skips itself. Exit code 1
when something failed.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests" / "cluster"
ELSEWHERE = (
    ROOT / "tests" / "indexer" / "through_redis_cluster.py",
    ROOT / "tests" / "indexer" / "through_pgbouncer.py",
    ROOT / "tests" / "relayer" / "relayer_through_pgbouncer.py",
)
"""Tests of clusters that need the fixtures of their folders."""
MEASURED = ROOT / ".corechain" / "test-cluster"
RESULT = ROOT / "bench" / "results" / "cluster.json"


def modules(named: list[str]) -> list[Path]:
    """Those that hold tests, in the order of their names."""
    own = [path for path in sorted(TESTS.glob("*.py")) if "\ndef test_" in path.read_text()]
    found = [*own, *ELSEWHERE]
    unknown = set(named) - {path.stem for path in found}
    if unknown:
        raise SystemExit(f"no test of tests/cluster is called {', '.join(sorted(unknown))}")
    return [path for path in found if not named or path.stem in named]


def ran(path: Path) -> tuple[int, str]:
    """Its exit code, and what it said of tests that were skipped."""
    print(f"· {path.stem}", flush=True)
    words = ["pytest", "--hypothesis-profile=ci", "-q", "-rs", str(path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    said = done.stdout.splitlines()
    if done.returncode != 0:
        print("\n".join(said[-60:]), flush=True)
    return done.returncode, "; ".join(line for line in said if line.startswith("SKIPPED"))


def table(since: float) -> dict[str, Any]:
    parts = [json.loads(path.read_text()) for path in sorted(MEASURED.glob("*.json"))]
    fresh = [part for part in parts if part["at"] >= int(since)]
    return {
        "parts": {part.pop("part"): part for part in fresh},
        "lost": sum(part.get("lost", 0) for part in fresh),
        "doubled": sum(part.get("doubled", 0) for part in fresh),
        "hpa_steps": [step for part in fresh for step in part.get("hpa_steps", ())],
    }


def main() -> int:
    since, failed, left_out = time.time(), [], []
    for path in modules(sys.argv[1:]):
        code, skipped = ran(path)
        if code != 0:
            failed.append(path.stem)
        if skipped:
            left_out.append(f"{path.stem}: {skipped}")
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    result = table(since)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    for name, part in result["parts"].items():
        print(name, json.dumps(part))
    for line in left_out:
        print(f"! NOT run: {line}")
    if not left_out and not sys.argv[1:]:
        print("every test of a cluster was run")
    elif sys.argv[1:]:
        print(f"! NOT run: all but {', '.join(sys.argv[1:])}, as was asked")
    print(f"FAILED: {', '.join(failed)}" if failed else "0 failed")
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
