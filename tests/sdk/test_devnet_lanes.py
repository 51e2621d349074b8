"""A local network that is grown: lanes besides the first, and processes besides those it had.

given a chain with lane 0
  when a second lane is asked for, once or twice
    it is bonded by a submitter of its own
given a network's home with ports for some processes
  when it is asked for more of them
    those that were known keep theirs, the new ones get others
"""

from pathlib import Path

import pytest

from corechain.account import account_from_key
from corechain.chain import Chain
from corechain.deployment import load_deployment
from corechain.devnet.lanes import SUBMITTER_KEYS, bond_lanes, lane_settings, numbered
from corechain.devnet.patroni import kept_ports


@pytest.mark.usefixtures("chain_state")
def test_a_second_lane_has_a_submitter_of_its_own(anvil: str, deployment: Path) -> None:
    chain = Chain(anvil, load_deployment(deployment))
    for _ in range(2):
        bond_lanes(chain, 2)
    submitters = [chain.call("DataBatches", "submitterOf", lane) for lane in (0, 1)]
    keys = [account_from_key(key).address for key in SUBMITTER_KEYS]
    assert [str(one).lower() for one in submitters] == [key.lower() for key in keys]
    assert lane_settings(1)["RELAYER_LANE"] == "1"
    assert [numbered("submitter", lane) for lane in (0, 1)] == ["submitter", "submitter-1"]


def test_more_processes_get_ports_beside_those_that_are_known(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    few = kept_ports(file, ["api", "mirror"])
    more = kept_ports(file, ["api", "mirror", "submitter-1"])
    assert {name: more[name] for name in few} == few
    every = [port for ports in more.values() for port in ports]
    assert len(set(every)) == 6
    assert kept_ports(file, ["api"]) == more
