"""What deploy/kustomize builds, as values that tests ask."""

import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError

REPOSITORY = Path(__file__).resolve().parents[2]
KUSTOMIZE = REPOSITORY / "deploy" / "kustomize"
OVERLAYS = tuple(sorted(path.name for path in (KUSTOMIZE / "overlays").iterdir()))
WORKLOADS = ("Deployment", "StatefulSet", "Job")
SERVING = ("Deployment", "StatefulSet")
Document = dict[str, Any]
# Kinds of the Prometheus operator: whoever runs it has their definitions, and no registry of ours.
UNKNOWN = ("monitoring.coreos.com/v1 ServiceMonitor", "monitoring.coreos.com/v1 PrometheusRule")


def kustomize(folder: Path) -> str:
    return subprocess.run(
        ["kubectl", "kustomize", folder], check=True, capture_output=True, text=True
    ).stdout


@cache
def documents(overlay: str) -> tuple[Document, ...]:
    return tuple(yaml.safe_load_all(kustomize(KUSTOMIZE / "overlays" / overlay)))


@cache
def _schemas() -> dict[str, Any]:
    text = (REPOSITORY / "tests" / "vectors" / "kubernetes.json").read_text()
    return dict(json.loads(text))


def listed(documents: Iterable[Document]) -> str:
    """For `kubectl apply -f -`. One list: kubectl guesses what a stream of several is from as much
    of it as has come when it looks first."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})


def kind_of(document: Document) -> str:
    return f"{document['apiVersion']} {document['kind']}"


def faults(document: Document) -> list[str]:
    """What the schema of its kind says against it. Raises KeyError for a kind without one."""
    known = _schemas()
    reference = {"$ref": f"#/definitions/{known['kinds'][kind_of(document)]}"}
    schema = {**reference, "definitions": known["definitions"]}
    found: Iterator[ValidationError] = Draft7Validator(schema).iter_errors(document)
    return [f"{'/'.join(map(str, one.absolute_path))}: {one.message}" for one in found]


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment, StatefulSet or Job with its one container."""

    document: Document

    @property
    def name(self) -> str:
        return str(self.document["metadata"]["name"])

    @property
    def pod(self) -> Document:
        return dict(self.document["spec"]["template"]["spec"])

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.document["spec"]["template"]["metadata"]["labels"])

    @property
    def container(self) -> Document:
        (only,) = self.pod["containers"]
        return dict(only)

    @property
    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}

    @property
    def service(self) -> str:
        """The first word of its command: `corechain SERVICE …`."""
        return str(self.container["args"][0])

    @property
    def prefix(self) -> str:
        """Of its settings; the challenger's are those of the relayer, which it is a part of."""
        return "RELAYER_" if self.service == "challenger" else f"{self.service.upper()}_"


@dataclass(frozen=True, slots=True)
class Site:
    """All that an overlay deploys."""

    overlay: str

    @property
    def all(self) -> tuple[Document, ...]:
        return documents(self.overlay)

    def of(self, *kinds: str) -> list[Document]:
        return [one for one in self.all if one["kind"] in kinds]

    def named(self, kind: str, name: str) -> Document:
        """Raises StopIteration when there is none."""
        return next(one for one in self.of(kind) if one["metadata"]["name"] == name)

    def workloads(self, *kinds: str) -> list[Workload]:
        return [Workload(one) for one in self.of(*(kinds or WORKLOADS))]

    def workload(self, name: str) -> Workload:
        return next(one for one in self.workloads() if one.name == name)

    def selected(self, selector: Mapping[str, str]) -> list[Workload]:
        wanted = selector.items()
        return [one for one in self.workloads() if wanted <= one.labels.items()]

    @property
    def lanes(self) -> int:
        return int(self.named("ConfigMap", "relayer")["data"]["RELAYER_LANES"])
