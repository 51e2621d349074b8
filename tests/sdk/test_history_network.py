"""Histories and streams of a running network: both clients, the commands, the documentation.

given the network with readings of a new device in two batches
  both clients read the same history, proven, and the blocks of code of docs/developers.md run
  `corechain history` and `corechain export` show and write it; a second run needs --resume
  `corechain stream` prints what happened, and posts it, signed, to a webhook
"""

import asyncio
import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pytest
from support.command import corechain
from support.processes import PATIENCE_S, eventually
from support.readings import CELL, HOUR_S, NOON, client_of, temperatures
from support.receivers import listening

from corechain import AsyncClient, BatchEvent
from corechain.devnet.network import Network
from corechain.history_files import State
from corechain.protocol.hashing import keccak
from corechain.protocol.keys import Secp256k1Key

DOCS = Path(__file__).parents[2] / "docs" / "developers.md"
KEY = Secp256k1Key(keccak(b"a device with a history"))
DEVICE = KEY.identity.device
HEX = "0x" + DEVICE.hex()
Events = list[BatchEvent]
VALUES = [1.5, 2.5, 3.5, 4.5]


@pytest.fixture(scope="module")
def told(network: Network) -> Events:
    """What the stream has told of the device's two batches."""
    found: list[BatchEvent] = []
    with client_of(network) as client, client_of(network) as listener:
        client.register_device(KEY)
        events = listener.stream(device=DEVICE)
        thread = Thread(target=lambda: found.extend(islice(_new(events), 2)))
        thread.start()
        assert eventually(lambda: events.cursor is not None)
        for number in (1, 2):
            start = NOON + (number - 1) * 4 * HOUR_S
            report = client.sign_report(KEY, number, temperatures(VALUES, start))
            client.send_reports([report])
            wanted = 4 * number
            assert eventually(lambda wanted=wanted: _count(client) == wanted)
        thread.join(PATIENCE_S)
    assert [event.readings for event in found] == [4, 4]
    return found


def _new(events: Iterator[BatchEvent]) -> Iterator[BatchEvent]:
    return (event for event in events if event.type == "new")


def _count(client: Any) -> int:
    return len(client.readings(device=DEVICE, limit=100))


def test_both_clients_read_the_same_proven_history(network: Network, told: Events) -> None:
    asked = {"device": DEVICE, "metric": "air_temperature", "start": NOON}
    with client_of(network) as client:
        found = list(client.history(**asked, end=NOON + 7 * HOUR_S))
        values = [one.reading.value for one in found]
        assert values == [150, 250, 350, 450] * 2
        last = list(client.history(region=CELL, device=DEVICE, newest_first=True))
        assert last[0].reading == found[-1].reading
        assert len({one.batch_id for one in found}) == 2

        async def ask() -> Any:
            urls = client.api_url, client.gateway_url, client.rpc_url, client.deployment
            async with AsyncClient(*urls) as other:
                history = other.history(**asked)
                rows = [one async for one in history]
                pages = [page async for page in other.history(**asked).pages()]
                frame = await other.history(**asked).to_pandas()
                return rows, sum(len(batch) for page in pages for batch in page.batches), frame

        rows, count, frame = asyncio.run(ask())
    assert rows[: len(found)] == found
    assert (count, len(frame)) == (8, 8)


def test_the_code_of_the_documentation_runs(network: Network, told: Events, tmp_path: Path) -> None:
    text = DOCS.read_text()
    section = text[text.index("## History") : text.index("## What happens to batches")]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert blocks
    with client_of(network) as client:
        names = {"client": client, "device": HEX, "cell": CELL, "print": lambda *_: None}
        for block in blocks:
            # Files go to a folder of the test's.
            exec(block.replace('"may.', f'"{tmp_path}/may.'), names)
    assert {path.name for path in tmp_path.iterdir()} == {"may.csv", "may.parquet"}


def test_the_commands_show_and_write_a_history(
    network: Network, told: Events, tmp_path: Path
) -> None:
    home = ("--home", network.home)
    shown = corechain("history", "--device", HEX, "--limit", "3", *home)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "2013-02-01T12:00:00Z" in shown.stdout
    assert shown.stdout.count("air_temperature") == 3
    lines = corechain("history", "--device", HEX, "--limit", "0", "--json", *home)
    rows = [json.loads(line) for line in lines.stdout.splitlines()]
    assert [row["quantity"] for row in rows] == VALUES * 2
    for name in ("h.csv", "h.parquet"):
        path = tmp_path / name
        done = corechain("export", path, "--device", HEX, "--json", *home)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout) == {"readings": 8, "gaps": [], "lanes": [0]}
        assert path.exists()
    left = msgspec.json.encode(State("another question", "csv", "a cursor", 100, 2))
    for state, what in ((left, "--resume"), (b"{}", "it is no state of an export")):
        (tmp_path / "left.csv.part.state").write_bytes(state)
        again = corechain("export", tmp_path / "left.csv", "--device", HEX, *home)
        assert (again.returncode, what in again.stderr) == (1, True)


def test_the_stream_is_printed_and_posted(network: Network, told: Events, tmp_path: Path) -> None:
    kept, first, second = tmp_path / "cursor", *told
    home = ("--home", network.home)
    since = ("stream", "--since", first.cursor, "--device", HEX, "--count", "1", *home)
    printed = corechain(*since)
    assert (printed.returncode, printed.stderr) == (0, "")
    assert json.loads(printed.stdout)["type"] in ("new", "final")
    with listening() as (url, bodies):
        bare = corechain(*since, "--webhook", url)
        assert (bare.returncode, bodies) == (2, []), "without a secret nothing is sent"
        secret = {"CORECHAIN_WEBHOOK_SECRET": "a secret of sixteen or more"}
        done = corechain(*since, "--webhook", url, "--cursor-file", kept, changes=secret)
        assert (done.returncode, done.stderr) == (0, "")
    (posted,) = map(json.loads, bodies)
    assert posted == json.loads(printed.stdout)
    assert posted["id"] > first.id
    assert kept.read_text().strip() == posted["cursor"]
    assert second.id > first.id
