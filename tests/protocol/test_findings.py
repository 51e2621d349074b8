"""Of an honest batch nothing is found, whatever it looks like; of odd bytes nothing breaks.

What is found in fraudulent batches the contract judges: tests/contracts/anvil/test_frauds.py. A
million honest batches: `make guard-honest`.
"""

from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from support.honest import DOMAIN, accused, network, with_fault

from corechain.protocol.archive import Place
from corechain.protocol.batch import Header
from corechain.protocol.evidence import Dossier, Fraud
from corechain.protocol.findings import find
from corechain.protocol.hashing import ZERO26
from corechain.protocol.inquiry import Inquiry, subject_of
from corechain.protocol.statistics import StatisticsTree
from corechain.protocol.suspects import Standing, Suspect

READING = st.binary(min_size=38, max_size=42)
REPORT = st.binary(min_size=20, max_size=140)


@settings(max_examples=15)
@given(st.integers(0, 2**32))
def test_an_honest_lane_is_never_accused(seed: int) -> None:
    assert not list(accused(network(Random(seed))))


@settings(max_examples=5)
@given(st.integers(0, 2**32))
def test_a_changed_signature_is_found(seed: int) -> None:
    """So that a search that finds nothing anywhere fails here."""
    random = Random(seed)
    for one in network(random, 2):
        found = {accusation.fraud for accusation in find(with_fault(one, random))}
        assert Fraud.BAD_SIGNATURE in found


@settings(max_examples=40)
@given(
    st.lists(READING, min_size=1, max_size=5),
    st.lists(REPORT, min_size=1, max_size=5),
    st.integers(0, 6),
    st.integers(0, 6),
)
def test_odd_leaves_break_no_search(
    leaves: list[bytes], reports: list[bytes], reading_count: int, report_count: int
) -> None:
    """Also counts that fit neither."""
    header = Header(
        1, ZERO26, ZERO26, ZERO26, ZERO26, bytes(32), bytes(32), reading_count, report_count, 0, 9
    )
    dossier = Dossier(header, leaves, reports, StatisticsTree(leaves))
    true = replace(header, reports_root=dossier.reports_tree.root)
    committed = replace(dossier, header=true)
    standing = Standing(1, committed.revealed.commitment, Place.alone(1), 100)
    suspect = Suspect(standing, committed, DOMAIN)
    found = {accusation.fraud for accusation in find(suspect)}
    shown = [leaf for _, leaf in committed.shown_readings()]
    assert (Fraud.MALFORMED_READING in found) >= any(len(leaf) != 40 for leaf in shown)
    for wanted in Inquiry(standing, DOMAIN, {}, committed).wanted():
        assert len(subject_of(wanted, 100)) == 32
