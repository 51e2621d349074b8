"""The network as a whole: it starts, breaks, is put together again, and cleans up after itself."""

import json
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.chain import reverted_after
from support.processes import eventually, family, mentioning, survivors
from support.readings import commit
from typer.testing import CliRunner

from corechain import kept_endpoints
from corechain.cli import app, load_plugins
from corechain.devnet.deploy import deploy_contracts
from corechain.devnet.errors import (
    ChainStateLost,
    DeploymentFailed,
    DirectoryInUse,
    MissingProgram,
    PortTaken,
    ServerDied,
    ServerNotStarted,
)
from corechain.devnet.homes import take_home
from corechain.devnet.network import Network
from corechain.devnet.programs import find_repository
from corechain.devnet.secret_files import ensure_key
from corechain.devnet.servers import rpc
from corechain.devnet.service import probe
from corechain.devnet.settings import CHALLENGER_KEY, Ports, UnknownService
from corechain.kept_endpoints import NetworkKilled
from corechain.status import find_places

RELAYER = ("relayer",)
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(deployed_home: Path, tmp_path: Path) -> Path:
    """A copy of it, to be broken at will."""
    return shutil.copytree(deployed_home, tmp_path / "home")


@pytest.fixture(scope="module")
def kept(deployed_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """One for all tests that leave it whole: a start costs three CPU seconds."""
    home = shutil.copytree(deployed_home, tmp_path_factory.mktemp("kept") / "home")
    with Network(home, ports=Ports.free(), services=RELAYER) as running:
        yield running


def ready(network: Network) -> bool:
    status, _ = probe(network.ports.relayer, "/ready")
    return status == 200


def test_a_started_network_is_ready_and_says_where_it_is(kept: Network) -> None:
    assert ready(kept)
    assert sorted(kept.pids()) == ["anvil", "postgres", "relayer", "valkey"]
    written = json.loads((kept.home / "endpoints.json").read_text())
    assert written["relayer"] == kept.urls.relayer
    assert written["pids"] == kept.pids()
    assert Path(written["deployment"]) == kept.manifest
    assert written["operator"]["RELAYER_RPC_URL"] == kept.urls.anvil
    assert written["operator"]["RELAYER_DATABASE_URL"] == kept.databases.database_url("relayer")


def test_the_embedded_network_guards_its_bond(kept: Network) -> None:
    """With a key of its own that can pay."""
    _, body = probe(kept.ports.relayer, "/ready")
    answer = json.loads(body)
    assert {"guard", "guard-answers", "guard-funds", "watchtower"} <= answer["loops"].keys()
    assert "warnings" not in answer
    keys = [v for name, v in kept.environment("relayer").items() if name.endswith("_KEY")]
    assert len(set(keys)) == len(keys) == 5


def test_a_second_start_in_the_same_home_goes_on_with_the_same_chain(
    deployed_home: Path, kept: Network
) -> None:
    assert int(rpc(kept.urls.anvil, "eth_blockNumber"), 16) > 0
    assert kept.manifest.read_text() == (deployed_home / "31337.json").read_text()


def test_a_stopped_network_leaves_no_process_and_no_endpoints(home: Path) -> None:
    steps: list[str] = []
    with Network(home, ports=Ports.free(), services=RELAYER, progress=steps.append) as network:
        members = [member for pid in network.pids().values() for member in family(pid)]
    assert survivors(members) == []
    assert not (home / "endpoints.json").exists()
    stops = [step for step in steps if step.startswith("stopping")]
    assert [step.split()[1] for step in stops] == ["relayer", "anvil", "valkey", "postgres"]


def test_parts_of_the_relayer_carry_a_report_together_and_start_again_alone(home: Path) -> None:
    with Network(home, ports=Ports.free(), services=RELAYER, one_process=False) as network:
        parts = {"guard", "submitter", "aggregator", "gateway"}
        assert parts < network.pids().keys()
        written = json.loads((home / "endpoints.json").read_text())
        assert written["parts"].keys() == parts
        assert written["parts"]["gateway"] == network.urls.relayer
        before = commit(network, "before", [1.0])
        network.kill("aggregator")
        network.restart("aggregator")
        assert commit(network, "after", [2.0]) == before + 1
        with pytest.raises(ValueError, match="no process"):
            network.kill("relayer")


@pytest.mark.parametrize("name", ["relayer", "postgres", "valkey", "anvil"])
def test_a_killed_process_can_be_restarted_at_its_address(kept: Network, name: str) -> None:
    pid = kept.pids()[name]
    kept.kill(name)
    assert name not in kept.pids()
    kept.restart(name)
    assert kept.pids()[name] != pid
    assert eventually(lambda: ready(kept))
    kept.check()


def test_a_process_that_dies_by_itself_is_reported_with_its_log(kept: Network) -> None:
    kept.check()
    os.kill(kept.pids()["relayer"], signal.SIGKILL)
    assert eventually(lambda: "relayer" not in kept.pids())
    with pytest.raises(ServerDied, match="relayer ended with exit code -9") as died:
        kept.check()
    assert "serving" in died.value.tail
    kept.restart("relayer")


def test_one_home_holds_one_network(kept: Network) -> None:
    with pytest.raises(DirectoryInUse):
        Network(kept.home, ports=Ports.free()).start()
    assert (kept.home / "endpoints.json").exists(), "the refused one must not tidy up"


def test_a_network_that_cannot_have_its_port_stops_what_it_started(home: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        ports = replace(Ports.free(), anvil=holder.getsockname()[1])
        with pytest.raises(PortTaken, match="--anvil-port") as refused:
            Network(home, ports=ports).start()
    assert refused.value.port == ports.anvil
    assert mentioning(home) == []


def test_a_service_that_refuses_its_settings_is_quoted(home: Path) -> None:
    wrong = {"RELAYER_MAX_READINGS": "0"}
    with pytest.raises(ServerNotStarted, match="relayer did not start") as refused:
        Network(home, ports=Ports.free(), services=RELAYER, settings=wrong).start()
    assert "RELAYER_MAX_READINGS" in refused.value.tail
    assert mentioning(home) == []


def test_a_service_that_is_never_ready_says_what_it_lacks(
    kept: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.kill("relayer")
    kept.kill("anvil")
    service = kept.server("relayer")
    words = r"not ready within 30 s .*failing: (\w+, )*node"  # others may be late, too
    with monkeypatch.context() as patch:
        patch.setattr(service, "start_limit_s", 30.0)  # a busy machine takes ten to answer at all
        with pytest.raises(ServerNotStarted, match=words) as refused:
            service.start()
    assert "view not refreshed" in refused.value.tail
    assert not service.running
    kept.restart("anvil")
    kept.restart("relayer")


def test_a_chain_that_was_lost_is_not_mixed_with_what_the_databases_remember(home: Path) -> None:
    shutil.rmtree(home / "anvil")
    with pytest.raises(ChainStateLost, match="--fresh"):
        Network(home, ports=Ports.free(), services=()).start()
    assert mentioning(home) == []


@pytest.mark.parametrize("left", [0, 3, 8], ids=["none", "some", "all but the lane"])
def test_a_deployment_that_was_interrupted_is_completed_at_the_next_start(
    home: Path, left: int
) -> None:
    manifest = home / "31337.json"
    whole = json.loads(manifest.read_text())
    by_block = sorted(whole["contracts"].items(), key=lambda item: int(item[1]["block"]))
    part = whole | {"contracts": dict(by_block[:left]), "finished": False}
    manifest.write_text(json.dumps(part))
    with Network(home, ports=Ports.free(), services=()):
        assert json.loads(manifest.read_text()) == whole


def test_a_fresh_network_forgets_and_touches_nothing_that_is_not_its_own(home: Path) -> None:
    (home / "notes.txt").write_text("mine")
    (home / "data").mkdir(exist_ok=True)
    (home / "data" / "old.ccdf").write_text("old")
    with Network(home, ports=Ports.free(), services=(), fresh=True) as network:
        assert int(rpc(network.urls.anvil, "eth_blockNumber"), 16) <= 11, "a deployment, no more"
    assert (home / "notes.txt").read_text() == "mine"
    assert not (home / "data" / "old.ccdf").exists()


def test_settings_reach_their_service_alone(tmp_path: Path) -> None:
    extra = {"RELAYER_MAX_READINGS": "9", "INDEXER_CONFIRMATIONS": "3"}
    network = Network(tmp_path, ports=Ports.free(), settings=extra, price=5)
    relayer, indexer = network.environment("relayer"), network.environment("indexer")
    assert relayer["RELAYER_MAX_READINGS"] == "9"
    assert indexer["INDEXER_CONFIRMATIONS"] == "3"
    assert indexer["INDEXER_PRICE_PER_QUERY"] == "5"
    assert all(name.startswith("RELAYER_") for name in relayer)
    assert all(name.startswith("INDEXER_") for name in indexer)


def test_each_process_of_a_relayer_has_a_port_for_operations_of_its_own(tmp_path: Path) -> None:
    network = Network(tmp_path, settings={"RELAYER_OPS_PORT": "19711"}, one_process=False)
    found = [one.settings["RELAYER_OPS_PORT"] for one in network._processes("relayer")]
    assert found == ["19711", "19712", "19713", "19714"]
    for kept in ("0", "a port"):
        network = Network(tmp_path, settings={"RELAYER_OPS_PORT": kept}, one_process=False)
        assert network._processes("relayer")[3].settings["RELAYER_OPS_PORT"] == kept


def test_gateway_and_aggregator_of_a_network_share_a_key_that_only_its_owner_reads(
    kept: Network, tmp_path: Path
) -> None:
    file = Path(kept.environment("relayer")["RELAYER_FRAME_KEY_FILE"])
    assert file.stat().st_mode & 0o777 == 0o600
    made = file.read_text()
    assert len(bytes.fromhex(made)) == 32
    ensure_key(file)
    assert file.read_text() == made
    ensure_key(tmp_path / "other")
    assert (tmp_path / "other").read_text() != made
    chosen = Network(kept.home, settings={"RELAYER_FRAME_KEY": "1" * 64})
    assert "RELAYER_FRAME_KEY_FILE" not in chosen.environment("relayer")


def test_names_that_mean_nothing_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UnknownService, match="gateway"):
        Network(tmp_path, settings={"GATEWAY_PORT": "1"})
    with pytest.raises(UnknownService, match="explorer"):
        Network(tmp_path, services=("explorer",))
    with pytest.raises(ValueError, match=r"no process .* 'relayer'"):
        Network(tmp_path).kill("relayer")


def test_the_chain_is_after_a_test_as_it_was_before(anvil: str) -> None:
    before = rpc(anvil, "eth_getBlockByNumber", "latest", False)
    with reverted_after(anvil):
        rpc(anvil, "anvil_mine", "0x5")
        assert rpc(anvil, "eth_blockNumber") != before["number"]
    assert rpc(anvil, "eth_getBlockByNumber", "latest", False) == before


def test_a_second_deployment_changes_nothing(
    anvil: str, deployment: Path, chain_state: None
) -> None:
    before, block = deployment.read_text(), rpc(anvil, "eth_blockNumber")
    said: list[str] = []
    deploy_contracts(REPOSITORY, anvil, deployment, said.append)
    assert deployment.read_text() == before
    assert rpc(anvil, "eth_blockNumber") == block
    assert any("already there" in line for line in said)


def test_a_deployment_that_fails_is_quoted(anvil: str, tmp_path: Path) -> None:
    with pytest.raises(DeploymentFailed, match="exit code") as failed:
        deploy_contracts(tmp_path, anvil, tmp_path / "manifest.json")
    assert "deploy" in failed.value.output


def test_a_checkout_is_found_from_below_and_an_editable_install_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_repository(REPOSITORY / "tests" / "sdk") == REPOSITORY
    monkeypatch.chdir(tmp_path)
    assert find_repository() == REPOSITORY
    with pytest.raises(MissingProgram, match="inside a checkout"):
        find_repository(tmp_path)


def test_a_chosen_repository_comes_first_and_must_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = tmp_path / "checkout"
    (chosen / "scripts").mkdir(parents=True)
    (chosen / "scripts" / "deploy.py").touch()
    monkeypatch.setenv("CORECHAIN_REPOSITORY", str(chosen))
    with pytest.raises(MissingProgram, match="correct CORECHAIN_REPOSITORY"):
        find_repository()
    (chosen / "ape-config.yaml").touch()
    assert find_repository() == chosen
    assert find_repository(REPOSITORY) == REPOSITORY


def test_the_challenger_has_the_relayers_settings_but_not_its_places(tmp_path: Path) -> None:
    given = {
        "RELAYER_POLL_S": "3",
        "RELAYER_DATABASE_URL": "postgresql://the-relayers",
        "RELAYER_CHALLENGER_KEY_FILE": "/run/secrets/challenger",
    }
    network = Network(tmp_path, ports=Ports.free(), settings=given, challenger=True)
    found = network.environment("challenger")
    assert found["RELAYER_POLL_S"] == "3"
    assert found["RELAYER_DATABASE_URL"].endswith("/challenger")
    # A key and its file at once are refused: the one that is given counts.
    assert found["RELAYER_CHALLENGER_KEY_FILE"] == "/run/secrets/challenger"
    assert "RELAYER_CHALLENGER_KEY" not in found
    assert Network(tmp_path).environment("challenger")["RELAYER_CHALLENGER_KEY"] == CHALLENGER_KEY


def test_a_setting_of_the_challenger_begins_as_the_relayers(tmp_path: Path) -> None:
    with pytest.raises(UnknownService, match="begin with RELAYER_"):
        Network(tmp_path, settings={"CHALLENGER_KEY": "0x11"})


def test_nobody_is_taken_for_a_network_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever got its ports would be asked, and sent reports and transactions."""
    written = {"anvil": "a", "relayer": "b", "indexer": "c", "deployment": "d"}
    with take_home(tmp_path):
        (tmp_path / "endpoints.json").write_text(json.dumps(written))
        assert find_places(tmp_path, {}).rpc == "a"
    with pytest.raises(NetworkKilled, match="start it again"):
        find_places(tmp_path, {"rpc": "x", "api": "y"})
    assert find_places(tmp_path, {"rpc": "x"}, {"rpc"}).gateway == "http://127.0.0.1:8701"
    load_plugins()
    done = CliRunner().invoke(app, ["query", "devices", "--home", str(tmp_path)])
    assert isinstance(done.exception, NetworkKilled)
    with monkeypatch.context() as patch:
        written_file = tmp_path / "endpoints.json"
        patch.setattr(kept_endpoints, "_is_free", lambda _: written_file.unlink() is None)
        assert find_places(tmp_path, {}).gateway == "http://127.0.0.1:8701", "stopped meanwhile"
    with take_home(tmp_path):
        assert not (tmp_path / "endpoints.json").exists(), "not even while the next one starts"
