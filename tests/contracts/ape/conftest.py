"""The contracts as `ape run deploy` puts them on a chain, driven through Ape."""

import importlib.util
import sys
from pathlib import Path

import pytest
from ape_ethereum.trace import Trace

ROOT = Path(__file__).resolve().parents[3]
# Ape builds and prints a call trace for every revert, expected ones too: half a second each.
Trace.show = lambda *_, **__: None


def load_script():
    """scripts/deploy.py as a module: the deployment under test is the one that people run."""
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))  # as Ape does for the scripts it runs
    spec = importlib.util.spec_from_file_location("deploy_script", ROOT / "scripts" / "deploy.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def deploy():
    return load_script()


@pytest.fixture(scope="session")
def parameters(deploy):
    return deploy.read_parameters(deploy.FOLDER / "ethereum-local.yaml")


@pytest.fixture(scope="session")
def run_script(deploy, provider, accounts):
    """Deploys as the command does, into a manifest of the caller's choice."""

    def run(parameters, path, kind=None):
        plan = deploy.plan_all(parameters)
        chain_id = deploy.chain_id_of(provider)
        addresses = [planned.address for planned in plan]
        given = (parameters.roles, addresses, parameters.bridge_weight_bps)
        opened = (kind or deploy.Manifest).open(path, chain_id, *given)
        deploy.deploy_all(plan, accounts[0], provider, opened)
        deploy.activate_lane(opened, parameters, accounts[0])
        opened.finish()
        return opened

    return run


@pytest.fixture(scope="session")
def manifest(parameters, run_script, tmp_path_factory):
    """Of the contracts on the chain that Ape has started."""
    return run_script(parameters, tmp_path_factory.mktemp("deployments") / "31337.json")


@pytest.fixture(scope="session")
def deployed(manifest):
    """Name → manifest entry."""
    return manifest.entries


@pytest.fixture(scope="session")
def provider(networks):
    return networks.provider


@pytest.fixture(scope="session")
def contract(deployed, project):
    def at(name):
        return getattr(project, name).at(deployed[name]["address"])

    return at


@pytest.fixture
def chain_id(provider):
    return int(provider.web3.eth.chain_id)
