"""What deploy/kustomize builds fits Kubernetes, and fits our services.

given each overlay, built as an operator builds it
  each document is of the shape that Kubernetes and KEDA take, and an unknown key would be found
  each container's command is ours, and its environment is what those settings take
  its ports are those that its settings name; Services, Ingresses and policies lead to them
  it is probed, bounded, spread, kept by a budget, and has no right that it does not need
  what it mounts and refers to is there, or is a secret that the operator's page names
  what scales is scaled by one alone, and lanes are the same everywhere
"""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.manifest_settings import SECRETS, SETTINGS, environment_of
from support.manifests import (
    OVERLAYS,
    REPOSITORY,
    SERVING,
    UNKNOWN,
    Document,
    Site,
    Workload,
    faults,
    kind_of,
)

from corechain.deployment import load_deployment
from corechain.service.settings import InvalidSetting, load
from corechain_indexer.api.routes import ENDPOINTS
from corechain_indexer.following import Role as IndexerRole
from corechain_relayer.bridge.formats.registry import FORMATS, OWN_PATHS
from corechain_relayer.bus.kafka.address import parse_address
from corechain_relayer.bus.keys import GROUP, lane_keys
from corechain_relayer.roles import Role as RelayerRole
from corechain_relayer.settings import Settings as RelayerSettings

ROLES = {"relayer": RelayerRole, "indexer": IndexerRole}
OPERATORS = REPOSITORY / "docs" / "operators"


@pytest.fixture(params=OVERLAYS)
def site(request: pytest.FixtureRequest) -> Site:
    return Site(str(request.param))


# ------------------------------------------------------------------ shape


def test_each_document_has_the_shape_of_its_kind(site: Site) -> None:
    judged = [one for one in site.all if kind_of(one) not in UNKNOWN]
    assert {kind_of(one): faults(one) for one in judged if faults(one)} == {}


def _pod(document: Document) -> Document:
    return dict(document["spec"]["template"]["spec"])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda one: one["spec"].update(replica=3),
        lambda one: one["spec"].update(replicas="three"),
        lambda one: _pod(one)["containers"][0]["livenessProbe"]["httpGet"].pop("port"),
        lambda one: _pod(one)["securityContext"].update(runAsUser="root"),
        lambda one: one["spec"].pop("selector"),
    ],
)
def test_what_kubernetes_would_refuse_is_found(spoil: Callable[[Document], None]) -> None:
    document = copy.deepcopy(Site(OVERLAYS[0]).workload("gateway").document)
    assert faults(document) == []
    spoil(document)
    assert len(faults(document)) == 1


def test_names_are_unique_and_all_is_in_one_namespace(site: Site) -> None:
    named = [(one["kind"], one["metadata"]["name"]) for one in site.all]
    assert len(set(named)) == len(named)
    spaces = {one["metadata"].get("namespace") for one in site.all if one["kind"] != "Namespace"}
    assert spaces == {"corechain"}


# ------------------------------------------------------------------ settings


def test_each_environment_is_what_the_settings_take(site: Site, tmp_path: Path) -> None:
    for one in site.workloads():
        environment = environment_of(site, one, tmp_path)
        environment.pop("FORWARDED_ALLOW_IPS", None)  # uvicorn's
        assert all(name.startswith(one.prefix) for name in environment), one.name
        load(SETTINGS[one.service], environment)


def test_a_setting_that_does_not_exist_is_found(tmp_path: Path) -> None:
    site = Site(OVERLAYS[0])
    environment = environment_of(site, site.workload("gateway"), tmp_path)
    with pytest.raises(InvalidSetting, match="RELAYER_LANE_COUNT is not a setting"):
        load(RelayerSettings, environment | {"RELAYER_LANE_COUNT": "8"})


def test_each_command_is_one_of_ours_with_roles_that_there_are(site: Site) -> None:
    for one in site.workloads():
        distribution, command, *rest = one.container["args"]
        assert command == "run" or (distribution in ROLES and command == "migrate")
        for name in rest[1::2]:
            assert name in list(ROLES[distribution]), one.name
        assert set(rest[::2]) <= {"--role"}


def test_the_roles_of_relayer_and_indexer_are_all_there() -> None:
    found = {one.container["args"][-1] for one in Site("public").workloads(*SERVING)}
    assert found >= {*RelayerRole, *IndexerRole}


def test_the_manifest_of_the_contracts_can_be_read(site: Site, tmp_path: Path) -> None:
    (config,) = [one for one in site.of("ConfigMap") if "deployment.json" in one["data"]]
    (tmp_path / "deployment.json").write_text(config["data"]["deployment.json"])
    load_deployment(tmp_path / "deployment.json")
    for one in site.workloads():
        name = one.prefix + "DEPLOYMENT"
        path = environment_of(site, one, tmp_path)[name]
        assert path == "/etc/corechain/deployment.json"
        volume = next(v for v in one.pod["volumes"] if v["name"] == "manifest")
        assert volume["configMap"]["name"] == config["metadata"]["name"]


# ------------------------------------------------------------------ ports


def test_ports_are_those_that_the_settings_name(site: Site, tmp_path: Path) -> None:
    for one in site.workloads(*SERVING):
        settings = load(SETTINGS[one.service], environment_of(site, one, tmp_path))
        assert one.ports["ops"] == (settings.ops_port or settings.http_port)
        assert one.ports.get("http", settings.http_port) == settings.http_port
        assert settings.http_host == "0.0.0.0"  # else nobody but the pod itself reaches it


def test_each_service_leads_to_a_port_of_pods_that_there_are(site: Site) -> None:
    for service in site.of("Service"):
        (one,) = site.selected(service["spec"]["selector"])
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in one.ports, service["metadata"]["name"]
    assert {one["metadata"]["name"] for one in site.of("Service")} == {
        one.name for one in site.workloads(*SERVING)
    }, "what has no Service is not scraped"


def _backends(site: Site) -> Iterator[tuple[str, Document]]:
    for ingress in site.of("Ingress"):
        assert ingress["spec"]["ingressClassName"] == "nginx"
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                yield path["path"], path["backend"]["service"]


def test_each_ingress_leads_to_a_port_that_its_policy_opens(site: Site) -> None:
    for _, backend in _backends(site):
        service = site.named("Service", backend["name"])
        port = next(p for p in service["spec"]["ports"] if p["name"] == backend["port"]["name"])
        (one,) = site.selected(service["spec"]["selector"])
        opened = [
            rule
            for policy in site.of("NetworkPolicy")
            if policy["spec"]["podSelector"]["matchLabels"].items() <= one.labels.items()
            for rule in policy["spec"].get("ingress", ())
            if {"port": port["targetPort"]} in rule["ports"] and "ingress-nginx" in str(rule)
        ]
        assert opened, backend["name"]


def test_metrics_are_at_a_port_that_monitoring_alone_reaches(site: Site, tmp_path: Path) -> None:
    for one in site.workloads(*SERVING):
        settings = load(SETTINGS[one.service], environment_of(site, one, tmp_path))
        assert settings.ops_port not in (None, settings.http_port), one.name
        policies = [
            policy["metadata"]["name"]
            for policy in site.of("NetworkPolicy")
            if policy["spec"]["podSelector"]["matchLabels"].items() <= one.labels.items()
            and {"port": "ops"} in _opened(policy)
        ]
        assert policies == ["to-metrics"] * len(site.of("ServiceMonitor")), one.name
        ports = site.named("Service", one.name)["spec"]["ports"]
        assert all((p["targetPort"] == "ops") == (p["name"] == "ops") for p in ports), one.name


def test_a_bridge_takes_uploads_while_it_waits_for_the_gateway() -> None:
    """It is not ready then, and what stations send waits on its disk."""
    site = Site("public")
    assert site.named("Service", "bridge")["spec"]["publishNotReadyAddresses"]
    waiting = [one for one in site.of("Service") if "publishNotReadyAddresses" in one["spec"]]
    assert len(waiting) == 1, "others are asked only when they can answer"


def _opened(policy: Document) -> list[Document]:
    rules = policy["spec"].get("ingress", ())
    return [port for rule in rules for port in rule.get("ports", ())]


def test_who_asks_a_pod_of_ours_is_let_out_to_the_port_that_lets_it_in(site: Site) -> None:
    sources = "app.kubernetes.io/name"
    for policy in site.of("NetworkPolicy"):
        for rule in policy["spec"].get("egress", ()):
            for to in rule.get("to", ()):
                name = to.get("podSelector", {}).get("matchLabels", {}).get(sources)
                if name is not None:
                    opened = _opened(site.named("NetworkPolicy", f"to-{name}"))
                    assert rule["ports"] == opened, policy["metadata"]["name"]


def test_no_ingress_shows_metrics_or_probes(site: Site) -> None:
    paths = {(backend["name"], path) for path, backend in _backends(site)}
    uploads = {
        ("bridge", path) for path in (*OWN_PATHS.values(), *(f"/{name}" for name in FORMATS))
    }
    assert {one for one in paths if one[0] == "bridge"} in (uploads, set())
    assert paths - uploads == {
        ("watchtower", "/v1/channel-states"),
        ("gateway", "/v1"),
        ("api", "/v1"),
        ("api", "/sensorthings"),
        ("api", "/openapi.json"),
        ("api", "/docs"),
        ("api", "/explorer"),
    }
    assert all(endpoint.path.startswith(("/v1/", "/sensorthings/")) for endpoint in ENDPOINTS)


def test_who_is_named_by_no_policy_is_reached_by_nobody(site: Site) -> None:
    policy = site.named("NetworkPolicy", "nothing-else")["spec"]
    assert (policy["policyTypes"], "ingress" in policy) == (["Ingress", "Egress"], False)
    assert len(site.selected(policy["podSelector"]["matchLabels"])) == len(site.workloads())


# ------------------------------------------------------------------ pods


def test_each_pod_has_no_right_that_it_does_not_need(site: Site) -> None:
    for one in site.workloads():
        pod, container = one.pod, one.container
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod["automountServiceAccountToken"]
        assert not pod["enableServiceLinks"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]]


def test_each_service_is_probed_bounded_spread_and_kept_by_a_budget(site: Site) -> None:
    for one in site.workloads(*SERVING):
        container, wanted = one.container, {"livenessProbe": "/health", "readinessProbe": "/ready"}
        for probe, path in (wanted | {"startupProbe": "/health"}).items():
            assert container[probe]["httpGet"] == {"path": path, "port": "ops"}, one.name
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert container["resources"]["limits"].keys() == {"memory"}
        spread = [rule["topologyKey"] for rule in one.pod["topologySpreadConstraints"]]
        assert spread == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
        budget = site.named("PodDisruptionBudget", one.name)["spec"]
        assert site.selected(budget["selector"]["matchLabels"]) == [one]
        assert budget["maxUnavailable"] == 1


def test_each_service_is_given_longer_than_it_takes_to_stop(site: Site) -> None:
    for one in site.workloads(*SERVING):
        lifecycle = one.container.get("lifecycle", {})
        pause_s = lifecycle.get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert one.pod["terminationGracePeriodSeconds"] >= pause_s + 25, one.name
        reached = {backend["name"] for _, backend in _backends(site)}
        # Who is asked from outside is asked on while its end spreads.
        assert (pause_s > 0) == (one.name in reached), one.name


def test_what_is_referred_to_is_there_or_named_in_the_operators_page(site: Site) -> None:
    page = (OPERATORS / "kubernetes.md").read_text()
    present = {(one["kind"], one["metadata"]["name"]) for one in site.all}
    for one in site.workloads():
        for kind, name, key in _references(one):
            if kind == "Secret":
                assert f"`{name}`" in page, f"{name} is in no table"
                assert f"`{key}`" in page, f"{key} of {name} is in no table"
            else:
                assert (kind, name) in present, f"{one.name}: {kind} {name}"


def _references(one: Workload) -> Iterator[tuple[str, str, str]]:
    for source in one.container.get("envFrom", ()):
        yield "ConfigMap", source["configMapRef"]["name"], ""
    for volume in one.pod["volumes"]:
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"], ""
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"], ""
        if "secret" in volume:
            for key in _keys_of(one, volume["name"]):
                yield "Secret", volume["secret"]["secretName"], key


def _keys_of(one: Workload, volume: str) -> list[str]:
    """Of a mounted secret: a lane's own, or what the settings' files are called."""
    (mount,) = [m for m in one.container["volumeMounts"] if m["name"] == volume]
    if "subPathExpr" in mount:
        return [str(mount["subPathExpr"]).replace("$(RELAYER_LANE)", "0")]
    files = [Path(entry["value"]) for entry in one.container["env"] if "value" in entry]
    keys = [file.name for file in files if str(file.parent) == mount["mountPath"]]
    assert keys, f"{one.name}: nobody reads {volume}"
    return keys


def test_no_secret_is_in_an_environment_and_all_but_keys_change_in_place(site: Site) -> None:
    """What is mounted by a path below its volume stays as it was when the pod began."""
    for one in site.workloads():
        entries = one.container.get("env", ())
        assert not [entry for entry in entries if "secretKeyRef" in entry.get("valueFrom", {})]
        fixed = {
            m["name"] for m in one.container["volumeMounts"] if {"subPath", "subPathExpr"} & set(m)
        }
        assert fixed <= {"keys"}, one.name


# ------------------------------------------------------------------ scale


def _scaled(site: Site) -> dict[str, tuple[int, int]]:
    """Least and most replicas of what an autoscaler has."""
    found = {}
    for one in site.of("HorizontalPodAutoscaler", "ScaledObject"):
        spec = one["spec"]
        kind, name = spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]
        assert site.named(kind, name)["kind"] == "Deployment"
        assert name not in found, f"two autoscalers pull at {name}"
        least = spec.get("minReplicas", spec.get("minReplicaCount"))
        found[name] = (least, spec.get("maxReplicas", spec.get("maxReplicaCount")))
    return found


def test_what_is_scaled_has_no_number_of_its_own_and_survives_a_node(site: Site) -> None:
    scaled = _scaled(site)
    assert set(scaled) == {"gateway", "api", "aggregator"}
    for one in site.workloads("Deployment"):
        assert ("replicas" in one.document["spec"]) == (one.name not in scaled), one.name
        least = scaled.get(one.name, (one.document["spec"].get("replicas"), 0))[0]
        assert least >= 2, one.name


def test_lanes_are_the_same_everywhere(site: Site, tmp_path: Path) -> None:
    assert _scaled(site)["aggregator"][1] == max(2, site.lanes)  # one stands by for a single lane
    for name in ("submitter", "guard"):
        assert site.workload(name).document["spec"]["replicas"] == site.lanes
    aggregator = environment_of(site, site.workload("aggregator"), tmp_path)
    assert load(RelayerSettings, aggregator).share_lanes


def test_the_lag_that_aggregators_are_scaled_by_is_that_of_their_group() -> None:
    (trigger,) = Site("public").named("ScaledObject", "aggregator")["spec"]["triggers"]
    address = parse_address(SECRETS["BUS_URL"])
    found = trigger["metadata"]
    assert (found["topic"], found["consumerGroup"]) == (address.reports, address.group)
    assert found["bootstrapServers"] == address.brokers
    spec = Site("small").named("ScaledObject", "aggregator")["spec"]
    streams = {lane_keys("corechain:frames", lane).stream for lane in range(Site("small").lanes)}
    assert {one["metadata"]["stream"] for one in spec["triggers"]} == streams
    assert {one["metadata"]["consumerGroup"] for one in spec["triggers"]} == {GROUP}
    formula = spec["advanced"]["scalingModifiers"]["formula"]
    assert set(formula.split(" + ")) == {one["name"] for one in spec["triggers"]}
