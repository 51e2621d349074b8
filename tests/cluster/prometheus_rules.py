"""Alert rules and dashboards in a real Prometheus. `make test-prometheus` runs this, for it fetches
Debian's package; the plain suite does not collect it.

given the rules
  promtool finds no fault in them, nor in the scrape configuration
  each alert fires on what it is for, and stays quiet on its nearest neighbour
given a network under a little load, scraped by the jobs of deploy/prometheus
  each job answers
  each metric that rules and dashboards name is one that a process exposes
  each query is understood, and has an answer unless what it counts never happened
  an alert fires when a process is killed, and ends when it is back
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.cluster import record
from support.monitoring import (
    ALERT_TESTS,
    ALERTS,
    CONFIGURATION,
    alerts,
    families,
    panel_queries,
)
from support.processes import eventually
from support.prometheus import PrometheusServer, promtool

from corechain.account import account_from_key
from corechain.client import Client
from corechain.devnet.network import Network
from corechain.devnet.settings import ADMIN_KEY, Ports
from corechain.devnet.weather import read_rows
from corechain.protocol.errors import ReplayedSequence
from corechain.protocol.keys import Secp256k1Key

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS = {"RELAYER_MAX_READINGS": "64", "RELAYER_MAX_AGE_S": "1"}
STANDS_FOR = {"mirror": "indexer", "api": "indexer", "mqtt": "gateway"}
"""A job of compose.yaml, and the process that does its work in a network on one machine."""
NEVER_HAPPENED = {
    "corechain_archive_failures",
    "corechain_bypassed",
    "corechain_challenger_frauds",
    "corechain_dead_letters",
    "corechain_frames_unvouched",
    "corechain_intents_held",
    "corechain_refused_early",
    "corechain_requests_refused",
    "corechain_rpc_quarantined",
    "corechain_answers_incomplete",
    "corechain_not_modified",
    "corechain_series_away",  # of an InfluxDB, which this network has not
    "corechain_series_stale",
    "corechain_shard_away",  # of an index that is divided
}
"""Counted by a label that only the trouble itself gives a value: no series before the first."""


def test_promtool_finds_no_fault() -> None:
    for words in (["rules", ALERTS], ["config", "--syntax-only", CONFIGURATION]):
        said = promtool("check", *words)
        assert said.returncode == 0, said.stdout + said.stderr
    assert f"SUCCESS: {len(alerts())} rules found" in promtool("check", "rules", ALERTS).stdout


def test_each_alert_fires_when_it_should_and_not_otherwise() -> None:
    said = promtool("test", "rules", ALERT_TESTS)
    assert said.returncode == 0, said.stdout + said.stderr


# ------------------------------------------------------------------ a running network


@pytest.fixture(scope="module")
def network(deployed_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    home = shutil.copytree(deployed_home, tmp_path_factory.mktemp("watched") / "home")
    more = {"bridge": True, "challenger": True}
    options = {"settings": SETTINGS, "one_process": False, **more}
    with Network(home, ports=Ports.free(), repository=REPOSITORY, **options) as running:
        load(running)
        yield running


def load(network: Network) -> None:
    """Reports, one of them refused, through to queries for what became of them."""
    urls, key = network.urls, Secp256k1Key(bytes(31) + b"\x07")
    account = account_from_key(ADMIN_KEY)
    with Client(urls.indexer, urls.relayer, urls.anvil, network.deployment, account) as client:
        client.register_device(key)
        rows = [row.observations for row in read_rows([2])[:20]]
        reports = [client.sign_report(key, number, row) for number, row in enumerate(rows, 1)]
        client.send_reports(reports)
        with pytest.raises(ReplayedSequence):
            client.send_reports(reports[:1])
        assert eventually(lambda: client.status()["readings"] > 0)
        client.readings(device=key.identity.device, metric="pressure", limit=5)


@pytest.fixture(scope="module")
def prometheus(
    network: Network, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrometheusServer]:
    configuration = yaml.safe_load(CONFIGURATION.read_text())
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(ALERTS)]
    jobs = configuration["scrape_configs"]
    for job in jobs:
        process = STANDS_FOR.get(job["job_name"], job["job_name"])
        target = network.server(process).url.removeprefix("http://")
        job["static_configs"] = [{**job["static_configs"][0], "targets": [target]}]
    with PrometheusServer(tmp_path_factory.mktemp("prometheus"), configuration) as server:
        # Rates are made of two scrapes at least.
        assert eventually(lambda: len(server.values("count_over_time(up[1m]) > 15")) == len(jobs))
        yield server


def test_each_job_of_the_scrape_configuration_answers(prometheus: PrometheusServer) -> None:
    jobs = {one["metric"]["job"]: one["value"][1] for one in prometheus.values("up")}
    relayer = {"gateway", "mqtt", "aggregator", "submitter", "guard"}
    wanted = relayer | {"mirror", "api", "bridge", "challenger"}
    assert jobs == dict.fromkeys(wanted, "1")


def test_each_metric_that_is_named_is_exposed(prometheus: PrometheusServer) -> None:
    exposed = {name.removesuffix("_total") for name in prometheus.asked("metadata")}
    queries = [*panel_queries(), *((rule["alert"], rule["expr"]) for rule in alerts())]
    unknown = {title: families(query) - exposed for title, query in queries}
    assert not {title: names for title, names in unknown.items() if names}


def test_each_panel_has_an_answer_unless_what_it_counts_never_happened(
    prometheus: PrometheusServer,
) -> None:
    asked = list(panel_queries())
    wanted = [query for _, query in asked if not families(query) & NEVER_HAPPENED]
    assert eventually(lambda: all(map(prometheus.values, wanted))), [
        query for query in wanted if not prometheus.values(query)
    ]
    empty = [query for _, query in asked if not prometheus.values(query)]
    record("dashboards", queries=len(asked), without_answer=len(empty))


def test_each_rule_is_evaluated_and_a_healthy_network_is_quiet(
    prometheus: PrometheusServer,
) -> None:
    groups = prometheus.asked("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(alerts())
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}
    assert {rule["name"] for rule in rules if rule["state"] == "firing"} == set()


def test_an_alert_is_pending_while_a_process_is_gone_and_ends_when_it_is_back(
    prometheus: PrometheusServer, network: Network
) -> None:
    def pending() -> set[str]:
        found = prometheus.asked("alerts")["alerts"]
        return {one["labels"].get("job", one["labels"]["alertname"]) for one in found}

    network.kill("aggregator")
    assert eventually(lambda: {"aggregator", "LaneWithoutAggregator"} <= pending())
    network.restart("aggregator")
    assert eventually(lambda: not {"aggregator", "LaneWithoutAggregator"} & pending())
