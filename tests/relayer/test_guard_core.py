"""What a guard decides, without chain, files or database.

given any history of demands and their ends
  then what is open is what the contract says is open, however the history was cut into looks
  then an answer covers the demand it was recorded for, and none that came after it was seen
given a batch and any demand that the contract takes
  then there is evidence that answers it
given any deadline
  then fees rise as it nears, and never above the caps
"""

from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.batch import Batch
from corechain.protocol.data_file import Written, as_written
from corechain.protocol.eip712 import address_word, uint_word
from corechain.protocol.errors import ProtocolError
from corechain.protocol.events import Answered, BondSlashed, Demanded, Unanswered
from corechain.protocol.evidence import Demand, Evidence
from corechain.protocol.hashing import keccak
from corechain.protocol.logs import topic_of
from corechain.protocol.merkle import verify_inclusion
from corechain.service.errors import NodeRefused
from corechain.service.rpc import Block, Log
from corechain_relayer.guard.alerts import Alerts
from corechain_relayer.guard.answers import (
    BatchData,
    Unanswerable,
    answer_call,
    evidence_for,
    sources_of,
)
from corechain_relayer.guard.chain import first_block_since, refusal
from corechain_relayer.guard.demands import DemandsView, OpenDemand
from corechain_relayer.guard.service import Look
from corechain_relayer.guard.store import Answer
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.plan import Policy, State
from corechain_relayer.submitter.urgency import hurried
from relayer.demands import sealed_batch

LANE, OTHER_LANE = 3, 4
WINDOW_S = 3600
US = b"\5" * 20


def log_of(kind: type, block: int, index: int, topics: list[bytes], data: bytes) -> Log:
    transaction = keccak(b"%d %d" % (block, index))
    return Log(US, (topic_of(kind), *topics), data, block, bytes(32), transaction, index)


def demanded(lane: int, what: int, block: int, index: int = 0) -> Log:
    batch = (lane << 32) + 1
    words = uint_word(Demand.REPORT) + b"\1" * 26 + bytes(6) + uint_word(what)
    topics = [uint_word(lane << 8 | what), uint_word(batch)]
    return log_of(Demanded, block, index, topics, words + uint_word(block + WINDOW_S))


def answered(lane: int, what: int, block: int, index: int = 0) -> Log:
    topics = [uint_word(lane << 8 | what), address_word(US)]
    return log_of(Answered, block, index, topics, bytes(64))


def unanswered(lane: int, what: int, block: int, index: int = 0) -> Log:
    return log_of(Unanswered, block, index, [uint_word(lane << 8 | what)], b"")


def slashed(lane: int, block: int, index: int = 0) -> Log:
    topics = [uint_word(lane), address_word(US)]
    return log_of(BondSlashed, block, index, topics, bytes(64))


Step = tuple[str, int, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["demand", "answer", "expire", "slash"]),
        st.sampled_from([LANE, OTHER_LANE]),
        st.integers(0, 3),
    ),
    max_size=30,
)


def history(steps: list[Step]) -> tuple[list[Log], set[bytes]]:
    """Logs that the contract could have emitted, and what is open on our lane in the end."""
    logs: list[Log] = []
    open_: set[tuple[int, int]] = set()
    for number, (step, lane, what) in enumerate(steps):
        key, block, index = (lane, what), 10 + number // 3, number % 3
        if step == "demand" and key not in open_:
            logs.append(demanded(lane, what, block, index))
            open_.add(key)
        elif step == "answer" and key in open_:
            logs.append(answered(lane, what, block, index))
            open_.discard(key)
        elif step == "expire" and key in open_:
            logs.append(unanswered(lane, what, block, index))
            open_.discard(key)
        elif step == "slash":
            logs.append(slashed(lane, block, index))
            open_ = {entry for entry in open_ if entry[0] != lane}
    return logs, {uint_word(lane << 8 | what) for lane, what in open_ if lane == LANE}


@given(STEPS, st.integers(0, 30))
def test_what_is_open_is_what_the_contract_says_however_the_logs_came(
    steps: list[Step], cut: int
) -> None:
    logs, expected = history(steps)
    whole, parts = DemandsView(LANE), DemandsView(LANE)
    whole.take(logs)
    parts.take(logs[:cut])
    parts.take(logs[cut:])
    assert whole.open.keys() == expected
    assert whole == parts


def test_demands_of_one_deadline_come_batch_by_batch() -> None:
    """A thousand of one block, on many batches: each data file is opened once."""
    view = DemandsView(LANE)
    for number in range(60):
        what = (Demand.READING, bytes([number % 6]) * 26, uint_word(number))
        view.open[keccak(uint_word(number))] = OpenDemand(
            keccak(uint_word(number)), (LANE << 32) + 1, *what, WINDOW_S, 10
        )
    order = [demand.commitment for demand in view.by_urgency()]
    assert sum(one != two for one, two in pairwise(order)) == 5


def test_the_nearest_deadline_comes_first() -> None:
    view = DemandsView(LANE)
    view.take([demanded(LANE, 1, 20), demanded(LANE, 2, 10), demanded(LANE, 3, 15)])
    assert [demand.block for demand in view.by_urgency()] == [10, 15, 20]


def only(view: DemandsView) -> OpenDemand:
    (demand,) = view.open.values()
    return demand


def view_of(*logs: Log) -> DemandsView:
    view = DemandsView(LANE)
    view.take(logs)
    return view


def test_an_answer_on_its_way_covers_its_demand() -> None:
    view = view_of(demanded(LANE, 1, 10))
    for state in (State.QUEUED, State.PENDING):
        assert Answer(state, None, None).covers(only(view), view)


def test_an_answer_in_a_block_that_the_view_has_not_seen_covers_its_demand() -> None:
    view = view_of(demanded(LANE, 1, 10))
    for state in (State.CONFIRMED, State.FINAL):
        assert Answer(state, b"\7" * 32, 11).covers(only(view), view)


def test_an_answer_that_the_view_has_seen_covers_nothing_that_came_after_it() -> None:
    """Not even in the same block."""
    answer = answered(LANE, 1, 10, 1)
    view = view_of(demanded(LANE, 1, 10, 0), answer, demanded(LANE, 1, 10, 2))
    assert not Answer(State.CONFIRMED, answer.transaction, 10).covers(only(view), view)


def test_an_answer_older_than_the_demand_covers_nothing() -> None:
    """It was closed in a block before the first that was looked at."""
    view = view_of(demanded(LANE, 1, 10))
    assert not Answer(State.FINAL, b"\7" * 32, 9).covers(only(view), view)


@pytest.mark.parametrize("state", [State.QUEUED, State.PENDING, State.VOID])
def test_an_answer_that_an_operator_cancelled_covers_nothing_and_is_seen(state: State) -> None:
    view = view_of(demanded(LANE, 1, 10))
    given_up = Answer(state, None, None, cancelled=True)
    assert Look.at(only(view), [given_up], view) == Look(only(view), 1, [], withdrawn=True)
    fresh = Answer(State.QUEUED, None, None)
    assert not Look.at(only(view), [given_up, fresh], view).withdrawn
    assert not Look.at(only(view), [Answer(State.VOID, None, None)], view).withdrawn


def test_what_landed_before_it_could_be_cancelled_covers_its_demand() -> None:
    view = view_of(demanded(LANE, 1, 10))
    landed = Answer(State.CONFIRMED, b"\7" * 32, 11, cancelled=True)
    assert landed.covers(only(view), view)
    assert not Look.at(only(view), [landed], view).withdrawn
    again = view_of(demanded(LANE, 1, 12))
    assert Look.at(only(again), [landed], again) == Look(only(again), 1, [])


def test_a_void_answer_covers_nothing() -> None:
    view = view_of(demanded(LANE, 1, 10))
    assert not Answer(State.VOID, None, None).covers(only(view), view)


# -------------------------------------------------------------------------------- alerts


def test_an_alert_stands_until_its_demand_is_closed_or_answered() -> None:
    alerts = Alerts(Metrics())
    demands = [replace(only(view_of(demanded(LANE, 1, 10))), id=bytes([n]) * 32) for n in (1, 2)]
    for demand in demands:
        alerts.demand(demand, 60, "no data file", "gone")
    alerts.funds(1, 2, US)
    alerts.keep([demands[0].id])
    assert len(alerts.sentences()) == 2
    alerts.clear(demands[0].id.hex())
    (text,) = alerts.sentences()
    assert "has 1 wei" in text


def test_a_thousand_alerts_are_five_sentences_and_a_number() -> None:
    alerts = Alerts(Metrics())
    demand = only(view_of(demanded(LANE, 1, 10)))
    for number in range(1000):
        alerts.demand(replace(demand, id=number.to_bytes(32, "big")), 60, "no data file", "gone")
    assert len(alerts.sentences()) == 6
    assert alerts.sentences()[-1] == "guard: and 995 more"


# ------------------------------------------------------------------------------ evidence


@pytest.fixture(scope="module")
def sealed() -> Batch:
    return sealed_batch(devices=3, reports=4)


@pytest.fixture(scope="module")
def data(sealed: Batch) -> BatchData:
    return BatchData.of(Written.of(sealed))


def demand_for(kind: int, subject: bytes) -> OpenDemand:
    return OpenDemand(bytes(32), (LANE << 32) + 1, kind, b"\1" * 26, subject, 0, 0)


def evidence_of(demand: OpenDemand, data: BatchData) -> Evidence:
    return evidence_for(demand, data, sources_of([demand], data.dossier))


POSITIONAL = st.sampled_from([Demand.REPORT, Demand.READING, Demand.STATISTICS])


@given(POSITIONAL, st.integers(0, 2**32 - 1) | st.integers(0, 60))
def test_every_position_that_can_be_demanded_has_an_answer(
    data: BatchData, kind: Demand, position: int
) -> None:
    evidence = evidence_for(demand_for(kind, uint_word(position)), data, {})
    header = data.dossier.header
    reports = kind is Demand.REPORT
    count = header.report_count if reports else header.reading_count
    assert len(evidence.shown) == (position < count)
    root = header.reports_root if reports else data.dossier.revealed.readings_root
    for shown in evidence.shown:
        assert shown.position == position
        verify_inclusion(root, keccak(shown.content)[:26], position, shown.proof)
    assert answer_call(demand_for(kind, uint_word(position)), evidence)


def test_every_reading_has_a_report_that_it_comes_from(data: BatchData) -> None:
    for position, leaf in enumerate(data.dossier.leaves):
        evidence = evidence_of(demand_for(Demand.SOURCE, keccak(leaf)), data)
        report, reading = evidence.shown
        index = int.from_bytes(evidence.extra, "big")
        start = 30 + 19 * index
        assert reading.position == position
        assert report.content[:20] == leaf[10:30]
        assert report.content[start : start + 19] == leaf[:10] + leaf[30:39]


@pytest.mark.parametrize(
    ("kind", "subject"),
    [(Demand.SOURCE, b"\xff" * 32), (5, bytes(32)), (255, bytes(32))],
    ids=["no such reading", "a kind of a later version", "nonsense"],
)
def test_what_cannot_be_answered_says_why(data: BatchData, kind: int, subject: bytes) -> None:
    with pytest.raises(Unanswerable):
        evidence_of(demand_for(kind, subject), data)


def test_a_file_of_older_rules_is_the_batch_that_was_committed(sealed: Batch) -> None:
    """The rules change with a new version, the batches of the last days stay demandable."""
    written = as_written(sealed.data_file)
    assert (written.header, written.leaves) == (sealed.header, sealed.leaves)
    assert written.reports == sealed.reports
    older = sealed.data_file.replace(sealed.header.rules_hash, b"\xee" * 32)
    found = as_written(older)
    expected = replace(sealed.header, rules_hash=b"\xee" * 32, data_hash=keccak(older))
    assert found.header == expected
    assert found.leaves == sealed.leaves
    assert found.commitment == expected.commitment(sealed.readings.root)


@given(st.data())
def test_a_file_that_was_cut_or_changed_is_refused_or_another_batch(
    sealed: Batch, data: st.DataObject
) -> None:
    content = bytearray(sealed.data_file)
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    cut = bytes(content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))])
    with suppress(ProtocolError):
        assert as_written(cut).commitment != sealed.commitment


# ------------------------------------------------------------------------------- urgency

CALM = Policy(resend_after_s=15.0, bump_after_s=60.0, lost_after_s=30.0, max_fee=1000)


@given(st.floats(0, WINDOW_S), st.floats(0, WINDOW_S), st.integers(1, 10**6))
def test_the_nearer_the_deadline_the_faster_and_the_more_we_pay(
    one: float, two: float, cap: int
) -> None:
    near, far = (hurried(CALM, left, WINDOW_S, cap) for left in sorted((one, two)))
    assert near.bump_after_s <= far.bump_after_s <= CALM.bump_after_s
    assert near.resend_after_s <= far.resend_after_s <= CALM.resend_after_s
    assert CALM.max_fee <= far.max_fee <= near.max_fee <= max(cap, CALM.max_fee)


def test_the_higher_cap_counts_from_the_middle_of_the_window() -> None:
    assert hurried(CALM, WINDOW_S / 2, WINDOW_S, 5000).max_fee == 1000
    assert hurried(CALM, WINDOW_S / 2 - 1, WINDOW_S, 5000).max_fee == 5000


# -------------------------------------------------------------------- words of the chain


class Headers:
    """Blocks with these timestamps, some of which the node does not show."""

    def __init__(self, times: list[int], hidden: set[int]) -> None:
        self.times, self.hidden, self.asked = times, hidden, 0

    async def block(self, number: int) -> Block | None:
        self.asked += 1
        assert self.asked < 20
        if number in self.hidden:
            return None
        return Block(number, bytes(32), bytes(32), self.times[number], 0)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(-5, 120), st.data())
async def test_no_block_since_that_second_is_left_out(
    steps: list[int], since: int, data: st.DataObject
) -> None:
    times = [sum(steps[: at + 1]) for at in range(len(steps))]
    hidden = data.draw(st.sets(st.integers(0, len(times) - 1)))
    head = Block(len(times) - 1, bytes(32), bytes(32), times[-1], 0)
    wanted = next((at for at, time in enumerate(times) if time >= since), len(times) - 1)
    for node in (Headers(times, set()), Headers(times, hidden)):
        found = await first_block_since(node, since, head, 0, 1)  # type: ignore[arg-type]
        assert 0 <= found <= wanted


@pytest.mark.parametrize("pace", [1, 4])
async def test_where_a_window_begins_is_found_by_a_few_questions_at_any_age(pace: int) -> None:
    """Three days of four blocks a second, or of one, on a chain of 126 million blocks."""
    node, blocks = Headers(range(126_000_000), set()), 259_200 * pace  # type: ignore[arg-type]
    head = Block(125_999_999, bytes(32), bytes(32), node.times[-1], 0)
    since = head.timestamp - blocks
    found = await first_block_since(node, since, head, 5)  # type: ignore[arg-type]
    assert head.number - 3 * blocks // 2 < found <= head.number - blocks
    assert node.asked <= 4


@pytest.mark.parametrize("since_then", [1, 2, 3, 7, 11, 31, 500])
async def test_a_pause_longer_than_the_window_ends_no_search(since_then: int) -> None:
    """A network that was off for days has made so many blocks since."""
    times = [*range(5_000), *range(400_000, 400_000 + since_then)]
    head = Block(len(times) - 1, bytes(32), bytes(32), times[-1], 0)
    found = await first_block_since(Headers(times, set()), times[-1] - 86_400, head, 0)  # type: ignore[arg-type]
    assert 5_000 - since_then <= found <= 5_000


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("0x" + keccak(b"NotAnAnswer()")[:4].hex(), "NotAnAnswer"),
        ("0x" + keccak(b"AnswerLate(uint40)")[:4].hex() + "00" * 32, "AnswerLate"),
        ("0xdeadbeef", None),
        ("0x", None),
        ("0xzzzzzzzz", None),
        ("text", None),
        (None, None),
    ],
)
def test_a_refusal_of_the_contract_has_its_name(data: str | None, name: str | None) -> None:
    assert refusal(NodeRefused("eth_call", 3, "execution reverted", data)) == name
