"""A bus that loses what it acknowledged: refused at start, noticed later, and never lied about.

given a bus whose server keeps nothing on disk
  when a relayer starts
    it says which setting is wrong, and ends
  when the operator vouches for it, and the server is killed
    the loss is in log, metric and /ready
    what was lost is accepted when it is sent again, and counted once
    what was not lost is still refused as delivered
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.valkey import LossyValkeyServer, command

from corechain.devnet.servers import ValkeyServer
from relayer.conftest import Start
from relayer.support import Chain, RelayerProcess, Sensor, eventually
from relayer.test_crash import committed_reports, key_of
from relayer.test_outage import metric

REGRESSED = "corechain_bus_regressed_total"


@pytest.fixture
def lossy(tmp_path: Path) -> Iterator[ValkeyServer]:
    with LossyValkeyServer(tmp_path / "lossy") as server:
        yield server


def test_a_relayer_does_not_start_on_a_bus_that_keeps_nothing(
    environment: dict[str, str], lossy: ValkeyServer, tmp_path: Path
) -> None:
    process = RelayerProcess(environment | {"RELAYER_BUS_URL": lossy.url}, tmp_path)
    process.launch()
    assert process.wait() == 2
    last = process.log_path.read_text().splitlines()[-1]
    assert last.startswith("error: RELAYER_BUS_URL: the bus's server is not durable: appendonly is")


def test_a_bus_that_turns_out_wrong_later_refuses_reports_until_it_is_right(
    start: Start, sensor: Sensor, tmp_path: Path
) -> None:
    with ValkeyServer(tmp_path / "valkey") as server:
        relayer = start("gateway", RELAYER_BUS_URL=server.url)
        assert relayer.send(sensor.report()).status_code == 202
        command(server.port, "CONFIG", "SET", "appendfsync", "everysec")
        eventually(lambda: "appendfsync is 'everysec'" in relayer.reason("bus"))
        answer = relayer.send(sensor.report())
        assert answer.status_code == 503
        assert "appendfsync" in answer.json()["detail"]
        command(server.port, "CONFIG", "SET", "appendfsync", "always")
        eventually(lambda: relayer.send(sensor.report()).status_code == 202)


@pytest.mark.parametrize("others", [(), ("aggregator", "submitter")], ids=["alone", "all roles"])
def test_what_the_bus_lost_is_noticed_and_accepted_again(
    start: Start,
    sensor: Sensor,
    chain: Chain,
    lossy: ValkeyServer,
    tmp_path: Path,
    others: tuple[str, ...],
) -> None:
    vouched = {"RELAYER_BUS_URL": lossy.url, "RELAYER_BUS_VOUCHED": "true"}
    relayer = start("gateway", *others, RELAYER_MAX_AGE_S="3600", **vouched)
    lost = [sensor.report() for _ in range(5)]
    for report in lost:
        assert relayer.send(report).status_code == 202
    lossy.kill()
    lossy.start()

    def taken_again() -> bool:
        """what was lost is accepted; as delivered it must not be known"""
        answer = relayer.send(lost[0])
        assert answer.status_code in (202, 503), answer.text
        return bool(answer.status_code == 202)

    eventually(taken_again)
    for report in lost[1:]:
        assert relayer.send(report).status_code == 202
    # These are on the bus now, and nobody took that back.
    assert relayer.send(lost[0]).json()["type"] == "urn:corechain:error:ReplayedSequence"
    assert metric(relayer, REGRESSED) == 1
    (warning,) = [text for text in relayer.get("/ready").json()["warnings"] if "bus" in text]
    assert "5 acknowledged frames" in warning
    assert [e for e in relayer.events() if e["event"] == "bus lost acknowledged frames"]
    relayer.kill()
    start("aggregator", "submitter", **vouched)
    wanted = Counter(map(key_of, lost))
    eventually(lambda: committed_reports(chain, tmp_path / "data") == wanted)


def test_what_was_in_a_batch_before_the_loss_is_delivered_all_the_same(
    start: Start, sensor: Sensor, chain: Chain, lossy: ValkeyServer, tmp_path: Path
) -> None:
    relayer = start(RELAYER_BUS_URL=lossy.url, RELAYER_BUS_VOUCHED="true")
    sealed = sensor.report()
    assert relayer.send(sealed).status_code == 202
    eventually(chain.commitments)
    lossy.kill()
    lossy.start()
    eventually(lambda: relayer.send(sensor.report()).status_code == 202)
    answer = relayer.send(sealed)
    assert answer.json()["type"] == "urn:corechain:error:ReplayedSequence"
    eventually(lambda: committed_reports(chain, tmp_path / "data")[key_of(sealed)] == 1)
    assert metric(relayer, REGRESSED) == 1
