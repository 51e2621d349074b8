"""From logs and files to data that may be served, through reorgs, missing and wrong files.

given committed batches with their files
  ├── it is verified, and the tables are those of a fresh index
  ├── when the chain forks at any depth: what hangs on the old blocks is gone, the new is there
  ├── when the file is missing: withheld, and verified once it appears
  ├── when the bytes are not the file: withheld, until the file is there
  ├── when the committed file breaks the rules: mismatch, with the reason; nothing is served
  └── when the chain was replaced altogether: halt
"""

from pathlib import Path

import pytest

from corechain.devnet.servers import ValkeyServer
from corechain.protocol.batch import Batch
from corechain.protocol.keys import Secp256k1Key
from corechain.service.errors import WrongNode
from corechain.service.reconcile import ChainReplaced
from corechain_indexer.maintenance import forget_everything
from corechain_indexer.source import check_chain
from indexer.support import Driven, World, device_of, driven, get, settings_of


async def states(indexer: Driven) -> dict[int, str]:
    rows = await indexer.indexer.pool.fetch("select batch_id, state from batch_file")
    return {row["batch_id"]: row["state"] for row in rows}


async def reason(indexer: Driven, batch_id: int) -> str:
    found = await indexer.indexer.pool.fetchval(
        "select reason from batch_file where batch_id = $1", batch_id
    )
    return str(found)


async def count(indexer: Driven, table: str) -> int:
    return int(await indexer.indexer.pool.fetchval(f"select count(*) from {table}"))


async def readings(indexer: Driven) -> int:
    total = "select coalesce(sum(count), 0) from segment"
    return int(await indexer.indexer.pool.fetchval(total))


async def test_a_committed_batch_becomes_data(world: World, indexer: Driven) -> None:
    batches = [world.add(), world.add()]
    await indexer.settle()
    assert await states(indexer) == {1: "verified", 2: "verified"}
    assert await readings(indexer) == sum(len(batch.leaves) for batch in batches)
    assert await count(indexer, "rejection") == 2 * len(world.keys)
    assert await count(indexer, "device") == len(world.keys)


async def test_a_second_index_of_the_same_chain_is_the_same(
    world: World, indexer: Driven, bus_url: str
) -> None:
    world.add()
    world.add()
    await indexer.settle()
    before = await indexer.tables()
    await indexer.mirror.store.roll_back(-1)
    assert all(not rows for rows in (await indexer.tables()).values())
    await indexer.settle()
    assert await indexer.tables() == before


@pytest.mark.parametrize("depth", [1, 3, 8])
async def test_a_fork_takes_away_what_hung_on_it(world: World, indexer: Driven, depth: int) -> None:
    world.add()
    await indexer.settle()
    snapshot, number, previous = world.rpc("evm_snapshot"), world.number, world.previous
    kept = await indexer.tables()
    gone = world.add()
    for _ in range(depth - 1):
        world.rpc("evm_mine")
    await indexer.settle()
    device = world.keys[0].identity.device
    newest = await indexer.indexer.latest.of(device)
    assert newest[0].batch_id == 2
    world.rpc("evm_revert", snapshot)
    world.pass_time(7)  # other blocks than before
    await indexer.settle()
    assert await indexer.tables() == kept
    assert [value.batch_id for value in await indexer.indexer.latest.of(device)] == [1, 1]
    world.number, world.previous = number, previous
    other = world.add(hours=3)
    assert other.commitment != gone.commitment
    await indexer.settle()
    assert (await states(indexer))[2] == "verified"
    assert (await indexer.indexer.latest.of(device))[0].batch_id == 2


async def test_a_fork_while_the_cache_is_away_is_undone_for_queries_too(
    world: World, database: str, tmp_path: Path
) -> None:
    with ValkeyServer(tmp_path / "valkey") as valkey:
        async with driven(settings_of(world, database, valkey.url), world) as indexer:
            world.add()
            await indexer.settle()
            snapshot = world.rpc("evm_snapshot")
            world.add()
            await indexer.settle()
            valkey.kill()
            world.rpc("evm_revert", snapshot)
            world.pass_time(7)
            while await indexer.mirror.step():
                pass
            async with indexer.api() as api:
                for again in (valkey.start, int):
                    found = await get(api, "/v1/latest", device=device_of(world))
                    assert [item["batch_id"] for item in found["items"]] == [1, 1]
                    again()
                    indexer.indexer.latest.breaker.away_until = 0.0
                metrics = (await api.get("/metrics")).text
            assert 'corechain_bypassed_total{reason="away",store="cache"} 1.0' in metrics


async def test_a_missing_file_is_withheld_until_it_appears(world: World, indexer: Driven) -> None:
    batch = world.commit(world.sealed(), publish=False)
    await indexer.mirror.step()
    while await indexer.mirror.step():
        pass
    await indexer.verifier.step()
    assert await states(indexer) == {1: "withheld"}
    assert "No such file" in await reason(indexer, 1)
    assert await readings(indexer) == 0
    world.publish(batch)
    await indexer.until_verified(1)


def flipped(batch: Batch) -> bytes:
    forged = bytearray(batch.data_file)
    forged[-5] ^= 1
    return bytes(forged)


async def test_bytes_that_do_not_hash_to_the_commitment_are_no_verdict(
    world: World, indexer: Driven
) -> None:
    batch = world.commit(world.sealed(), publish=False)
    (world.data_dir / f"{batch.commitment.hex()}.ccdf").write_bytes(flipped(batch))
    await indexer.settle()
    assert await states(indexer) == {1: "withheld"}
    assert "does not hash to the commitment" in await reason(indexer, 1)
    assert await readings(indexer) == 0
    world.publish(batch)
    await indexer.until_verified(1)


async def test_a_file_of_another_batch_is_a_mismatch(world: World, indexer: Driven) -> None:
    batch = world.commit(world.sealed(number=2), number=1)
    await indexer.settle()
    assert await states(indexer) == {1: "mismatch"}
    assert "another batch" in await reason(indexer, 1)
    assert batch.header.batch_id == 2


async def test_a_file_of_another_chain_is_a_mismatch(world: World, indexer: Driven) -> None:
    world.commit(world.sealed(chain_id=1))
    await indexer.settle()
    assert "chain" in await reason(indexer, 1)


async def test_a_file_of_a_stranger_is_a_mismatch(world: World, indexer: Driven) -> None:
    stranger = Secp256k1Key(bytes(31) + b"\x77")
    world.commit(world.sealed(keys=[*world.keys, stranger]))
    await indexer.settle()
    assert "UnknownDevice" in await reason(indexer, 1)
    assert await readings(indexer) == 0


async def test_a_bad_batch_does_not_hold_up_the_next(world: World, indexer: Driven) -> None:
    world.commit(world.sealed(chain_id=1))
    world.add()
    await indexer.settle()
    assert await states(indexer) == {1: "mismatch", 2: "verified"}


async def test_a_file_over_the_limit_is_withheld(world: World, database: str, bus_url: str) -> None:
    world.add(hours=23)
    settings = settings_of(world, database, bus_url, max_file_bytes=1024)
    async with driven(settings, world) as indexer:
        await indexer.mirror.step()
        while await indexer.mirror.step():
            pass
        await indexer.verifier.step()
        assert "over 1024 bytes" in await reason(indexer, 1)


async def test_a_source_that_is_down_is_withheld_and_the_next_is_asked(
    world: World, database: str, bus_url: str
) -> None:
    world.add()
    here = f"file://{world.data_dir}/{{commitment}}.ccdf"
    urls = f"http://127.0.0.1:9/{{commitment}},{world.chain.rpc_url}/{{commitment}},{here}"
    async with driven(settings_of(world, database, bus_url, data_urls=urls), world) as indexer:
        await indexer.settle()
        assert await states(indexer) == {1: "verified"}


async def test_a_replaced_chain_halts_the_mirror(world: World, indexer: Driven) -> None:
    world.add()
    await indexer.settle()
    connection = indexer.mirror.store.connection
    await connection.execute("update block set hash = $1", bytes(32))
    indexer.restart_mirror()
    with pytest.raises(ChainReplaced, match="rebuild"):
        await indexer.mirror.step()


async def test_rebuilding_forgets_everything_but_vouchers(
    world: World, database: str, bus_url: str
) -> None:
    world.add()
    settings = settings_of(world, database, bus_url)
    async with driven(settings, world) as indexer:
        await indexer.settle()
        before = await indexer.tables()
    await forget_everything(settings)
    async with driven(settings, world) as indexer:
        assert await indexer.indexer.latest.of(world.keys[0].identity.device) == []
        assert await count(indexer, "batch") == 0
        await indexer.settle()
        assert await indexer.tables() == before


async def test_a_node_of_another_chain_is_refused(world: World, indexer: Driven) -> None:
    with pytest.raises(WrongNode):
        await check_chain(indexer.indexer.rpc, 1)
