"""A batch of each kind of fraud, and the evidence that shows it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from corechain.protocol.archive import Place
from corechain.protocol.evidence import Dossier, Evidence, Fraud, Link, index_of, named_otherwise
from corechain.protocol.hashing import hash26
from corechain.protocol.keys import P256Key, Secp256k1Key
from corechain.protocol.statistics import Node, StatisticsTree, _level_above
from support.drafts import Forger, draft, hourly, signed_report
from support.stage import SINCE, Stage, readings

KEY, OTHER = Secp256k1Key(bytes(31) + b"\x51"), P256Key(bytes(31) + b"\x52")


def honest(stage: Stage, number: int = 1, first: int = 0, size: int = 5) -> Dossier:
    """Reports of both devices, in order; readings that come from them."""
    sequences = range(first, first + size)
    reports = stage.reports(KEY, sequences) + stage.reports(OTHER, sequences)
    leaves = readings(KEY, sequences) + readings(OTHER, sequences)
    return draft(number, sorted(leaves), sorted(reports))


def with_reports(dossier: Dossier, reports: list[bytes]) -> Dossier:
    return draft(dossier.header.batch_id, dossier.leaves, reports)


def with_leaves(dossier: Dossier, leaves: list[bytes], **header: object) -> Dossier:
    return draft(dossier.header.batch_id, leaves, dossier.reports, **header)


@dataclass
class Case:
    """A fraud in a batch and what shows it; `others` are committed before."""

    fraud: Fraud
    dossier: Dossier
    evidence: Evidence
    others: tuple[Dossier, ...] = ()


def position(dossier: Dossier, device: bytes, rank: int = 0) -> int:
    own = [n for n, report in enumerate(dossier.reports) if report[:20] == device]
    return own[rank]


def bad_signature(stage: Stage) -> Case:
    good = honest(stage)
    at = position(good, KEY.identity.device)
    reports = list(good.reports)
    reports[at] = reports[at][:-1] + bytes([reports[at][-1] ^ 1])
    bad = with_reports(good, reports)
    return Case(Fraud.BAD_SIGNATURE, bad, Evidence([bad.report(at)]))


def bad_p256_signature(stage: Stage) -> Case:
    good = honest(stage)
    at = position(good, OTHER.identity.device)
    reports = list(good.reports)
    reports[at] = reports[at][:-1] + bytes([reports[at][-1] ^ 1])
    bad = with_reports(good, reports)
    return Case(
        Fraud.BAD_SIGNATURE, bad, Evidence([bad.report(at)], extra=OTHER.identity.public_key)
    )


def high_s(stage: Stage) -> Case:
    """The other encoding of the same consent is no signature here."""
    good = honest(stage)
    at = position(good, OTHER.identity.device)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    report = good.reports[at]
    flipped = order - int.from_bytes(report[-32:], "big")
    reports = list(good.reports)
    reports[at] = report[:-32] + flipped.to_bytes(32, "big")
    bad = with_reports(good, reports)
    return Case(
        Fraud.BAD_SIGNATURE, bad, Evidence([bad.report(at)], extra=OTHER.identity.public_key)
    )


def signed_for_another_chain(stage: Stage) -> Case:
    good = honest(stage)
    at = position(good, KEY.identity.device)
    elsewhere = replace(stage.domain, chain_id=stage.domain.chain_id + 1)
    reports = list(good.reports)
    reports[at] = signed_report(elsewhere, KEY, 0, hourly(SINCE, 4))
    bad = with_reports(good, reports)
    return Case(Fraud.BAD_SIGNATURE, bad, Evidence([bad.report(at)]))


def revoked_device(stage: Stage) -> Case:
    device = stage.bench.web3.to_checksum_address(KEY.identity.device)
    stage.bench.send(stage.challenger, stage.registry.functions.revoke(device))
    revoked_at = stage.registry.functions.deviceOf(device).call()[3]
    late = [*hourly(SINCE, 1), *hourly(revoked_at + 3_601, 1)]
    reports = [signed_report(stage.domain, KEY, 9, late)]
    bad = draft(1, readings(KEY, range(1)), reports)
    stage.bench.pass_time(3_602)
    return Case(Fraud.REVOKED_DEVICE, bad, Evidence([bad.report(0)], extra=index_of(1)))


def duplicate_in_one_batch(stage: Stage) -> Case:
    good = honest(stage)
    reports = sorted([*good.reports, good.reports[3]])
    bad = with_reports(good, reports)
    return Case(Fraud.DUPLICATE_REPORT, bad, Evidence([bad.report(3), bad.report(4)]))


def duplicate_over_two_batches(stage: Stage) -> Case:
    earlier, later = honest(stage, 1), honest(stage, 2, first=4)
    at, again = (
        position(one, KEY.identity.device, rank) for one, rank in ((later, 0), (earlier, 4))
    )
    evidence = Evidence([later.report(at), earlier.report(again)], [earlier.witness()])
    return Case(Fraud.DUPLICATE_REPORT, later, evidence, (earlier,))


def duplicate_under_a_lower_number(stage: Stage) -> Case:
    """The later number is committed first."""
    case = duplicate_over_two_batches(stage)
    (lower,) = case.others
    evidence = Evidence(case.evidence.shown[::-1], [case.dossier.witness()])
    return Case(Fraud.DUPLICATE_REPORT, lower, evidence, (case.dossier,))


def malformed_report(stage: Stage) -> Case:
    good = honest(stage)
    bad = with_reports(good, [*good.reports[:-1], good.reports[-1] + b"\x00"])
    last = len(bad.reports) - 1
    return Case(Fraud.MALFORMED_REPORT, bad, Evidence([bad.report(last)]))


def malformed_reading(stage: Stage) -> Case:
    good = honest(stage)
    unknown_flag = good.leaves[7][:-1] + b"\x02"
    bad = with_leaves(good, [*good.leaves[:7], unknown_flag, *good.leaves[8:]])
    return Case(Fraud.MALFORMED_READING, bad, Evidence([bad.reading(7)]))


def unsorted_readings(stage: Stage) -> Case:
    leaves = list(honest(stage).leaves)
    leaves[4], leaves[5] = leaves[5], leaves[4]
    bad = with_leaves(honest(stage), leaves)
    return Case(Fraud.UNSORTED_READINGS, bad, Evidence([bad.reading(4), bad.reading(5)]))


def one_key_twice(stage: Stage) -> Case:
    leaves = list(honest(stage).leaves)
    leaves[5] = leaves[4][:35] + leaves[5][35:]
    bad = with_leaves(honest(stage), leaves)
    return Case(Fraud.UNSORTED_READINGS, bad, Evidence([bad.reading(4), bad.reading(5)]))


def unsorted_reports(stage: Stage) -> Case:
    reports = list(honest(stage).reports)
    reports[1], reports[2] = reports[2], reports[1]
    bad = with_reports(honest(stage), reports)
    return Case(Fraud.UNSORTED_REPORTS, bad, Evidence([bad.report(1), bad.report(2)]))


def before_the_window(stage: Stage) -> Case:
    good = honest(stage)
    bad = with_leaves(good, list(good.leaves), window_start=good.header.window_start + 1)
    at = [leaf[30:35] for leaf in bad.leaves].index(good.header.window_start.to_bytes(5, "big"))
    return Case(Fraud.OUTSIDE_WINDOW, bad, Evidence([bad.reading(at)]))


def behind_the_window(stage: Stage) -> Case:
    good = honest(stage)
    bad = with_leaves(good, list(good.leaves), window_end=good.header.window_end - 1)
    at = [leaf[30:35] for leaf in bad.leaves].index(good.header.window_end.to_bytes(5, "big"))
    return Case(Fraud.OUTSIDE_WINDOW, bad, Evidence([bad.reading(at)]))


class Rewritten(StatisticsTree):
    """A tree with one node changed, and hashes above it that fit the change."""

    def rewrite(self, level: int, index: int, change: Callable[[Node], Node]) -> "Rewritten":
        levels = [list(row) for row in self.levels]
        levels[level][index] = change(levels[level][index])
        for above in range(level + 1, len(levels)):
            index >>= 1
            row = levels[above - 1]
            pair = [*row, Node(bytes(26), 0, 0, 0)][2 * index : 2 * index + 2]
            node = levels[above][index]
            levels[above][index] = node._replace(hash=_hash(pair))
        object.__setattr__(self, "levels", levels)
        return self

    def invent(self, level: int, index: int, node: Node) -> "Rewritten":
        """Another node, and above it what follows from it: nothing on a way past it is wrong."""
        levels = [list(row) for row in self.levels]
        levels[level][index] = node
        for above in range(level + 1, len(levels)):
            levels[above] = _level_above(levels[above - 1])
        object.__setattr__(self, "levels", levels)
        return self


def _hash(pair: list[Node]) -> bytes:
    return hash26(pair[0].pack() + pair[1].pack())


def _rewritten(stage: Stage, level: int, index: int, change: Callable[[Node], Node]) -> Dossier:
    good = honest(stage)
    tree = Rewritten(good.leaves).rewrite(level, index, change)
    return Forger(tree).draft(1, good.leaves, good.reports)


def wrong_sum(stage: Stage) -> Case:
    bad = _rewritten(stage, 2, 1, lambda node: node._replace(sum=node.sum + 1))
    evidence = Evidence(extra=bad.statistics_path(2, 1))
    return Case(Fraud.WRONG_PARENT, bad, evidence)


def wrong_minimum_at_the_top(stage: Stage) -> Case:
    good = honest(stage)
    top = len(StatisticsTree(good.leaves).levels) - 1
    bad = _rewritten(stage, top, 0, lambda node: node._replace(min=node.min - 1))
    return Case(Fraud.WRONG_PARENT, bad, Evidence(extra=bad.statistics_path(top, 0)))


def readings_where_none_are(stage: Stage) -> Case:
    """40 readings said to be 37: the last pair's right child should be padding."""
    good = honest(stage)
    tree = StatisticsTree(good.leaves)
    bad = Forger(tree).draft(1, good.leaves, good.reports, reading_count=37)
    return Case(Fraud.WRONG_PARENT, bad, Evidence(extra=bad.statistics_path(1, 18)))


def with_invented_statistics(stage: Stage) -> Dossier:
    """Of readings 2 and 3: a node that has no children, and parents that believe it."""
    good = honest(stage)
    node = Node(hash26(b"there is nothing below this"), 10**12, -5, 7)
    return Forger(Rewritten(good.leaves).invent(1, 1, node)).draft(1, good.leaves, good.reports)


def wrong_leaf(stage: Stage) -> Case:
    bad = _rewritten(stage, 0, 6, lambda node: node._replace(sum=node.sum - 5))
    evidence = Evidence([bad.reading(6)], extra=bad.statistics_path(0, 6))
    return Case(Fraud.WRONG_LEAF, bad, evidence)


def another_reading_in_the_other_tree(stage: Stage) -> Case:
    good = honest(stage)
    others = [*good.leaves[:6], good.leaves[6][:-2] + b"\x63\x01", *good.leaves[7:]]
    bad = Forger(StatisticsTree(others)).draft(1, good.leaves, good.reports)
    evidence = Evidence([bad.reading(6)], extra=bad.statistics_path(0, 6))
    return Case(Fraud.WRONG_LEAF, bad, evidence)


def another_name(stage: Stage) -> Case:
    good = honest(stage)
    bad = draft(5, good.leaves, good.reports)
    evidence = Evidence(extra=bytes([Link.ID]))
    return Case(Fraud.BROKEN_CHAIN, bad, evidence)


def a_predecessor_before_the_first(stage: Stage) -> Case:
    good = honest(stage)
    bad = draft(1, good.leaves, good.reports, previous=b"\x01" * 26)
    return Case(Fraud.BROKEN_CHAIN, bad, Evidence(extra=bytes([Link.PREVIOUS])))


def another_predecessor(stage: Stage) -> Case:
    first, second = honest(stage, 1), honest(stage, 2, first=10)
    bad = draft(2, second.leaves, second.reports, previous=b"\x01" * 26)
    evidence = Evidence(witnesses=[first.witness()], extra=bytes([Link.PREVIOUS]))
    return Case(Fraud.BROKEN_CHAIN, bad, evidence, (first,))


def another_ancestor(stage: Stage) -> Case:
    third, sixth = honest(stage, 3, first=10), honest(stage, 6, first=20)
    bad = draft(6, sixth.leaves, sixth.reports, ancestor=b"\x01" * 26)
    evidence = Evidence(witnesses=[third.witness()], extra=bytes([Link.ANCESTOR]))
    return Case(Fraud.BROKEN_CHAIN, bad, evidence, (third,))


def another_than_its_successor_names(stage: Stage) -> Case:
    """Committed after it, so that nothing was to be compared with."""
    first, second = honest(stage, 1), honest(stage, 2, first=10)
    named = b"\x01" * 26
    successor = draft(2, second.leaves, second.reports, previous=named, ancestor=named)
    evidence = named_otherwise([successor.witness()], named)
    return Case(Fraud.BROKEN_CHAIN, first, evidence, (successor,))


def another_than_all_newer_ones_name(stage: Stage) -> Case:
    """Three links back: 6 names 3 as ancestor, 3 names 2, 2 names something else than 1."""
    named, newer = b"\x01" * 26, list[Dossier]()
    for number in (2, 3, 6):
        good = honest(stage, number, first=10 * number)
        link = newer[-1].revealed.commitment if newer else named
        newer.append(draft(number, good.leaves, good.reports, previous=link, ancestor=link))
    evidence = named_otherwise([one.witness() for one in reversed(newer)], named)
    return Case(Fraud.BROKEN_CHAIN, honest(stage, 1), evidence, tuple(newer))


CASES = [
    bad_signature, bad_p256_signature, high_s, signed_for_another_chain, revoked_device,
    duplicate_in_one_batch, duplicate_over_two_batches,
    duplicate_under_a_lower_number, malformed_report, malformed_reading,
    unsorted_readings, one_key_twice, unsorted_reports, before_the_window, behind_the_window,
    wrong_sum, wrong_minimum_at_the_top, readings_where_none_are, wrong_leaf,
    another_reading_in_the_other_tree, another_name, a_predecessor_before_the_first,
    another_predecessor, another_ancestor, another_than_its_successor_names,
    another_than_all_newer_ones_name,
]  # fmt: skip


def committed_as(stage: Stage, case: Case) -> int:
    """The id under which the batch stands: a header may lie about it."""
    for other in case.others:
        stage.commit(other)
    number = 1 if case.dossier.header.batch_id == 5 else case.dossier.header.batch_id
    call = stage.batches.functions.commit(number, case.dossier.revealed.commitment)
    stage.bench.send(stage.submitter, call)
    return number


def challenge_of(stage: Stage, number: int, case: Case) -> Any:
    batch, place = case.dossier.revealed.words(), tuple(Place.alone(number))
    return stage.batches.functions.challenge(
        case.fraud, number, batch, place, case.evidence.words()
    )
