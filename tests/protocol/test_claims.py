"""What a data file claims to be: told from strangers' bytes even where it breaks the rules.

given bytes
  ├── of a canonical file: the claimed commitment is its commitment
  ├── of a file that breaks the rules but was committed to: the claimed one is what was committed
  └── of anything else: another commitment, or a protocol error; never another exception
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protocol.test_batch import KEYS, reports, sealed

from corechain.protocol.batch import rebuild
from corechain.protocol.claims import claim_of
from corechain.protocol.errors import MalformedDataFile, ProtocolError
from corechain.protocol.reading import SignedReport

BATCH = sealed(reports(2))
FILE = BATCH.data_file
RULES_AT, SIGNATURE_BYTES, VERDICT_BYTES = 63, 64, 3
VERDICTS = 2 * 2 * len(KEYS)


def test_a_canonical_file_claims_its_commitment():
    assert claim_of(FILE).commitment == BATCH.commitment


def test_a_forged_signature_changes_the_claim_but_not_that_there_is_one():
    honest = reports(1)
    forged = sealed([SignedReport(honest[0].report, honest[1].signature), *honest[1:]])
    assert claim_of(forged.data_file).commitment == forged.commitment


@given(st.integers(0, 8 * len(FILE) - 1))
def test_a_flipped_bit_never_claims_the_same_commitment(position):
    forged = bytearray(FILE)
    forged[position // 8] ^= 1 << position % 8
    try:
        assert claim_of(bytes(forged)).commitment != BATCH.commitment
    except MalformedDataFile:
        return


@given(st.integers(0, len(FILE) - 1))
def test_a_truncated_file_claims_nothing(cut):
    with pytest.raises(MalformedDataFile):
        claim_of(FILE[:cut]).commitment


def test_other_rules_and_other_verdicts_are_claimed_as_they_stand():
    other = bytearray(FILE)
    other[RULES_AT] ^= 1
    lenient = bytearray(FILE)
    lenient[-VERDICT_BYTES] = 3  # suspect where the rules say pass
    claims = {claim_of(bytes(file)).commitment for file in (other, lenient, FILE)}
    assert len(claims) == 3


def test_a_file_that_accepts_nothing_claims_nothing():
    silent = bytearray(FILE)
    for position in range(VERDICTS):
        silent[-VERDICT_BYTES * (position + 1)] = 4  # fail
    with pytest.raises(MalformedDataFile):
        claim_of(bytes(silent)).commitment


def test_a_report_of_no_observations_can_be_claimed():
    """It is a fraud that can be challenged, so the file must be known for what it is."""
    count_at = FILE.rindex(KEYS[0].identity.device) + 28  # behind the id and the sequence
    size = int.from_bytes(FILE[count_at : count_at + 2], "big")
    observations = size * 19
    short = FILE[:count_at] + b"\0\0" + FILE[count_at + 2 + observations : -size * VERDICT_BYTES]
    assert claim_of(short).commitment != BATCH.commitment
    with pytest.raises(MalformedDataFile):
        rebuild(short)


mutations = st.lists(
    st.tuples(st.integers(0, len(FILE) - 1), st.binary(min_size=0, max_size=8)), max_size=6
)


@given(mutations)
def test_bytes_of_strangers_raise_protocol_errors_alone(changes):
    data = FILE
    for position, patch in changes:
        data = data[:position] + patch + data[position + len(patch) // 2 :]
    for judge in (claim_of, rebuild):
        try:
            judge(data)
        except ProtocolError:
            continue
