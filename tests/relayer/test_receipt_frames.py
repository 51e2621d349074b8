"""A frame's requests that ask get receipts for what is durable of their reports, and no others do.

given requests that share a frame
  those that ask get one signed receipt a lane, with a proof of their own; nobody else is in it
  a refused report is in none, one that came before is; one that is decided later gets its own
given a lane on which nothing can be promised, or a device whose registration may be undone
  its reports hear why; the others get theirs
given an answer
  without the wish it is what it was, to the byte; with it results say which receipt is theirs
"""

import json
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corechain.protocol.eip712 import Domain
from corechain.protocol.errors import MalformedReport, Overloaded, ReplayedSequence
from corechain.protocol.frame import Columns
from corechain.protocol.hashing import hash26, keccak
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain.protocol.receipt_spans import span_of
from corechain.protocol.receipts import ReportReceipt, SignedReceipt
from corechain.service.workers import Workers
from corechain_relayer.gateway.body import prefers_receipt
from corechain_relayer.gateway.frames import FrameWork
from corechain_relayer.gateway.gate import Taken
from corechain_relayer.gateway.gather import Outcome, Waiting
from corechain_relayer.gateway.intake import PACKED, Fault, intake_of
from corechain_relayer.gateway.problem import answer
from corechain_relayer.metrics import Metrics
from corechain_relayer.receipts.desk import INLINE_REPORTS, ReceiptDesk
from corechain_relayer.receipts.keeper import Terms
from corechain_relayer.receipts.signer import ReceiptSigner
from corechain_relayer.receipts.wish import Entry, Wish

KEY = Secp256k1Key(keccak(b"a gateway's receipts"))
DOMAIN = Domain("CoreChain", "1", 31_337, bytes([7]) * 20)
NEW, REFUSED, BEFORE, LATER = range(4)
"""What becomes of a report: its sequence modulo 4."""
YOUNG = DeviceId(bytes([9]) * 20)
"""A device whose registration is in no final block."""


@dataclass
class Lane:
    """A lane to which a report is what its sequence says."""

    lane: int
    view: Any = None
    taken: list[Columns] = field(default_factory=list)

    def faults(self, columns: Columns, view: object, now: float) -> list[Fault]:
        return [MalformedReport("x") if s % 4 == REFUSED else None for s in columns.sequences]

    async def take_new(self, columns: Columns) -> Taken:
        self.taken.append(columns)
        pairs = list(zip(columns.device_ids(), columns.sequences, strict=True))
        faults = [ReplayedSequence(*pair) if pair[1] % 4 == BEFORE else None for pair in pairs]
        return Taken(list(faults), [i for i, (_, s) in enumerate(pairs) if s % 4 == LATER])

    async def take_doubtful(self, columns: Columns) -> list[Fault]:
        return [None] * len(columns)


@dataclass
class Promises:
    """What may be promised on each lane, by its place."""

    by_place: Sequence[Terms | str]

    def terms(self, place: int) -> Terms | str:
        return self.by_place[place]


def bench(*promises: Terms | str) -> tuple[FrameWork, Metrics]:
    lanes: list[Any] = [Lane(place) for place in range(len(promises))]
    keeper: Any = Promises(promises)
    metrics, workers = Metrics(), Workers("test", 1)

    def unsettled(devices: Sequence[DeviceId]) -> set[DeviceId]:
        return {YOUNG}.intersection(devices)

    desk = ReceiptDesk(keeper, unsettled, ReceiptSigner(KEY, DOMAIN), workers, metrics)
    return FrameWork(lanes[0], lanes[0], lanes, workers, desk=desk), metrics


TERMS = [Terms(40, 1_000, 5_000), Terms(41, 1_001, 5_001)]


def reports(sequences: Sequence[int], device: bytes | None = None) -> list[SignedReport]:
    items = [Observation(1, 5, 1_000, 7)]

    def sender(sequence: int) -> DeviceId:
        return DeviceId(device or hash26(b"%d" % sequence)[:20])

    made = [Report.of(sender(s), s, items) for s in sequences]
    return [SignedReport(report, bytes(64)) for report in made]


@dataclass
class Request:
    """One of a frame's requests, and what it was told."""

    sent: list[SignedReport]
    wish: Wish | None
    outcomes: list[Outcome] = field(default_factory=list)

    def waiting(self) -> Waiting:
        packed = b"".join(report.pack() for report in self.sent)
        return Waiting(packed, len(self.sent), self.outcomes.append, wish=self.wish)

    def receipts(self) -> dict[int, tuple[SignedReceipt, ReportReceipt]]:
        """By report, each proven under the root of its receipt."""
        assert self.wish is not None
        found: dict[int, tuple[SignedReceipt, ReportReceipt]] = {}
        for entry in self.wish.entries:
            if entry.packed:
                found |= proven(entry, self.sent)
        return found

    def reasons(self) -> dict[int, str]:
        assert self.wish is not None
        entries = [entry for entry in self.wish.entries if entry.reason]
        return {index: entry.reason for entry in entries for index in entry.indexes}


def proven(
    entry: Entry, sent: Sequence[SignedReport]
) -> dict[int, tuple[SignedReceipt, ReportReceipt]]:
    signed = SignedReceipt.unpack(entry.packed[:106])
    first, rest = int.from_bytes(entry.packed[106:110], "big"), entry.packed[110:]
    leaves = [hash26(sent[index].pack()) for index in entry.indexes]
    nodes = [rest[at : at + 26] for at in range(0, len(rest), 26)]
    span = span_of(leaves, first, signed.receipt.count, nodes)
    found = {}
    for at, index in enumerate(entry.indexes, first):
        receipt = ReportReceipt(signed, at, tuple(span.path(at)))
        receipt.verify(sent[index].pack(), DOMAIN, bytes(KEY.identity.device))
        found[index] = signed, receipt
    return found


async def run(work: FrameWork, requests: Sequence[Request]) -> None:
    await work.run([request.waiting() for request in requests])
    for task in list(work._closer_looks):
        await task


async def test_who_asks_gets_a_receipt_and_who_does_not_is_in_none() -> None:
    work, metrics = bench(TERMS[0])
    asks, silent = Request(reports([0, 4, 8]), Wish()), Request(reports([12, 16]), None)
    also = Request(reports([20]), Wish())
    await run(work, [asks, silent, also])
    assert [len(request.outcomes) for request in (asks, silent, also)] == [1, 1, 1]
    found = asks.receipts()
    assert list(found) == [0, 1, 2]
    receipt = found[0][0].receipt
    assert (receipt.lane, receipt.since, receipt.commit_by) == (40, 1_000, 5_000)
    assert receipt.count == 4
    assert also.receipts()[0][0] == found[0][0], "one signature a frame"
    assert metrics.registry.get_sample_value("corechain_receipts_signed_total") == 1
    assert metrics.registry.get_sample_value("corechain_reports_receipted_total") == 4


async def test_nothing_is_signed_where_nobody_asks() -> None:
    work, metrics = bench(TERMS[0])
    await run(work, [Request(reports([0, 4]), None)])
    assert metrics.registry.get_sample_value("corechain_receipts_signed_total") == 0


async def test_what_is_durable_is_in_a_receipt_and_what_was_refused_is_not() -> None:
    work, _ = bench(TERMS[0])
    mixed = Request(reports([0, 1, 2, 5, 4]), Wish())
    await run(work, [mixed])
    assert sorted(mixed.receipts()) == [0, 2, 4]
    assert mixed.reasons() == {}


async def test_a_report_that_is_decided_later_has_a_receipt_then() -> None:
    work, metrics = bench(TERMS[0])
    early, late = Request(reports([0]), Wish()), Request(reports([4, 3]), Wish())
    await run(work, [early, late])
    assert sorted(late.receipts()) == [0, 1]
    assert late.receipts()[0][0].receipt.count == 2
    assert early.receipts()[0][0].receipt.count == 1
    assert metrics.registry.get_sample_value("corechain_receipts_signed_total") == 2


async def test_a_lane_that_cannot_promise_says_why_and_the_other_signs() -> None:
    work, metrics = bench(TERMS[0], "LaneClosing")
    asks = Request(reports(range(0, 160, 4)), Wish())
    await run(work, [asks])
    signed, reasons = asks.receipts(), asks.reasons()
    assert sorted([*signed, *reasons]) == list(range(40))
    assert signed
    assert set(reasons.values()) == {"LaneClosing"}
    counted = metrics.registry.get_sample_value
    named = {"reason": "LaneClosing"}
    assert counted("corechain_receipts_refused_total", named) == len(reasons)
    assert {receipt.receipt.lane for receipt, _ in signed.values()} == {40}


async def test_each_lane_signs_for_its_own_reports() -> None:
    work, _ = bench(*TERMS)
    asks = Request(reports(range(0, 160, 4)), Wish())
    await run(work, [asks])
    found = asks.receipts()
    assert sorted(found) == list(range(40))
    assert {receipt.receipt.lane for receipt, _ in found.values()} == {40, 41}


async def test_a_device_that_a_reorg_may_take_away_gets_none_yet() -> None:
    work, _ = bench(TERMS[0])
    asks = Request([*reports([0]), *reports([4], YOUNG), *reports([8])], Wish())
    await run(work, [asks])
    assert sorted(asks.receipts()) == [0, 2]
    assert asks.reasons() == {1: "RegistrationNotFinal"}


async def test_a_long_frame_is_signed_beside_the_loop() -> None:
    work, _ = bench(TERMS[0])
    asks = Request(reports(range(0, 4 * INLINE_REPORTS + 40, 4)), Wish())
    await run(work, [asks])
    assert len(asks.receipts()) == INLINE_REPORTS + 10


async def test_of_a_frame_that_fails_nobody_has_a_receipt() -> None:
    work, _ = bench(TERMS[0])

    async def full(columns: Columns) -> Taken:
        return Taken([Overloaded("the bus is away")] * len(columns), [])

    work.gates[0].take_new = full  # type: ignore[method-assign, assignment]
    asks = Request(reports([0, 4]), Wish())
    await run(work, [asks])
    assert asks.wish is not None
    assert asks.wish.entries == []


# ---------------------------------------------------------------------- the answer


def answered(faults: Sequence[Fault], wish: Wish | None) -> Any:
    sent = reports(range(len(faults)))
    intake = intake_of(PACKED, b"".join(report.pack() for report in sent), DOMAIN)
    return answer(intake, faults, wish)


def test_without_the_wish_the_answer_is_what_it_was() -> None:
    plain = answered([None, None], None)
    wished = answered([None, None], Wish([Entry(range(2), b"\x01" * 110)]))
    head = plain.body[:-1]
    assert wished.body.startswith(head + b',"receipts":[')
    assert (b"preference-applied", b"receipt") in wished.headers
    assert (b"preference-applied", b"receipt") not in plain.headers


def test_an_answer_says_which_results_a_receipt_is_of() -> None:
    wish = Wish([Entry([0, 1, 3], b"\x01" * 110), Entry([2], reason="RegistrationNotFinal")])
    found = json.loads(answered([None] * 4, wish).body)
    first, second = found["receipts"]
    assert (first["of"], b64decode(first["receipt"])) == ([[0, 2], [3, 4]], b"\x01" * 110)
    assert second == {"of": [[2, 3]], "missing": "RegistrationNotFinal"}


def test_a_retry_that_got_its_receipt_is_no_problem_and_without_one_it_is() -> None:
    before = ReplayedSequence(bytes(20), 0)
    got = answered([before], Wish([Entry([0], b"\x01" * 110)]))
    body = json.loads(got.body)
    assert (got.status, body["accepted"], len(body["receipts"])) == (202, 0, 1)
    assert body["results"][0]["error"] == "ReplayedSequence"
    refused = answered([before], Wish([Entry([0], reason="SignerNotNamed")]))
    assert (refused.status, refused.headers) == (409, answered([before], None).headers)


def test_a_wish_that_came_to_nothing_is_not_said_to_be_applied() -> None:
    found = answered([None], Wish([Entry([0], reason="LaneClosing")]))
    assert (b"preference-applied", b"receipt") not in found.headers
    assert json.loads(found.body)["receipts"] == [{"of": [[0, 1]], "missing": "LaneClosing"}]


@pytest.mark.parametrize(
    ("field_", "asks"),
    [
        (b"receipt", True),
        (b"respond-async, Receipt; q=1", True),
        (b"receipts", False),
        (b"return=minimal", False),
        (b"", False),
    ],
)
def test_the_preference_is_one_of_a_list(field_: bytes, asks: bool) -> None:
    assert prefers_receipt({b"prefer": field_}) is asks
    assert not prefers_receipt({b"accept": b"receipt"})


@settings(max_examples=30)
@given(st.lists(st.integers(0, 40), unique=True).map(sorted))
def test_runs_are_the_indexes(indexes: list[int]) -> None:
    runs = Entry(indexes).runs()
    assert [i for first, end in runs for i in range(first, end)] == indexes
    assert all(end < first for (_, end), (first, _) in pairwise(runs))


def test_indexes_of_a_part_become_those_of_the_whole() -> None:
    wish = Wish([Entry(range(2), b"x"), Entry([2], reason="y")])
    wish.renumber(range(3))
    assert wish.entries[0].indexes == range(2)
    wish.renumber([1, 5, 6])
    assert [list(entry.indexes) for entry in wish.entries] == [[1, 5], [6]]
