"""deploy/prometheus/alerts.yaml, for a Prometheus without the operator: the groups of the
PrometheusRule in deploy/kustomize/components/monitoring/alerts.yaml, as a rule file.

`--check` fails when the file is not what the manifest says. Run by `make alerts`.
"""

import sys
from pathlib import Path

import yaml

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
MANIFEST = DEPLOY / "kustomize" / "components" / "monitoring" / "alerts.yaml"
RULES = DEPLOY / "prometheus" / "alerts.yaml"
HEAD = "# Written by `make alerts` from kustomize/components/monitoring/alerts.yaml.\n"


def rules() -> str:
    """The rule file, as text."""
    groups = yaml.safe_load(MANIFEST.read_text())["spec"]["groups"]
    return HEAD + yaml.safe_dump({"groups": groups}, sort_keys=False, width=1_000)


def main() -> int:
    if "--check" not in sys.argv[1:]:
        RULES.write_text(rules())
    elif RULES.read_text() != rules():
        print(f"{RULES.name} is not what the manifest says: run `make alerts`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
