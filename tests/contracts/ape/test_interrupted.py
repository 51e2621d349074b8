"""given a deployment that is interrupted
├── between any two contracts, before or after the manifest is written:
│   the next run ends with the manifest of a run that was never interrupted
├── and its manifest lost: the blocks and transactions are found on the chain
├── by blocks that the manifest never learned (0, null), as older scripts wrote them: found, too
└── with other parameters than the manifest's: the old one stays beside the new one
"""

import json
from dataclasses import replace

import pytest
from eth_utils.crypto import keccak

CONTRACTS = 8


class Killed(BaseException):
    """What no `except` of ours may hold up."""


def dying_at(kind, count, written):
    """A manifest in whose `add` number `count` the process ends: before it writes, or after."""

    class Dying(kind):
        def add(self, name, entry):
            if written or len(self.entries) < count:
                super().add(name, entry)
            if len(self.entries) >= count:
                raise Killed

    return Dying


def entries(path):
    return json.loads(path.read_text())["contracts"]


@pytest.fixture
def fresh(parameters, request):
    """Parameters under which nothing is deployed yet."""
    return replace(parameters, salt=keccak(text=request.node.name))


@pytest.mark.parametrize("count", range(CONTRACTS + 1))
@pytest.mark.parametrize("written", [True, False], ids=["written", "unwritten"])
def test_the_next_run_ends_as_if_nothing_had_happened(
    deploy, fresh, run_script, chain, tmp_path, count, written
):
    start = chain.snapshot()
    expected = run_script(fresh, tmp_path / "whole.json").entries
    chain.restore(start)
    path = tmp_path / "31337.json"
    if count < CONTRACTS + written:
        with pytest.raises(Killed):
            run_script(fresh, path, dying_at(deploy.Manifest, count, written))
    run_script(fresh, path)
    assert entries(path) == expected
    assert len(expected) == CONTRACTS
    assert json.loads(path.read_text())["finished"] is True


def test_a_lost_manifest_is_found_again_on_the_chain(fresh, run_script, chain, tmp_path):
    path = tmp_path / "31337.json"
    expected = dict(run_script(fresh, path).entries)
    path.unlink()
    chain.mine(50)
    assert run_script(fresh, path).entries == expected


@pytest.mark.parametrize("wrong", [0, None, 1, 10**6, "7"])
def test_a_block_that_cannot_be_is_not_believed(fresh, run_script, chain, tmp_path, wrong):
    chain.mine(3)
    path = tmp_path / "31337.json"
    expected = dict(run_script(fresh, path).entries)
    document = json.loads(path.read_text())
    for entry in document["contracts"].values():
        entry["block"] = wrong
    path.write_text(json.dumps(document))
    assert run_script(fresh, path).entries == expected


def test_a_manifest_of_other_parameters_is_kept_beside(
    deploy, fresh, run_script, chain, capsys, tmp_path
):
    path = tmp_path / "31337.json"
    before = dict(run_script(fresh, path).entries)
    other = replace(fresh, salt=keccak(text="other"))
    with pytest.raises(Killed):
        run_script(other, path, dying_at(deploy.Manifest, 2, written=True))
    assert len(entries(path)) == 2
    assert entries(tmp_path / "31337.old.json") == before
    assert "31337.old.json" in capsys.readouterr().out
