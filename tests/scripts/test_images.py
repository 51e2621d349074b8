"""Images and compose.yaml fit our services.

given the Containerfile
  its targets are the images that manifests and compose.yaml name, and they run as the pods' user
given compose.yaml, with what its example of an environment asks for filled in
  each service has a command of ours and an environment that its settings take
  it may write nothing but its volumes, and ports are open to this host alone unless said
given an environment with packages
  the bill of materials names each with its version, and is the same the next time
given a process that answers, one that does not, and none
  the health check says so
"""

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import pytest
import yaml
from support.manifests import OVERLAYS, REPOSITORY, Site

from corechain.service.settings import load
from corechain_indexer.settings import Settings as IndexerSettings
from corechain_relayer.bridge.settings import Settings as BridgeSettings
from corechain_relayer.challenger.settings import ChallengerSettings
from corechain_relayer.settings import Settings as RelayerSettings

DEPLOY = REPOSITORY / "deploy"
CONTAINERFILE = (DEPLOY / "images" / "Containerfile").read_text()
SETTINGS: dict[str, Any] = {
    "relayer": RelayerSettings,
    "indexer": IndexerSettings,
    "bridge": BridgeSettings,
    "challenger": ChallengerSettings,
}
KEY = "ab" * 32
FILLED = {
    "POSTGRES_PASSWORD": "secret",
    "FRAME_KEY": KEY,
    "SUBMITTER_KEY": KEY,
    "GUARD_KEY": KEY,
    "WATCHTOWER_KEY": KEY,
    "RECEIPT_KEY": KEY,
    "MANIFEST": "../deployments/31337.json",
}
_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DEPLOY / "images" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ------------------------------------------------------------------ images


def targets() -> set[str]:
    """Stages that nothing else is made from: what is built by name."""
    stages = set(re.findall(r" AS ([\w-]+)$", CONTAINERFILE, re.MULTILINE))
    used = set(re.findall(r"^(?:FROM|COPY --from=)\s*=?([\w-]+)", CONTAINERFILE, re.MULTILINE))
    copied = set(re.findall(r"--from=([\w-]+)", CONTAINERFILE))
    return stages - used - copied


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_manifests_name_images_that_are_built(overlay: str) -> None:
    images = {one.container["image"].partition(":")[0] for one in Site(overlay).workloads()}
    assert {image.rpartition("/")[2] for image in images} == targets()


def test_images_run_as_the_user_of_the_pods() -> None:
    pod = Site("public").workload("gateway").pod["securityContext"]
    assert f"USER {pod['runAsUser']}:{pod['runAsGroup']}" in CONTAINERFILE
    service = CONTAINERFILE.split(" AS service\n")[1]
    assert "RUN" not in service, "what is in the last stages was made before"


def test_no_bytecode_has_the_time_of_the_build_in_it() -> None:
    """What an import has written, compileall takes as it is unless it is forced to make it anew."""
    compiled = re.findall(r"python3 -m compileall (.*)$", CONTAINERFILE, re.MULTILINE)
    assert len(compiled) == len(targets())
    for options in compiled:
        assert options.startswith("-q -f --invalidation-mode unchecked-hash ")
    assert "ENV PYTHONDONTWRITEBYTECODE=1" in CONTAINERFILE.split(" AS service\n")[0]


def test_nothing_is_compiled_from_c() -> None:
    assert "gcc" not in CONTAINERFILE


# ------------------------------------------------------------------ compose.yaml


def filled(text: str) -> str:
    """With its variables replaced as compose does. Fails for one that nobody is told to set."""

    def value(found: re.Match[str]) -> str:
        name, how, default = found.groups()
        if name in FILLED:
            return FILLED[name]
        assert how == "-", f"{name} is neither in the example nor has a default"
        return str(default)

    return _VARIABLE.sub(value, text)


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(filled((DEPLOY / "compose.yaml").read_text()))
    return dict(found["services"])


def ours() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, one in services().items():
        if "command" in one and one["image"].startswith("localhost/corechain/"):
            yield name, one


def test_what_has_to_be_set_is_in_the_example() -> None:
    example = (DEPLOY / "compose.env.example").read_text()
    needed = re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text())
    assert set(needed) == set(FILLED)
    for name in needed:
        assert re.search(rf"^{name}=", example, re.MULTILINE), name


def test_each_service_gets_what_its_settings_take() -> None:
    roles = set()
    for name, one in ours():
        distribution, command, *rest = one["command"]
        assert command == "run"
        image = "indexer" if distribution == "indexer" else "relayer"
        assert one["image"] == f"localhost/corechain/{image}:latest"
        roles |= set(rest[1::2])
        # What only its profile asks for.
        environment = {name: text or KEY for name, text in one["environment"].items()}
        settings = load(SETTINGS[distribution], environment)
        assert settings.http_host == "0.0.0.0", name
        for port in one.get("ports", ()):
            assert port == f"127.0.0.1:{settings.http_port}:{settings.http_port}"
        # /metrics is at this port alone, and this one is published nowhere.
        assert settings.ops_port not in (None, settings.http_port), name
    assert roles == {
        "gateway", "mqtt", "aggregator", "submitter", "guard", "watchtower", "mirror", "api"
    }  # fmt: skip


def test_each_service_may_write_nothing_but_its_volumes() -> None:
    mounts = {}
    for name, one in ours():
        assert one["read_only"], name
        assert one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]
        mounts[name] = [volume for volume in one["volumes"] if not volume.endswith(":ro")]
    assert {name: volumes for name, volumes in mounts.items() if volumes} == {
        "aggregator": ["data:/data"],
        "bridge": ["bridge:/data"],
        "challenger": ["challenger:/data"],
    }


def test_the_bus_of_compose_is_durable() -> None:
    words = " ".join(services()["valkey"]["command"])
    assert "--appendonly yes --appendfsync always --maxmemory-policy noeviction" in words
    # By itself a Valkey without a password answers other hosts with a reset.
    assert words.endswith("--protected-mode no")


def test_compose_mounts_files_that_are_there() -> None:
    """podman-compose leaves out `configs` with content, and says nothing."""
    document = yaml.safe_load(filled((DEPLOY / "compose.yaml").read_text()))
    assert "configs" not in document
    mounted = [volume for one in services().values() for volume in one.get("volumes", ())]
    places = [one.split(":")[0] for one in mounted if one.startswith("./")]
    assert [one for one in places if not (DEPLOY / one).exists()] == []
    assert "./databases.sql" in places
    assert "create database indexer" in (DEPLOY / "databases.sql").read_text()


# ------------------------------------------------------------------ bill of materials


def test_the_bill_names_each_package_and_is_the_same_again() -> None:
    environment = Path(sys.executable).parents[1]
    words = [sys.executable, DEPLOY / "images" / "sbom.py", "corechain-relayer", environment]
    first, second = (
        subprocess.run(words, check=True, capture_output=True, text=True).stdout for _ in range(2)
    )
    assert first == second
    document = json.loads(first)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.5")
    found = {one["purl"]: one for one in document["components"]}
    assert {"pkg:pypi/corechain@0.1.0", "pkg:pypi/corechain-relayer@0.1.0"} <= found.keys()
    assert all(one["version"] and one["bom-ref"] for one in found.values())
    assert document["metadata"]["component"]["name"] == "corechain-relayer"


def test_debians_packages_are_those_that_are_installed() -> None:
    status = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""
    (only,) = script("sbom").debian_components(status)
    assert only["purl"] == "pkg:deb/debian/libc6@2.36-9?arch=amd64"


# ------------------------------------------------------------------ health check


@pytest.fixture(params=[200, 503])
def answering(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """Port and status of a process that answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(request.param if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, request.param
        server.shutdown()


@pytest.mark.parametrize("prefix", ["INDEXER_", "RELAYER_", "BRIDGE_"])
def test_the_health_check_asks_the_port_of_the_probes(
    prefix: str, answering: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, status = answering
    monkeypatch.setenv(f"{prefix}HTTP_PORT", "1")
    monkeypatch.setenv(f"{prefix}OPS_PORT", str(port))
    check = script("healthcheck")
    assert check.main() == (0 if status == 200 else 1)
    monkeypatch.delenv(f"{prefix}OPS_PORT")
    assert check.main() == 1  # nobody listens there


def test_the_health_check_knows_the_settings_of_all_services() -> None:
    prefixes = {"RELAYER_": RelayerSettings, "INDEXER_": IndexerSettings, "BRIDGE_": BridgeSettings}
    for name in script("healthcheck").NAMES:
        prefix = next(one for one in prefixes if name.startswith(one))
        assert name.removeprefix(prefix).lower() in prefixes[prefix].model_fields
