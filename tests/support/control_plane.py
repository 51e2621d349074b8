"""A real Kubernetes on this machine: what tools/ensure_cluster_tools.py has built, as processes.

Nodes are kwok's: they take pods and run nothing. Each part has loopback ports of its own.
"""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from corechain.devnet.process import LOCALHOST, Command, free_port
from corechain.devnet.servers import Server
from support.kwok import POD_STAGES
from support.manifests import REPOSITORY, Site, listed
from support.processes import PATIENCE_S

TOKEN = "token-of-the-tests"
START_LIMIT_S = 240.0
"""The API server makes its first objects in 3 s on an idle machine."""


@cache
def tools() -> ModuleType:
    path = REPOSITORY / "tools" / "ensure_cluster_tools.py"
    spec = importlib.util.spec_from_file_location("ensure_cluster_tools", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["ensure_cluster_tools"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def program(name: str) -> Path:
    (found,) = [one for one in tools().PROGRAMS if one.name == name]
    return Path(tools().path_of(found))


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def needed(*names: str) -> None:
    """Skips what needs programs that are not built: `make test-cluster` says so at its end."""
    lacking = [name for name in names if name in tools().missing()]
    if lacking:
        pytest.skip(f"make cluster-tools has not built {', '.join(lacking)}")


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs certificates of this machine for one test."""

    folder: Path
    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)

    @property
    def path(self) -> Path:
        return self.folder / "ca.crt"

    def write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(self._signed("corechain tests", self.key, authority=True))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Files of a certificate for loopback and its key."""
        key = new_key()
        certificate, secret = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        certificate.write_bytes(self._signed(name, key))
        secret.write_bytes(pem_of(key))
        return certificate, secret

    def _signed(
        self, name: str, key: ec.EllipticCurvePrivateKey, *, authority: bool = False
    ) -> bytes:
        now = datetime.now(UTC)
        local = [x509.DNSName("localhost"), x509.IPAddress(ip_address(LOCALHOST))]
        built = (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(_named("corechain tests"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(local), critical=False)
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
        )
        return built.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def pem_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


class Part(Server):
    """A program of the control plane, ready when `path` of its port answers 200."""

    start_limit_s = START_LIMIT_S

    def __init__(
        self, name: str, folder: Path, port: int, words: Sequence[str | Path], path: str
    ) -> None:
        super().__init__(folder / name, port)
        self.name, self._words, self._path = name, words, path
        self.environment: dict[str, str] | None = None

    @property
    def url(self) -> str:
        return f"https://{LOCALHOST}:{self.port}"

    def _command(self) -> Command:
        return Command([program(self.name), *self._words], environment=self.environment)

    def _is_ready(self) -> bool:
        scheme, _, path = self._path.partition(":")
        words = ["curl", "-ksf", "-H", f"Authorization: Bearer {TOKEN}"]
        asked = [*words, f"{scheme}://{LOCALHOST}:{self.port}{path}"]
        return subprocess.run(asked, capture_output=True, timeout=PATIENCE_S).returncode == 0


@dataclass(slots=True)
class ControlPlane:
    """Its API server, and how to ask it."""

    folder: Path
    port: int
    authority: Authority

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def kubectl(
        self, *words: str | Path, text: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        command = ["kubectl", "--kubeconfig", self.kubeconfig, *words]
        return subprocess.run(
            list(map(str, command)), input=text, capture_output=True, text=True, timeout=300
        )

    def begin(self, *words: str | Path) -> "subprocess.Popen[str]":
        """kubectl beside the test; what it says comes together on `stdout`."""
        command = ["kubectl", "--kubeconfig", self.kubeconfig, *words]
        return subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def done(self, *words: str | Path, text: str | None = None) -> str:
        """What kubectl printed; fails when it did."""
        finished = self.kubectl(*words, text=text)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    def get(self, kind: str, *words: str) -> Any:
        return json.loads(self.done("get", kind, "-o", "json", *words))

    def apply(self, *documents: dict[str, Any]) -> None:
        self.done("apply", "-f", "-", text=listed(documents))

    def write(self) -> None:
        cluster = {"server": f"https://{LOCALHOST}:{self.port}", "insecure-skip-tls-verify": True}
        names = {"cluster": "c", "user": "u"}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
            "contexts": [{"name": "x", "context": names}],
            "current-context": "x",
        }
        self.kubeconfig.write_text(json.dumps(document))


def _etcd(folder: Path) -> Part:
    port, peers = free_port(), free_port()
    at, among = f"http://{LOCALHOST}:{port}", f"http://{LOCALHOST}:{peers}"
    words = [
        *("--data-dir", folder / "etcd" / "data", "--unsafe-no-fsync"),
        *("--listen-client-urls", at, "--advertise-client-urls", at),
        *("--listen-peer-urls", among, "--initial-advertise-peer-urls", among),
        *("--initial-cluster", f"default={among}"),
    ]
    return Part("etcd", folder, port, words, "http:/health")


def _api_server(folder: Path, etcd: Part, plane: ControlPlane) -> Part:
    key = folder / "sa.key"
    key.write_bytes(pem_of(rsa.generate_private_key(65_537, 2048)))
    (folder / "tokens.csv").write_text(f"{TOKEN},admin,admin,system:masters\n")
    certificate, secret = plane.authority.issue("front-proxy")
    flags = {
        "etcd-servers": f"http://{LOCALHOST}:{etcd.port}",
        "bind-address": LOCALHOST,
        "secure-port": plane.port,
        "cert-dir": folder / "certs",
        "service-cluster-ip-range": "10.96.0.0/16",
        "service-account-issuer": "https://kubernetes.tests",
        "service-account-signing-key-file": key,
        "service-account-key-file": key,
        "token-auth-file": folder / "tokens.csv",
        "authorization-mode": "RBAC",
        # Nobody makes default accounts before pods are asked for; ours name their own.
        "disable-admission-plugins": "ServiceAccount",
        "requestheader-client-ca-file": plane.authority.path,
        "requestheader-allowed-names": "front-proxy",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": certificate,
        "proxy-client-key-file": secret,
    }
    words = [f"--{name}={value}" for name, value in flags.items()]
    return Part("kube-apiserver", folder, plane.port, words, "https:/readyz")


@contextmanager
def api_server(folder: Path) -> Iterator[ControlPlane]:
    """etcd and the API server: what judges manifests."""
    plane = ControlPlane(folder, free_port(), Authority(folder / "authority"))
    plane.authority.write()
    plane.write()
    with ExitStack() as stack:
        etcd = _etcd(folder)
        for part in (etcd, _api_server(folder, etcd, plane)):
            stack.callback(part.kill)
            part.start()
        yield plane


def _flagged(**flags: str | int | Path) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]


@contextmanager
def controllers(plane: ControlPlane, pods: Sequence[Any] = POD_STAGES) -> Iterator[None]:
    """Controller manager, scheduler and kwok, with how its pods live. The autoscaler looks every
    2 s and trusts at once."""
    shared = {"kubeconfig": plane.kubeconfig}
    elected = {"leader_elect": "false", "bind_address": LOCALHOST, **shared}
    manager, scheduler, kwok = free_port(), free_port(), free_port()
    stages = plane.folder / "stages.yaml"
    stages.write_text("\n---\n".join(map(json.dumps, pods)))
    parts = [
        Part(
            "kube-controller-manager",
            plane.folder,
            manager,
            _flagged(
                **elected,
                secure_port=manager,
                # kwok's nodes send no heartbeats: after 50 s their pods would count as lost.
                node_monitor_grace_period="1h",
                horizontal_pod_autoscaler_sync_period="2s",
                horizontal_pod_autoscaler_initial_readiness_delay="1s",
                horizontal_pod_autoscaler_cpu_initialization_period="1s",
            ),
            "https:/healthz",
        ),
        Part(
            "kube-scheduler",
            plane.folder,
            scheduler,
            _flagged(**elected, secure_port=scheduler),
            "https:/healthz",
        ),
        Part(
            "kwok",
            plane.folder,
            kwok,
            _flagged(
                **shared,
                config=stages,
                manage_all_nodes="true",
                server_address=f"{LOCALHOST}:{kwok}",
            ),
            "http:/healthz",
        ),
    ]
    with ExitStack() as stack:
        for part in parts:
            stack.callback(part.kill)
            part.start()
        yield


def node(name: str, zone: str) -> dict[str, Any]:
    room = {"cpu": "32", "memory": "128Gi", "pods": "110"}
    labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {"capacity": room, "allocatable": room},
    }


# The definitions of the Prometheus operator are in no registry: these take any `spec`.
OPERATORS_KINDS = {"ServiceMonitor": "servicemonitors", "PrometheusRule": "prometheusrules"}


def any_kind(kind: str, plural: str) -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"}
    spec = {"group": "monitoring.coreos.com", "scope": "Namespaced", "names": names}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.monitoring.coreos.com"},
        "spec": {**spec, "versions": [version]},
    }


def install(plane: ControlPlane) -> None:
    """What our manifests need before: the definitions of others, and the namespace."""
    plane.done("apply", "--server-side", "-f", tools().definitions("go", tools().cache_folder()))
    plane.apply(*(any_kind(*names) for names in OPERATORS_KINDS.items()))
    plane.apply(Site("public").named("Namespace", "corechain"))
    plane.done("wait", "--for=condition=Established", "crd", "--all", "--timeout=120s")
