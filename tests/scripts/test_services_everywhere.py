"""No service is forgotten: each place that deploys or watches services knows all of them.

given the commands `corechain … run` that the packages install, and the roles of each
  compose.yaml, the manifests and `corechain up`, each profile of it, have each of them
  `corechain status` asks each process, and Prometheus scrapes each
  the pages of the operator's book name each
given the private keys that settings take
  the manifests give each by reference, or a reason is written here why not
given metrics that are named after a service
  an alert and a panel ask for them
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from support.manifest_settings import SETTINGS
from support.manifests import REPOSITORY, SERVING, Site
from support.monitoring import CONFIGURATION, DEPLOY, alerts, panel_queries
from typer.main import get_command

from corechain.devnet.cluster import EVERYTHING, ClusterNetwork
from corechain.devnet.network import Network
from corechain.devnet.settings import Ports
from corechain.later import Later
from corechain.service.settings import PrivateKey
from corechain.services_asked import ROLE_LOOPS
from corechain_indexer.following import Role as IndexerRole
from corechain_indexer.metrics import Metrics as IndexerMetrics
from corechain_relayer.bridge.metrics import Metrics as BridgeMetrics
from corechain_relayer.metrics import Metrics as RelayerMetrics
from corechain_relayer.roles import Role as RelayerRole

PACKAGES = ("relayer", "indexer")
ROLES = {"relayer": list(RelayerRole), "indexer": list(IndexerRole)}
"""Services that can be run in parts."""
BOOK = REPOSITORY / "docs" / "operators"


def services() -> list[str]:
    """The first words of commands that run until they are stopped: `corechain SERVICE run`."""
    found = []
    for package in PACKAGES:
        project = tomllib.loads((REPOSITORY / package / "pyproject.toml").read_text())
        for entry in project["project"]["entry-points"]["corechain.commands"].values():
            module, _, register = entry.partition(":")
            app = typer.Typer()
            app.callback()(lambda: None)
            getattr(import_module(module), register)(app)
            groups = getattr(get_command(app), "commands", {})
            found += [n for n, group in groups.items() if "run" in inside(group)]
    return found


def inside(command: Any) -> dict[str, Any]:
    """The commands of a group, by name; of one that is loaded when it is called, too."""
    whole = command.loaded() if isinstance(command, Later) else command
    return getattr(whole, "commands", {})


PARTS = {role for roles in ROLES.values() for role in roles} | set(services()) - set(ROLES)
"""What is deployed by itself: roles, and services that have none."""


def parts_of(words: Sequence[str]) -> set[str]:
    """Of a command line without `corechain`: its roles, all of them where it names none."""
    service, command, *rest = words
    if command != "run":
        return set()
    named = {value for option, value in pairwise(rest) if option == "--role"}
    return named or set(ROLES.get(service, [service]))


def parts_of_all(commands: Iterable[Sequence[str]]) -> set[str]:
    return {part for words in commands for part in parts_of(words)}


def compose_services() -> dict[str, Any]:
    text = re.sub(r"\$\{[^}]*\}", "x", (DEPLOY / "compose.yaml").read_text())
    found: dict[str, Any] = yaml.safe_load(text)["services"]
    return {n: one for n, one in found.items() if (one.get("command") or [""])[0] in services()}


@pytest.fixture
def network(tmp_path: Path) -> Network:
    """All that `corechain up` can run, not started."""
    return Network(
        tmp_path, ports=Ports(), one_process=False, mqtt=True, bridge=True, challenger=True
    )


def processes(network: Network) -> Iterator[tuple[str, list[str]]]:
    for name in network._names:
        for one in network._processes(name):
            yield one.name, list(one._arguments)


def test_there_are_the_services_that_this_test_knows() -> None:
    assert set(services()) >= {"relayer", "indexer", "bridge", "challenger"}
    assert {"gateway", "mirror", "bridge", "challenger"} <= PARTS


def test_compose_has_each_service() -> None:
    assert parts_of_all(one["command"] for one in compose_services().values()) == PARTS


def test_the_manifests_have_each_service() -> None:
    commands = [one.container["args"] for one in Site("public").workloads(*SERVING)]
    assert parts_of_all(commands) == PARTS


def test_corechain_up_runs_each_service_and_status_asks_it(network: Network) -> None:
    found = dict(processes(network))
    assert parts_of_all(found.values()) == PARTS
    # `corechain status` asks gateway and indexer by addresses of their own.
    asked = {*network.shown_parts, "gateway", "indexer"}
    assert set(found) <= asked
    inside = PARTS - set(found) - set(ROLES["indexer"]) - {"mqtt"}
    assert inside <= set(ROLE_LOOPS), "a role within another process has no row"


def test_the_cluster_profile_runs_each_service_and_of_each_kind_the_copies_of_the_plan(
    tmp_path: Path,
) -> None:
    ports = {"RELAYER_OPS_PORT": "19711", "INDEXER_OPS_PORT": "19811", "BRIDGE_OPS_PORT": "19911"}
    cluster = ClusterNetwork(tmp_path, settings=ports, **EVERYTHING)
    found = [one for name in cluster._names for one in cluster._processes(name)]
    assert parts_of_all(one._arguments for one in found) == PARTS
    names = {one.name for one in found}
    assert names <= set(cluster.shown_parts)
    pairs = {f"{kind}-{n}" for kind in ("gateway", "api", "mirror", "challenger") for n in (1, 2)}
    assert names == pairs | {"guard", "submitter", "aggregator", "bridge"}
    own = [one.settings[name] for one in found for name in ports if name in one.settings]
    assert len(set(own)) == len(own) == len(found)


def test_prometheus_scrapes_each_service_of_one_host() -> None:
    jobs = {j["job_name"] for j in yaml.safe_load(CONFIGURATION.read_text())["scrape_configs"]}
    assert jobs == set(compose_services())


@pytest.mark.parametrize(
    "page",
    ["kubernetes.md", "install.md", "upgrade.md", "secure.md", "../architecture.md"],
)
def test_a_page_of_the_book_names_each_service(page: str) -> None:
    text = (BOOK / page).read_text().lower()
    assert [part for part in sorted(PARTS) if part not in text] == []


BY_HAND = {
    "RELAYER_PROPOSER_KEY": "of the command propose-rewards, which a person runs",
    "RELAYER_ADMIN_KEY": "of `corechain relayer rotate-key`, which a person runs",
    "RELAYER_GUARDIAN_KEY": "vetoes rewards: whoever is the token's guardian adds it",
    "BRIDGE_REGISTRAR_KEY": "of `corechain bridge station add`, which a person runs",
}
"""Private keys that no pod has, each with the reason."""


def private_keys() -> Iterator[tuple[str, str]]:
    """(service, name of the setting)."""
    for service, kind in SETTINGS.items():
        prefix = kind.ENV_PREFIX
        for name, one in kind.model_fields.items():
            if name.endswith("_key") and PrivateKey.__metadata__[0] in str_of(one):
                yield service, f"{prefix}{name.upper()}"


def str_of(field: Any) -> list[Any]:
    """What validates a field, also where it may be None."""
    inner = getattr(field.annotation, "__args__", ())
    return [*field.metadata, *(m for one in inner for m in getattr(one, "__metadata__", ()))]


def test_each_private_key_is_given_by_reference_or_by_hand() -> None:
    wanted = {name for _, name in private_keys()}
    assert {"RELAYER_SUBMITTER_KEY", "RELAYER_RECEIPT_KEY", "RELAYER_CHALLENGER_KEY"} <= wanted
    given = {
        entry["name"].removesuffix("_FILE")
        for one in Site("public").workloads()
        for entry in one.container.get("env", ())
        if entry["name"].endswith("_FILE")
    }
    assert wanted - given == set(BY_HAND)


def test_what_a_service_counts_under_its_name_is_in_alerts_and_panels() -> None:
    registries = [RelayerMetrics().registry, IndexerMetrics().registry, BridgeMetrics().registry]
    families = {family.name for registry in registries for family in registry.collect()}
    named = {p for p in PARTS if any(f.startswith(f"corechain_{p}_") for f in families)}
    assert {"guard", "watchtower", "challenger", "bridge"} <= named
    queries = "\n".join(query for _, query in panel_queries())
    rules = "\n".join(rule["expr"] for rule in alerts())
    for part in sorted(named):
        assert f"corechain_{part}_" in rules, f"no alert of {part}"
        assert f"corechain_{part}_" in queries, f"no panel of {part}"
