"""Rewards of 50,000 accounts: a tree of depth 16. Each root is active when the next one comes."""

from support.bench import Bench, Measured, actor
from web3.contract import Contract

from corechain.protocol.hashing import keccak
from corechain.protocol.rewards import Owner, RewardTree

ACCOUNTS, WINDOW_S, CAP = 50_000, 3600, 10**24
UNIT = 10**18


def measure(bench: Bench) -> Measured:
    admin = bench.account("admin")
    token = bench.deploy(
        "CoreToken",
        admin.address,
        admin.address,
        admin.address,
        WINDOW_S,
        CAP,
        50,
        admin.address,
        UNIT,
    )
    owners = [actor(f"owner {n}") for n in range(12)]
    strangers = [Owner(n.to_bytes(4, "big") + b"\xaa" * 16) for n in range(ACCOUNTS - len(owners))]
    amounts = {Owner(owner.raw): 10 * UNIT for owner in owners} | dict.fromkeys(strangers, UNIT)
    trees = [RewardTree({k: v * n for k, v in amounts.items()}) for n in (1, 2, 3)]
    publish = [_publish(bench, token, n, tree) for n, tree in enumerate(trees[:2], 1)]
    first = _claim(bench, token, 2, trees[1], owners[0].address)
    abi = _row(trees[1], owners[11].raw, owners[11].address)
    plain = bench.send(admin, token.functions.claim(*abi))
    ten = bench.send(admin, token.functions.claimMany(
        [_row(trees[1], owner.raw, owner.address) for owner in owners[1:11]], UNIT
    ))  # fmt: skip
    third = _publish(bench, token, 3, trees[2])
    repeat = _claim(bench, token, 3, trees[2], owners[0].address)
    return {
        "publish_root": third, "claim_first": first, "claim_repeat": repeat, "claim_ten": ten,
        "claim_first_abi": plain,
        "publish_first_root": publish[0],
    }  # fmt: skip


def _publish(bench: Bench, token: Contract, epoch: int, tree: RewardTree) -> int:
    call = token.functions.proposeRoot(epoch, tree.root, 1_000 * epoch, CAP)
    gas = bench.send(bench.account("admin"), call)
    bench.pass_time(WINDOW_S + 1)
    return gas


def _row(tree: RewardTree, raw: bytes, address: str) -> tuple[object, ...]:
    claim = tree.claim(Owner(raw))
    return address, claim.cumulative, claim.position, list(claim.proof)


def _claim(bench: Bench, token: Contract, epoch: int, tree: RewardTree, address: str) -> int:
    claim = tree.claim(Owner(bytes.fromhex(address[2:])))
    packed = (
        epoch.to_bytes(4, "big")
        + bytes.fromhex(address[2:])
        + claim.cumulative.to_bytes(16, "big")
        + claim.position.to_bytes(4, "big")
        + b"".join(claim.proof)
    )
    data = keccak(b"claimBrief()")[:4] + packed
    return bench.send_raw(bench.account("admin"), token.address, data)
