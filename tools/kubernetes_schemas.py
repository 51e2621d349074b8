"""Writes tests/vectors/kubernetes.json: the schemas of the kinds that deploy/ uses.

From the sources that `make cluster-tools` builds (their OpenAPI document and resource definitions),
without descriptions, and strict: a key that a kind does not have is refused. The schemas are facts
of those versions; run it again when tools/cluster/*/go.mod names others. Needs Go.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml
from ensure_cluster_tools import LOCKS, ClusterToolsMissing, find_go, run

TARGET = LOCKS.parents[1] / "tests" / "vectors" / "kubernetes.json"
Schema = dict[str, Any]
KINDS = {
    "v1": ("ConfigMap", "Namespace", "PersistentVolumeClaim", "Service", "ServiceAccount"),
    "apps/v1": ("Deployment", "StatefulSet"),
    "autoscaling/v2": ("HorizontalPodAutoscaler",),
    "batch/v1": ("Job",),
    "networking.k8s.io/v1": ("Ingress", "NetworkPolicy"),
    "policy/v1": ("PodDisruptionBudget",),
}
# Written as a number or as text, which the OpenAPI document of version 2 cannot say.
INT_OR_STRING = {"type": ["integer", "string"]}
KEPT = ("type", "required", "enum", "minimum", "maximum", "pattern")


def module(go: str, lock: str, name: str) -> Path:
    return Path(run([go, "list", "-m", "-f", "{{.Dir}}", name], LOCKS / lock).strip())


def strict(schema: Schema) -> Schema:
    """What validates, and nothing else."""
    if schema.get("format") == "int-or-string" or schema.get("x-kubernetes-int-or-string"):
        return dict(INT_OR_STRING)
    if "$ref" in schema:
        return {"$ref": schema["$ref"]}
    found: Schema = {name: schema[name] for name in KEPT if name in schema}
    if "items" in schema:
        found["items"] = strict(schema["items"])
    if "properties" in schema:
        found["properties"] = {name: strict(part) for name, part in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            found["additionalProperties"] = False
    elif isinstance(schema.get("additionalProperties"), dict):
        found["additionalProperties"] = strict(schema["additionalProperties"])
    return found


def references(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        own = {schema["$ref"].rpartition("/")[2]} if "$ref" in schema else set()
        return own.union(*(references(part) for part in schema.values()))
    return set().union(*map(references, schema)) if isinstance(schema, list) else set()


def of_kubernetes(document: Schema) -> tuple[dict[str, str], dict[str, Schema]]:
    """Kinds with the names of their definitions, and all definitions that these need."""
    kinds = {}
    for name, schema in document["definitions"].items():
        for known in schema.get("x-kubernetes-group-version-kind", ()):
            group = f"{known['group']}/" if known["group"] else ""
            version = group + known["version"]
            if known["kind"] in KINDS.get(version, ()):
                kinds[f"{version} {known['kind']}"] = name
    needed: dict[str, Schema] = {}
    open_names = set(kinds.values())
    while open_names:
        name = open_names.pop()
        needed[name] = strict(document["definitions"][name])
        open_names |= references(needed[name]) - needed.keys()
    return kinds, needed


def of_definition(text: str) -> tuple[str, str, Schema]:
    """Kind, name and schema of a custom resource's definition."""
    spec = yaml.safe_load(text)["spec"]
    version = next(one for one in spec["versions"] if one["storage"])
    kind = f"{spec['group']}/{version['name']} {spec['names']['kind']}"
    schema = strict(version["schema"]["openAPIV3Schema"])
    # The definition leaves it to the API server what these hold.
    schema["properties"]["metadata"] = {"$ref": f"#/definitions/{META}"}
    return kind, f"{spec['group']}.{spec['names']['kind']}", schema


META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def main() -> int:
    try:
        go = find_go()
        kubernetes = module(go, "kubernetes", "k8s.io/kubernetes")
        keda = module(go, "keda", "github.com/kedacore/keda/v2")
    except ClusterToolsMissing as error:
        print(f"! ClusterToolsMissing: {error}", file=sys.stderr)
        return 1
    swagger = json.loads((kubernetes / "api" / "openapi-spec" / "swagger.json").read_text())
    kinds, definitions = of_kubernetes(swagger)
    text = (keda / "config" / "crd" / "bases" / "keda.sh_scaledobjects.yaml").read_text()
    kind, name, schema = of_definition(text)
    kinds[kind], definitions[name] = name, schema
    # A definition a line: what a new version changes is seen.
    lines = [f'"{n}": {json.dumps(definitions[n], sort_keys=True)}' for n in sorted(definitions)]
    shown = json.dumps(kinds, sort_keys=True)
    TARGET.write_text(f'{{"kinds": {shown},\n"definitions": {{\n' + ",\n".join(lines) + "\n}}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
