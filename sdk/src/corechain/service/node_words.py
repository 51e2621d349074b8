"""What is said of several nodes that must agree, for `/ready` and in errors. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from corechain.service.members import Member
from corechain.service.node_names import listed
from corechain.service.words import Block


@dataclass(frozen=True, slots=True)
class Dispute:
    """What the nodes that answer contradict each other in, and for how many seconds."""

    methods: Sequence[str]
    seconds: float


def sentences(
    members: Sequence[Member],
    quorum: int,
    few_s: float | None,
    dispute: Dispute | None,
) -> list[str]:
    """`few_s`: for how long fewer than the quorum are believed; None while they are not."""
    found = []
    if few_s is not None:
        found.append(
            f"fewer than {quorum} nodes have answered for {few_s:.0f} s: what has a deadline goes "
            "by those who do"
        )
    if dispute is not None:
        those = listed(m.number for m in members if m.standing.is_trusted)
        found.append(
            f"nodes {those} contradict each other for {dispute.seconds:.0f} s over "
            f"{', '.join(dispute.methods)}: what {quorum} of them must say alike waits"
        )
    return found + [
        f"node {member.number} of {len(members)} is left out: {member.standing.reason}"
        for member in members
        if not member.standing.is_trusted
    ]


def heads_of(blocks: Mapping[int, Block]) -> str:
    """What each calls the newest block."""
    return ", ".join(
        f"node {number} has {block.number} 0x{block.hash[:4].hex()}…"
        for number, block in sorted(blocks.items())
    )
