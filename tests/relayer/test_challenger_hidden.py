"""A fraud that only answers show costs as much as one that a file shows.

given a batch whose file nobody has, and a submitter that answers
  a report that an answer shows is judged by what the registry says of its device
  a link that its header has wrong, and another commitment for its number, are found beside the lane
  a report that another batch has too is found, however late an answer shows it
given a report that is none, and longer than any transaction that could show it
  its fraud is not tried in vain for ever: the sources of its readings are demanded
given a cheat that demands of itself first what we would demand, and lets it lie
  it is expired, whatever the settings say of strangers' demands: its bond falls
given a window that leaves more rounds or fewer
  fewer places or more are asked for at a time
given a device on P-256 whose key nobody knew
  it is judged by the key that the answer for its registration shows
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from eth_abi.abi import encode
from support.drafts import draft, hourly, leaves_of, signed_report

from corechain.protocol.archive import Place
from corechain.protocol.eip712 import registry_domain
from corechain.protocol.events import EVIDENCE
from corechain.protocol.evidence import Demand, Dossier, Evidence, Fraud, signer_of
from corechain.protocol.keys import DeviceKey, KeyType, P256Key, Secp256k1Key
from corechain.protocol.suspects import Standing
from corechain.service.rpc import Block
from corechain_relayer.challenger.calls import TOO_LARGE, DisputesCalls, challenge_call
from corechain_relayer.challenger.examining import Asking, Charge, Examiner, LaneBook, width_for
from corechain_relayer.challenger.expiring import WANTED_AFTER_S, Expiring
from corechain_relayer.challenger.facts import Facts
from corechain_relayer.challenger.lanes import Answer, LanesView
from corechain_relayer.challenger.opening import Opened
from corechain_relayer.guard.demands import OpenDemand
from corechain_relayer.registry.view import RegistryView
from relayer.test_challenger_verdicts import DEPLOYMENT

DOMAIN = registry_domain(31337, bytes(20))
PLAIN, SECURE = Secp256k1Key(b"\7" * 32), P256Key(b"\7" * 32)
AT = 1_700_000_000
COMMITTED_AT = AT + 10_000


def batch(key: DeviceKey, number: int = 1, sequence: int = 1, forged: bool = False) -> Dossier:
    """Two reports of an observation each."""
    reports = [signed_report(DOMAIN, key, sequence + n, hourly(AT + n, 1)) for n in range(2)]
    if forged:
        reports = [report[:-1] + bytes([report[-1] ^ 1]) for report in reports]
    leaves = sorted(leaf for n in range(2) for leaf in leaves_of(key, hourly(AT + n, 1)))
    return draft(number, leaves, reports)


def standing(dossier: Dossier, number: int = 0) -> Standing:
    number = number or dossier.header.batch_id
    return Standing(number, dossier.revealed.commitment, Place.alone(number), COMMITTED_AT)


class Node:
    """Every device has a slot of long ago, of one key type."""

    def __init__(self, key_type: KeyType) -> None:
        self.words = (1, int(key_type), AT - 1, 0)

    async def call_all(self, calls: Sequence[Any]) -> list[str]:
        return ["0x" + b"".join(word.to_bytes(32, "big") for word in self.words).hex()] * len(calls)


def examiner(key_type: KeyType, *files: Dossier) -> Examiner:
    async def refresh_or_log() -> None:
        pass

    async def get(batch: int, commitment: bytes) -> Opened | None:
        return next((f for f in opened if f.dossier.revealed.commitment == commitment), None)

    opened = [Opened(dossier, {}, True) for dossier in files]
    node: Any = Node(key_type)
    registry: Any = SimpleNamespace(refresh_or_log=refresh_or_log, view=RegistryView())
    parts: Any = (None, Facts(node, DEPLOYMENT), registry, SimpleNamespace(get=get))
    return Examiner(*parts, DOMAIN)


def answered(one: Standing, *answers: tuple[Demand, bytes, Evidence]) -> LanesView:
    """What the logs tell of the demands that were answered."""
    found = []
    for kind, subject, evidence in answers:
        demand = OpenDemand(subject, one.batch_id, int(kind), one.commitment, subject, 0, 1)
        found.append(Answer(demand, encode([EVIDENCE], [evidence.words()])))
    return LanesView(answers={one.batch_id: found})


def report_shown(dossier: Dossier, position: int) -> tuple[Demand, bytes, Evidence]:
    evidence = Evidence([dossier.report(position)], [dossier.witness()])
    return Demand.REPORT, position.to_bytes(32, "big"), evidence


def shown(
    by: Examiner, dossier: Dossier, book: LaneBook, *answers: tuple[Demand, bytes, Evidence]
) -> list[Charge]:
    """What is found out of a batch without a file."""

    async def look() -> list[Charge]:
        one = standing(dossier)
        inquiry = await by.inquiry(one, None, answered(one, *answers), Asking((0,)))
        return await by.shown(one, inquiry, book)

    return asyncio.run(look())


def frauds(charges: Sequence[Charge]) -> set[tuple[int, Fraud]]:
    return {(one.standing.batch_id, one.accusation.fraud) for one in charges}


def test_a_forged_report_that_only_an_answer_shows_is_a_fraud() -> None:
    by, forged, honest = examiner(KeyType.SECP256K1), batch(PLAIN, forged=True), batch(PLAIN)
    assert shown(by, forged, LaneBook(1)) == []
    found = shown(by, forged, LaneBook(1), report_shown(forged, 1))
    assert frauds(found) == {(1, Fraud.BAD_SIGNATURE)}
    assert shown(by, honest, LaneBook(1), report_shown(honest, 1)) == []


def test_a_header_that_only_an_answer_shows_is_looked_at_beside_its_lane() -> None:
    first, second = batch(PLAIN), batch(PLAIN, 2, 5)
    by, book = examiner(KeyType.SECP256K1, first), LaneBook(1)
    asyncio.run(by.examine(standing(first), Opened(first, {}, True), book, LanesView()))
    found = shown(by, second, book, report_shown(second, 0))
    assert frauds(found) == {(2, Fraud.BROKEN_CHAIN)}
    other = replace(first, header=replace(first.header, data_hash=b"\1" * 32))
    found = shown(by, other, book, report_shown(other, 0))
    assert (1, Fraud.EQUIVOCATION) in frauds(found)


def test_a_report_that_a_batch_with_a_file_has_too_is_found_when_it_is_shown() -> None:
    first, again = batch(PLAIN), batch(PLAIN, 3, 0)  # sequences 1 and 2, then 0 and 1
    by, book = examiner(KeyType.SECP256K1, first), LaneBook(1)
    asyncio.run(by.examine(standing(first), Opened(first, {}, True), book, LanesView()))
    early = shown(by, again, book, report_shown(again, 0))
    assert (3, Fraud.DUPLICATE_REPORT) not in frauds(early)
    late = shown(by, again, book, report_shown(again, 0), report_shown(again, 1))
    assert (3, Fraud.DUPLICATE_REPORT) in frauds(late)


def test_a_report_that_is_too_long_to_be_shown_is_nobodys_source() -> None:
    """Else who makes one up of 5,000 readings could keep its bond."""
    good, made_up = batch(PLAIN), hourly(AT, 5_000)
    head = PLAIN.identity.device + (9).to_bytes(8, "big") + len(made_up).to_bytes(2, "big")
    report = head + b"".join(one.pack() for one in made_up) + bytes(64)
    leaves = [*good.leaves, *leaves_of(PLAIN, made_up[5:])]
    bad = draft(1, sorted(leaves), [*good.reports, report])
    by, file = examiner(KeyType.SECP256K1, bad), Opened(bad, {}, True)
    (charge,) = asyncio.run(by.examine(standing(bad), file, LaneBook(1), LanesView()))
    assert charge.accusation.fraud is Fraud.MALFORMED_REPORT
    call = challenge_call(charge.accusation, charge.standing, charge.revealed)
    nobody: Any = None  # is asked
    assert asyncio.run(DisputesCalls(nobody, DEPLOYMENT, bytes(20)).said_to(call)) == TOO_LARGE
    inquiry = asyncio.run(by.inquiry(standing(bad), file, LanesView(), Asking()))
    assert {one.kind for one in inquiry.wanted()} == {Demand.SOURCE}
    assert len(inquiry.wanted()) == 4_995


def test_a_key_that_only_an_answer_shows_judges_its_device() -> None:
    forged, honest = batch(SECURE, forged=True), batch(SECURE)
    by = examiner(KeyType.P256, forged, honest)
    who = SECURE.identity.device + COMMITTED_AT.to_bytes(12, "big")
    told = (Demand.REGISTRATION, who, Evidence(extra=signer_of(SECURE.identity)))

    def found(dossier: Dossier, *answers: tuple[Demand, bytes, Evidence]) -> set[Fraud]:
        one, file = standing(dossier), Opened(dossier, {}, True)
        charges = asyncio.run(by.examine(one, file, LaneBook(1), answered(one, *answers)))
        return {charge.accusation.fraud for charge in charges}

    assert found(forged) == set()
    assert found(forged, told) == {Fraud.BAD_SIGNATURE}
    assert found(honest, told) == set()


def test_a_window_of_few_rounds_is_used_by_asking_side_by_side() -> None:
    assert [width_for(rounds) for rounds in (24, 20, 19, 14, 13, 10, 9, 3)] == [
        *(1, 1, 2, 2, 4, 4, 8, 8)
    ]


async def test_what_a_cheat_demands_of_itself_in_our_place_has_an_end() -> None:
    """Contracts pay by the data of a bond that stands."""

    class Asked:
        async def eth_call(self, to: bytes, data: bytes) -> bytes:
            return b"".join(word.to_bytes(32, "big") for word in (7, 100, 1, 3))

    rpc: Any = Asked()
    expiring = Expiring(DisputesCalls(rpc, DEPLOYMENT, b"\5" * 20))
    demand, other = (
        OpenDemand(bytes([n]) * 32, 3 << 32, Demand.SOURCE, bytes(26), bytes(32), 100, 5)
        for n in (1, 2)
    )
    assert expiring.want(demand.id, {demand.id})
    assert not expiring.want(b"\3" * 32, {demand.id})
    for after_s, expired in ((WANTED_AFTER_S, []), (WANTED_AFTER_S + 1, [demand])):
        head = Block(9, bytes(32), bytes(32), 100 + after_s, 1)
        assert await expiring.due([demand, other], head, {3: 1}, set()) == expired
    assert await expiring.due([demand], head, {3: 1}, {3}) == []  # a claim of ours goes first
