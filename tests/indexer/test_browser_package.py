"""@corechain/verify as somebody installs it, against a running index and a chain.

given the package, packed and installed into a project of its own
  the project compiles by the types of the API that runs, and has each answer proven by its node
  an answer that lies is refused, by the name that Python has for it, at the step that shows it
"""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

from support.verify_package import PACKAGE, PLACE, built, compile_app, installed_in, run

from corechain.account import account_from_key
from corechain.devnet.settings import SUBMITTER_KEY
from corechain.protocol.archive import Group
from indexer.support import CELL, START, Driven, World, device_of
from indexer.test_openapi_conformance import serving

DAY_S = 86_400


def project_in(folder: Path) -> Path:
    project = folder / "app"
    shutil.copytree(PACKAGE / "test" / "app", project)
    installed_in(project)
    compile_app(project)
    return project


def commit_group(world: World) -> list[bytes]:
    """Two batches in one word: only the log has their commitments."""
    words = [bytes([n]) * 26 for n in (7, 8)]
    account, group = account_from_key(SUBMITTER_KEY), Group(world.number + 1, words)
    world.chain.send(account, "DataBatches", "commitMany", group.first_batch_id, group.packed)
    return words


def place_of(world: World, api: str) -> dict[str, Any]:
    contracts = world.chain.deployment
    batches = contracts.contract("DataBatches")
    return {
        "api": api,
        "rpc": world.chain.rpc_url,
        "chainId": contracts.chain_id,
        "dataBatches": "0x" + batches.address.hex(),
        "coreToken": "0x" + contracts.address("CoreToken").hex(),
        "firstBlock": batches.block,
        "device": device_of(world),
        "cell": f"{CELL:015x}",
        "window": [START, START + 3 * DAY_S],
    }


async def test_a_project_has_answers_proven_by_its_own_node(
    world: World, served: Driven, tmp_path: Path
) -> None:
    words = commit_group(world)
    async with serving(served) as api:
        project = await asyncio.to_thread(project_in, tmp_path)
        place = json.dumps(place_of(world, api))
        found = json.loads(await asyncio.to_thread(run, ["node", "ask.js", place], project))
    check_proven(found, world)
    assert found["logged"] == ",".join(map(str, words[1]))
    assert found["lies"] == {
        "value": ["InvalidProof", "commitment", False, True],
        "sum": ["InvalidProof", "total", False, True],
        "shown": ["WrongAnswer", "question", False, True],
        "other": ["RangeIncomplete", "question", False, False],
        "unknown": ["UnknownBatch", "commitment", False, False],
        "nowhere": ["ChainUnavailable", "chain", False, False],
        "away": "UnknownBatch",
        "elsewhere": "WrongChain",
        "nobody": "WrongChain",
    }


def check_proven(found: dict[str, Any], world: World) -> None:
    batches = [[number, "verified"] for number in (1, 2, 3)]
    assert found["typed"] == {"batches": batches, "mean": (101_000 + 1.5) / 100}
    assert found["reading"]["value"]["position"] == 1
    page = found["page"]
    assert (len(page["value"]["readings"]), len(page["more"]["value"]["readings"])) == (10, 10)
    statistics, region = found["statistics"], found["region"]
    assert statistics["value"]["count"] == 12
    assert region["value"]["count"] == 24 - len(world.keys)
    assert {"header", "range", "gap", "total"} <= {*statistics["checks"]}
    assert {"leaves", "range"} <= {*region["checks"]}
    assert found["batch"]["value"]["header"]["batchId"] == 3
    assert found["root"] == 0


def test_the_package_has_types_of_every_path_that_is_served() -> None:
    built()
    document = json.loads(PLACE.read_text())
    types = (PACKAGE / "src" / "api.ts").read_text()
    assert all(f'"{path}": {{' in types for path in document["paths"])
