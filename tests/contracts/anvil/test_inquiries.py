"""What the data file does not show is demanded, step by step, until the bond falls.

given a data file that is right, and a commitment to something else
  when its submitter answers all that it can
    a header that lies is known from the first answer, and shown to be wrong
    the first node that differs from our own tree tells where to ask next
    a leaf that nobody can show, or that comes from no report, costs the bond
    so does a report that differs, and one that the header counts more, or less, than the file has
  when it answers nothing, or there is no data file
    single leaves are demanded, and where readings come from; silence costs the bond
given an honest batch whose file nobody has, or of which somebody offers another file
  its answers accuse nobody
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest
from support.drafts import draft
from support.finding import devices_of, suspect
from support.frauds import (
    KEY,
    OTHER,
    bad_signature,
    behind_the_window,
    honest,
    unsorted_readings,
    with_invented_statistics,
    with_leaves,
    with_reports,
    wrong_leaf,
    wrong_sum,
)
from support.stage import ANSWER_S, BOND, Stage
from web3.exceptions import ContractCustomError

from corechain.protocol.evidence import Demand, Dossier, Evidence, Shown, index_of
from corechain.protocol.inquiry import Answer, Inquiry, Wanted, subject_of
from corechain.protocol.suspects import Accusation, Suspect

MOST_ROUNDS = 8


@pytest.fixture
def stage(stage: Stage) -> Stage:
    stage.register(KEY)
    stage.register(OTHER)
    return stage


def _made_up(leaf: bytes) -> bytes:
    return leaf[:-5] + b"\x00\x00\x27\x10\x01"


def _invented_reading(stage: Stage) -> Dossier:
    """One that no report has."""
    good = honest(stage)
    return with_leaves(good, [*good.leaves[:7], _made_up(good.leaves[7]), *good.leaves[8:]])


def _another_reading(stage: Stage) -> Dossier:
    """One more than the reports have, a second after one that they have."""
    good = honest(stage)
    at = int.from_bytes(good.leaves[7][30:35], "big") + 1
    more = _made_up(good.leaves[7][:30] + at.to_bytes(5, "big") + good.leaves[7][35:])
    return with_leaves(good, sorted([*good.leaves, more]))


def _exchanged_reading(stage: Stage) -> Dossier:
    """As many as the reports have: the first is left out, and one made up near the end."""
    more = _another_reading(stage)
    at = next(n for n, leaf in enumerate(more.leaves) if leaf not in honest(stage).leaves)
    late = [*more.leaves[1:at], *more.leaves[at + 1 :]]
    made_up = _made_up(late[-3][:34] + bytes([late[-3][34] ^ 1]) + late[-3][35:])
    return with_leaves(honest(stage), sorted([*late, made_up]))


def _another_report(stage: Stage) -> Dossier:
    """One more, which its device has not signed."""
    good = honest(stage)
    (more,) = stage.reports(KEY, [9])
    return with_reports(good, sorted([*good.reports, more[:-1] + bytes([more[-1] ^ 1])]))


def _lost_report(stage: Stage) -> Dossier:
    """Nobody can show where its readings come from."""
    good = honest(stage)
    return with_reports(good, [*good.reports[:6], *good.reports[7:]])


def _hidden_reading(stage: Stage) -> Dossier:
    """One more than the header counts, where nothing belongs."""
    good = honest(stage)
    return replace(good, leaves=[*good.leaves, good.leaves[-1]])


def _hidden_report(stage: Stage) -> Dossier:
    good = honest(stage)
    more = replace(good, reports=[*good.reports, good.reports[-1]])
    return replace(more, header=replace(good.header, reports_root=more.reports_tree.root))


def _closed_reports(stage: Stage) -> Dossier:
    """A root under which nobody can show anything."""
    good = honest(stage)
    return draft(1, good.leaves, good.reports, reports_root=b"\x07" * 26)


LIES: dict[str, Callable[[Stage], Dossier]] = {
    "window": lambda stage: behind_the_window(stage).dossier,
    "swapped": lambda stage: unsorted_readings(stage).dossier,
    "sum": lambda stage: wrong_sum(stage).dossier,
    "node": with_invented_statistics,
    "leaf": lambda stage: wrong_leaf(stage).dossier,
    "made up": _invented_reading,
    "reading more": _another_reading,
    "reading exchanged": _exchanged_reading,
    "signature": lambda stage: bad_signature(stage).dossier,
    "report more": _another_report,
    "report less": _lost_report,
    "closed reports": _closed_reports,
    "hidden reading": _hidden_reading,
    "hidden report": _hidden_report,
}


@dataclass
class Inquirer:
    """Demands, and a submitter that answers whatever the contract takes of its batch."""

    stage: Stage
    batch: Dossier
    known: Suspect
    has_data: bool = True
    width: int = 1
    silent: bool = False
    answers: list[Answer] = field(default_factory=list)
    demands: int = 0

    @property
    def inquiry(self) -> Inquiry:
        one, held = self.known, self.known.dossier if self.has_data else None
        assert held is None or isinstance(held, Dossier)
        about = (one.standing, one.domain, one.devices, held)
        return Inquiry(*about, self.answers, self.width, (0, 5, 17))

    def ends(self) -> str:
        """How it ends: "shown" with a fraud, "silence" on a demand, or "nothing"."""
        for _ in range(MOST_ROUNDS):
            accusation = next(self.inquiry.accusations(), None)
            if accusation is not None:
                self.challenge(accusation)
                return "shown"
            wanted = self.inquiry.wanted()
            if not wanted:
                return "nothing"
            if not all(self.answered(one) for one in wanted):
                return "silence"
        return "too many rounds"

    def challenge(self, accusation: Accusation) -> None:
        call = self.stage.challenge(accusation.fraud, self.batch, accusation.evidence)
        self.stage.bench.send(self.stage.challenger, call)

    def answered(self, wanted: Wanted) -> bool:
        """False when the demand stayed open and was expired."""
        stage = self.stage
        stage.bench.send(stage.challenger, stage.demand(wanted.kind, self.batch, wanted.evidence))
        self.demands += 1
        (log,) = stage.batches.events.Demanded.get_logs(from_block="latest")
        subject = bytes(log["args"]["subject"])
        assert subject == subject_of(wanted, self.known.standing.committed_at)
        for evidence in self._tries(wanted, subject):
            call = stage.answer(wanted.kind, self.batch, subject, evidence)
            try:
                call.call({"from": stage.submitter.address})
            except ContractCustomError:
                continue
            stage.bench.send(stage.submitter, call)
            self.answers.append(Answer(wanted.kind, subject, evidence))
            return True
        stage.bench.pass_time(ANSWER_S + 1)
        expire = stage.batches.functions.expire(bytes(log["args"]["demandId"]))
        stage.bench.send(stage.challenger, expire)
        return False

    def _tries(self, wanted: Wanted, subject: bytes) -> Iterator[Evidence]:
        batch, witness = self.batch, [self.batch.witness()]
        if self.silent or wanted.kind is Demand.REGISTRATION:
            return
        if wanted.kind is Demand.SOURCE:
            yield from self._sources(wanted.evidence.shown[0])
        elif wanted.kind is Demand.REPORT:
            yield Evidence([batch.report(wanted.position)], witness)
        else:
            path = batch.statistics_path(0, wanted.position)
            yield Evidence([batch.reading(wanted.position)], witness, path)

    def _sources(self, reading: Shown) -> Iterator[Evidence]:
        leaf, batch = reading.content, self.batch
        for at, report in enumerate(batch.reports):
            index = [report[30 + 19 * n :][:19] for n in range(4)]
            if report[:20] == leaf[10:30] and leaf[:10] + leaf[30:39] in index:
                extra = index_of(index.index(leaf[:10] + leaf[30:39]))
                yield Evidence([batch.report(at), reading], [batch.witness()], extra)


def bond(stage: Stage) -> int:
    return int(stage.batches.functions.bondOf(0).call()[1])


def behind(stage: Stage, batch: Dossier, data: Dossier) -> Suspect:
    """A commitment to `batch`, and the data that are said to be its own."""
    stage.commit(batch)
    committed = suspect(stage, batch).standing
    return Suspect(committed, data, stage.domain, devices_of(stage))


@pytest.mark.parametrize("lie", LIES)
def test_a_commitment_to_other_data_costs_the_bond(stage: Stage, lie: str) -> None:
    batch = LIES[lie](stage)
    inquirer = Inquirer(stage, batch, behind(stage, batch, honest(stage)))
    assert inquirer.ends() in ("shown", "silence")
    assert bond(stage) == 0
    assert inquirer.demands <= MOST_ROUNDS


def test_side_by_side_it_takes_fewer_rounds(stage: Stage) -> None:
    batch = with_invented_statistics(stage)
    inquirer = Inquirer(stage, batch, behind(stage, batch, honest(stage)), width=8)
    # The first answer shows which half differs; four places of it lie on both sides of the node.
    inquirer.answered(inquirer.inquiry.wanted()[0])
    assert len(inquirer.inquiry.wanted()) > 1
    assert inquirer.ends() == "silence"


@pytest.mark.parametrize("has_data", [True, False])
def test_a_submitter_that_says_nothing_loses_its_bond(stage: Stage, has_data: bool) -> None:
    batch = honest(stage)
    other = with_leaves(batch, list(batch.leaves[:-1]))
    inquirer = Inquirer(stage, batch, behind(stage, batch, other), has_data, silent=True)
    before = stage.balance(stage.challenger)
    assert inquirer.ends() == "silence"
    assert stage.balance(stage.challenger) == before + BOND // 2


def test_an_honest_submitter_whose_file_nobody_has_is_not_accused(stage: Stage) -> None:
    batch = honest(stage)
    inquirer = Inquirer(stage, batch, behind(stage, batch, batch), has_data=False)
    assert inquirer.ends() == "nothing"
    assert 0 < inquirer.demands <= 9
    assert bond(stage) == BOND


@pytest.mark.parametrize("lie", ["reading more", "report less"])
def test_an_honest_submitter_is_not_accused_by_a_file_that_others_made(
    stage: Stage, lie: str
) -> None:
    batch, file = honest(stage), LIES[lie](stage)
    inquirer = Inquirer(stage, batch, behind(stage, batch, file), width=8)
    assert inquirer.ends() == "nothing"
    assert bond(stage) == BOND


def test_a_made_up_reading_of_a_hidden_file_costs_the_bond_where_it_is_asked_for(
    stage: Stage,
) -> None:
    good = honest(stage)
    batch = with_leaves(good, [*good.leaves[:5], _made_up(good.leaves[5]), *good.leaves[6:]])
    inquirer = Inquirer(stage, batch, behind(stage, batch, batch), has_data=False)
    assert inquirer.ends() == "silence"
    assert bond(stage) == 0


def test_nothing_is_demanded_of_what_is_known(stage: Stage) -> None:
    batch = honest(stage)
    inquirer = Inquirer(stage, batch, behind(stage, batch, batch))
    assert inquirer.ends() == "nothing"
    assert inquirer.demands == 0


def test_an_unknown_device_is_asked_for_once(stage: Stage) -> None:
    batch = honest(stage)
    standing = behind(stage, batch, batch).standing
    (wanted,) = Inquiry(standing, stage.domain, devices_of(stage, OTHER), batch).wanted()
    assert wanted.kind is Demand.REGISTRATION
    (shown,) = wanted.evidence.shown
    assert isinstance(shown, Shown)
    assert shown.content[:20] == KEY.identity.device
