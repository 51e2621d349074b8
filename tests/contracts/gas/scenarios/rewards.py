"""Rewards of 50,000 accounts: a tree of depth 16. Each root is active when the next one comes."""

from support.bench import Actor, Bench, Measured, actor
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
    owners = [actor(f"owner {n}") for n in range(11)]
    strangers = [Owner(n.to_bytes(4, "big") + b"\xaa" * 16) for n in range(ACCOUNTS - len(owners))]
    amounts = {Owner(owner.raw): 10 * UNIT for owner in owners} | dict.fromkeys(strangers, UNIT)
    trees = [RewardTree({k: v * n for k, v in amounts.items()}) for n in (1, 2, 3)]
    publish = [_publish(bench, token, n, tree) for n, tree in enumerate(trees[:2], 1)]
    first = _claim(bench, token, trees[1], owners[0].address)
    ten = _claim_ten(bench, token, trees[1], owners[1:11])
    third = _publish(bench, token, 3, trees[2])
    repeat = _claim(bench, token, trees[2], owners[0].address)
    after = _publish_after_handover(bench, token, trees[2])
    return {
        "publish_root": third, "claim_first": first, "claim_repeat": repeat, "claim_ten": ten,
        "publish_first_root": publish[0], "publish_root_by_second_proposer": after,
    }  # fmt: skip


PROPOSER = 1


def _publish_after_handover(bench: Bench, token: Contract, tree: RewardTree) -> int:
    """The role goes over to another account, and back: the contract then reads who holds it."""
    admin, other = bench.account("admin"), bench.account("other")
    for giver, taker in ((admin, other), (other, admin)):
        bench.send(giver, token.functions.offerRole(PROPOSER, taker.address))
        bench.send(taker, token.functions.acceptRole(PROPOSER))
    return _publish(bench, token, 4, tree)


def _publish(bench: Bench, token: Contract, epoch: int, tree: RewardTree) -> int:
    terms = (1_000 * epoch).to_bytes(8, "big") + CAP.to_bytes(16, "big")
    data = keccak(b"proposeInBrief()")[:4] + epoch.to_bytes(2, "big") + tree.root + terms
    gas = bench.send_raw(bench.account("admin"), token.address, data)
    bench.pass_time(WINDOW_S + 1)
    return gas


def _row(tree: RewardTree, raw: bytes, address: str) -> tuple[object, ...]:
    claim = tree.claim(Owner(raw))
    return address, claim.cumulative, claim.position, list(claim.proof)


def _claim(bench: Bench, token: Contract, tree: RewardTree, address: str) -> int:
    row = _row(tree, bytes.fromhex(address[2:]), address)
    return bench.send(bench.account("admin"), token.functions.claim(*row))


def _claim_ten(bench: Bench, token: Contract, tree: RewardTree, owners: list[Actor]) -> int:
    """By somebody else who is paid a fee."""
    rows = [_row(tree, owner.raw, owner.address) for owner in owners]
    return bench.send(bench.account("admin"), token.functions.claimMany(rows, UNIT))
