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
def deployed(deploy, parameters, provider, accounts):
    """Name → manifest entry, on the chain that Ape has started."""
    entries = {
        planned.name: deploy.deploy_one(planned, accounts[0], provider, {})
        for planned in deploy.plan_all(parameters)
    }
    deploy.activate_lane(entries, parameters, accounts[0])
    return entries


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
