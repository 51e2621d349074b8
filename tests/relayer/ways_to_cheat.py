"""Each way in which a lane's submitter may cheat, and the frauds that it is found by."""

from collections.abc import Callable
from dataclasses import replace

from corechain.protocol.evidence import Dossier, Fraud
from corechain.protocol.fleet import Fleet
from corechain.protocol.statistics import Node, StatisticsTree
from relayer.challenging import Cheat, at
from relayer.support import ADMIN, Sensor, p256, secp


def _packed(sensor: Sensor, count: int = 4) -> list[bytes]:
    return [sensor.report(2).pack() for _ in range(count)]


def bad_signature(cheat: Cheat, sensor: Sensor) -> None:
    reports = _packed(sensor)
    reports[1] = reports[1][:-1] + bytes([reports[1][-1] ^ 1])
    cheat.commit(cheat.written([sensor], reports))


def forged_for_a_fleet(cheat: Cheat, sensor: Sensor) -> None:
    """Of a secure element that has no slot, and whose key its data file alone tells."""
    key = p256(41)
    owner, identity = bytes.fromhex(ADMIN[2:]), key.identity
    cheat.chain.enrol(Fleet.of(owner, identity.key_type, [identity.device]))
    bad_signature(cheat, Sensor(key, cheat.chain.domain))


def revoked_device(cheat: Cheat, sensor: Sensor) -> None:
    """Its device was revoked two hours before the commit, and went on for an hour and more."""
    gone = Sensor(secp(20), cheat.chain.domain)
    now = int(cheat.chain.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
    cheat.commit(cheat.written([gone], [gone.sign(at([now - 60, now]), 1).pack()]))


def twice_in_a_batch(cheat: Cheat, sensor: Sensor) -> None:
    reports = _packed(sensor)
    cheat.commit(cheat.written([sensor], [reports[0], *reports]))


def twice_in_a_lane(cheat: Cheat, sensor: Sensor) -> None:
    reports = _packed(sensor)
    first = cheat.written([sensor], reports[:3])
    link = first.revealed.commitment
    second = cheat.written([sensor], reports[2:], cheat.origin(2, link, link))
    cheat.commit(first)
    cheat.commit(second, 2)


def empty_report(cheat: Cheat, sensor: Sensor) -> None:
    reports = _packed(sensor)
    hollow = reports[0][:20] + (9_999).to_bytes(8, "big") + bytes(2) + bytes(64)
    cheat.commit(cheat.written([sensor], [*reports, hollow]))


def unknown_flag(cheat: Cheat, sensor: Sensor) -> None:
    cheat.commit(cheat.written([sensor], _packed(sensor), flags={3: 2}))


def another_name(cheat: Cheat, sensor: Sensor) -> None:
    cheat.commit(cheat.written([sensor], _packed(sensor), cheat.origin(5)))


def two_faces(cheat: Cheat, sensor: Sensor) -> None:
    one, other = (cheat.written([sensor], _packed(sensor)) for _ in range(2))
    cheat.commit_group(1, one.revealed.commitment, b"\x07" * 26)
    cheat.commit(other)


def shrunk_window(cheat: Cheat, sensor: Sensor) -> None:
    cheat.answers = True
    good = cheat.honest(sensor)
    cheat.commit(cheat.lies(good, window_end=good.header.window_end - 1))


def swapped_readings(cheat: Cheat, sensor: Sensor) -> None:
    cheat.answers = True
    good = cheat.honest(sensor)
    leaves = [*good.leaves[:4], good.leaves[5], good.leaves[4], *good.leaves[6:]]
    cheat.commit(cheat.instead(good, _over(good, leaves, StatisticsTree(leaves))))


def wrong_leaf(cheat: Cheat, sensor: Sensor) -> None:
    cheat.answers = True
    good = cheat.honest(sensor)
    others = [*good.leaves[:6], good.leaves[6][:-2] + b"\x63\x01", *good.leaves[7:]]
    cheat.commit(cheat.instead(good, _over(good, good.leaves, StatisticsTree(others))))


def invented_statistics(cheat: Cheat, sensor: Sensor) -> None:
    """Nobody can show what stands below it."""
    cheat.answers = True
    good = cheat.honest(sensor)
    levels = [list(row) for row in good.statistics.levels]
    levels[-1][0] = Node(levels[-1][0].hash, 10**12, -5, 7)
    tree = StatisticsTree(good.leaves, levels)
    cheat.commit(cheat.instead(good, _over(good, good.leaves, tree)))


def withheld(cheat: Cheat, sensor: Sensor) -> None:
    good = cheat.honest(sensor)
    (cheat.folder / f"{good.revealed.commitment.hex()}.ccdf").unlink()
    cheat.commit(good)


def other_reports(cheat: Cheat, sensor: Sensor) -> None:
    """Under its root is one that its device has not signed, and that is not in the file."""
    cheat.answers = True
    good = cheat.honest(sensor)
    forged = good.reports[1][:-1] + bytes([good.reports[1][-1] ^ 1])
    other = replace(good, reports=[good.reports[0], forged, *good.reports[2:]])
    header = replace(good.header, reports_root=other.reports_tree.root)
    cheat.commit(cheat.instead(good, replace(other, header=header)))


def hidden_link(cheat: Cheat, sensor: Sensor) -> None:
    """It shows what is demanded of it, and no file."""
    cheat.answers = True
    bad = cheat.written([sensor], _packed(sensor), cheat.origin(1, b"\x01" * 26))
    (cheat.folder / f"{bad.revealed.commitment.hex()}.ccdf").unlink()
    cheat.commit(bad)


def unknown_device(cheat: Cheat, sensor: Sensor) -> None:
    """Nobody can show its registration."""
    stranger = Sensor(secp(40), cheat.chain.domain)
    cheat.commit(cheat.written([stranger], _packed(stranger)))


def _over(good: Dossier, leaves: list[bytes], tree: StatisticsTree) -> Dossier:
    header = replace(good.header, statistics_root=tree.root)
    return Dossier(header, leaves, good.reports, tree)


WAYS: dict[Callable[[Cheat, Sensor], None], set[Fraud]] = {
    forged_for_a_fleet: {Fraud.BAD_SIGNATURE},
    revoked_device: {Fraud.REVOKED_DEVICE},
    twice_in_a_batch: {Fraud.DUPLICATE_REPORT, Fraud.UNSORTED_REPORTS},
    twice_in_a_lane: {Fraud.DUPLICATE_REPORT},
    empty_report: {Fraud.MALFORMED_REPORT},
    unknown_flag: {Fraud.MALFORMED_READING},
    another_name: {Fraud.BROKEN_CHAIN},
    two_faces: {Fraud.EQUIVOCATION},
    shrunk_window: {Fraud.OUTSIDE_WINDOW},
    swapped_readings: {Fraud.UNSORTED_READINGS},
    wrong_leaf: {Fraud.WRONG_LEAF},
    other_reports: {Fraud.BAD_SIGNATURE},
    hidden_link: {Fraud.BROKEN_CHAIN},
    invented_statistics: set(),
    withheld: set(),
    unknown_device: set(),
}
"""Each with the frauds by which the bond may fall; with none of them, it falls to a demand."""
