"""What the relayer does when its memory, its node or its bus is not what it was."""

from collections import Counter
from pathlib import Path

import asyncpg
from redis.asyncio import Redis

from corechain.protocol.eip712 import uint_word
from corechain.protocol.hashing import keccak
from corechain_relayer.bus.frame import pack_frame
from corechain_relayer.bus.keys import GROUP, lane_keys
from relayer.conftest import Start
from relayer.support import Chain, RelayerProcess, Sensor, eventually, secp
from relayer.test_crash import committed_reports, key_of

SUBMITTER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


def committed(chain: Chain, batches: int) -> None:
    eventually(lambda: len(chain.commitments()) >= batches)


async def forget_everything(database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("drop schema public cascade; create schema public")
    await connection.close()


async def test_a_lost_journal_is_rebuilt_from_chain_and_data_files(
    start: Start, sensor: Sensor, chain: Chain, database: str, tmp_path: Path
) -> None:
    relayer = start()
    first, second = sensor.report(), sensor.report()
    assert relayer.send(first).status_code == 202
    committed(chain, 1)
    assert relayer.send(second).status_code == 202
    committed(chain, 2)
    relayer.kill()
    await forget_everything(database)

    again = start()
    third = sensor.report()
    assert again.send(third).status_code == 202
    committed(chain, 3)
    assert again.get("/v1/batches/1").json()["state"] == "adopted"
    # What was adopted from blocks that are not final is committed again.
    chain.reorg(2)
    chain.rpc("evm_mine")
    committed(chain, 3)
    # A replay is counted no second time, although the journal that knew it was lost.
    fourth = sensor.report()
    assert again.send(first).status_code in (202, 409)
    assert again.send(fourth).status_code == 202
    committed(chain, 4)
    wanted = Counter(key_of(report) for report in (first, second, third, fourth))
    assert committed_reports(chain, tmp_path / "data") == wanted


def halted(relayer: RelayerProcess, loop: str) -> str:
    """Why a loop stands still, as /ready says; empty while it does not."""
    document = relayer.get("/ready").json()
    return str(document.get("reasons", {}).get(loop, "")) * (
        document["loops"].get(loop) == "halted"
    )


async def test_without_its_data_files_a_lost_journal_halts_the_lane_alone(
    start: Start, sensor: Sensor, chain: Chain, database: str, tmp_path: Path
) -> None:
    relayer = start()
    assert relayer.send(sensor.report()).status_code == 202
    committed(chain, 1)
    relayer.kill()
    await forget_everything(database)
    for file in (tmp_path / "data").glob("*.ccdf"):
        file.unlink()
    again = start(ready=False)
    assert "cannot be read" in eventually(lambda: halted(again, "aggregator"))
    # Only the lane stands still: what devices send now is durable, and waits for its operator.
    assert again.send(sensor.report()).status_code == 202


async def test_a_commitment_that_differs_from_ours_halts_the_submitter_alone(
    start: Start, sensor: Sensor, chain: Chain
) -> None:
    relayer = start("gateway", "aggregator", RELAYER_MAX_AGE_S="0.1")
    assert relayer.send(sensor.report()).status_code == 202
    eventually(lambda: relayer.get("/v1/batches/1").status_code == 200)
    commit = keccak(b"commit(uint48,bytes26)")[:4]
    chain.send("DataBatches", commit + uint_word(1) + b"\7" * 26 + bytes(6), SUBMITTER)
    submitter = start("submitter", ready=False)
    assert "committed in its place" in eventually(lambda: halted(submitter, "submitter"))
    assert submitter.get("/health").status_code == 200


async def test_a_batch_that_is_committed_already_is_taken_as_done(
    start: Start, sensor: Sensor, chain: Chain
) -> None:
    relayer = start("gateway", "aggregator", RELAYER_MAX_AGE_S="0.1")
    assert relayer.send(sensor.report()).status_code == 202
    status = eventually(lambda: relayer.get("/v1/batches/1").json().get("commitment"))
    commit = keccak(b"commit(uint48,bytes26)")[:4]
    commitment = bytes.fromhex(status[2:])
    chain.send("DataBatches", commit + uint_word(1) + commitment + bytes(6), SUBMITTER)
    start("submitter")
    eventually(lambda: relayer.get("/v1/batches/1").json()["state"] == "confirmed")
    assert chain.commitments() == {1: commitment}


async def test_a_reorg_that_drops_batches_and_devices_is_survived(
    start: Start, sensor: Sensor, chain: Chain, tmp_path: Path
) -> None:
    relayer = start(RELAYER_RESEND_AFTER_S="0.2")
    reports = []
    for number in (1, 2, 3):
        reports.append(sensor.report())
        assert relayer.send(reports[-1]).status_code == 202
        committed(chain, number)
    eventually(lambda: relayer.get("/v1/batches/3").json()["state"] == "confirmed")
    chain.reorg(2)
    chain.rpc("evm_mine")
    committed(chain, 3)
    assert committed_reports(chain, tmp_path / "data") == Counter(map(key_of, reports))
    newcomer = Sensor(secp(50), chain.domain)
    chain.register(newcomer.key)
    assert relayer.send(newcomer.report()).status_code == 202


def on_chain_one(manifest: Path, copy: Path) -> Path:
    copy.write_text(manifest.read_text().replace('"chain_id": 31337', '"chain_id": 1'))
    return copy


async def test_a_node_of_another_chain_is_refused(start: Start, tmp_path: Path) -> None:
    process = start("gateway")
    other = on_chain_one(Path(process.environment["RELAYER_DEPLOYMENT"]), tmp_path / "other.json")
    wrong = RelayerProcess(dict(process.environment) | {"RELAYER_DEPLOYMENT": str(other)}, tmp_path)
    wrong.launch()
    assert wrong.wait() == 1
    assert wrong.events()[-1]["kind"] == "WrongNode"


async def test_a_frame_that_cannot_be_read_is_set_aside_and_holds_up_nobody(
    start: Start, sensor: Sensor, chain: Chain, bus_url: str, stream: str
) -> None:
    redis, keys = Redis.from_url(bus_url, protocol=2), lane_keys(stream, 0)
    await redis.xadd(keys.stream, {"f": b"poison"})
    relayer = start()
    assert relayer.send(sensor.report()).status_code == 202
    committed(chain, 1)
    (entry,) = await redis.xrange(keys.dead)
    assert entry[1][b"f"] == b"poison"
    assert entry[1][b"reason"] == b"MalformedFrame"
    eventually(lambda: relayer.counter("corechain_dead_letters_total", "MalformedFrame") == 1)
    assert await redis.xlen(keys.stream) == 0
    await redis.aclose()


async def test_a_forged_report_on_the_bus_reaches_no_batch(
    start: Start, sensor: Sensor, chain: Chain, bus_url: str, stream: str, tmp_path: Path
) -> None:
    good, bad = sensor.report(), sensor.report()
    forged = bad.__class__(bad.report, good.signature)
    redis = Redis.from_url(bus_url, protocol=2)
    await redis.xadd(lane_keys(stream, 0).stream, {"f": pack_frame(0, [forged, good])})
    relayer = start()
    committed(chain, 1)
    assert committed_reports(chain, tmp_path / "data") == Counter([key_of(good)])
    assert relayer.counter("corechain_dead_letters_total", "InvalidSignature") == 1
    await redis.aclose()


async def test_what_a_consumer_of_another_name_left_is_taken_over(
    start: Start, sensor: Sensor, chain: Chain, bus_url: str, stream: str
) -> None:
    gateway = start("gateway")
    assert gateway.send(sensor.report()).status_code == 202
    redis, lane = Redis.from_url(bus_url, protocol=2), lane_keys(stream, 0).stream
    await redis.xgroup_create(lane, GROUP, id="0")
    assert await redis.xreadgroup(GROUP, "gone", {lane: ">"})
    await redis.aclose()
    start("aggregator", "submitter")
    committed(chain, 1)


async def test_two_aggregators_of_one_lane_do_not_write_together(
    start: Start, sensor: Sensor, chain: Chain, tmp_path: Path
) -> None:
    relayer = start()
    rival = start("aggregator", "submitter")
    waiting = lambda: [e for e in rival.events() if "another process is the writer" in str(e)]  # noqa: E731
    eventually(waiting)
    report = sensor.report()
    assert relayer.send(report).status_code == 202
    committed(chain, 1)
    relayer.kill()  # the rival takes over
    gateway = start("gateway")
    second = sensor.report()
    assert gateway.send(second).status_code == 202
    committed(chain, 2)
    wanted = Counter([key_of(report), key_of(second)])
    assert committed_reports(chain, tmp_path / "data") == wanted
