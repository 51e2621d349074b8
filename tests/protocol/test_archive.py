"""Old commitments are proven by the headers between, grouped ones by their place in the group."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.archive import (
    Group,
    Place,
    Revealed,
    trail,
    verify_place,
    verify_trail,
)
from corechain.protocol.batch import Header, ancestor_of
from corechain.protocol.errors import InvalidProof
from corechain.protocol.hashing import ZERO26, hash26


@given(st.integers(2, 2**27 - 1), st.data())
def test_an_old_batch_is_reached_in_logarithmically_many_steps(newest, data):
    target = data.draw(st.integers(1, newest - 1))
    headers = list(trail(newest, target))
    assert headers[0] == newest
    assert len(headers) <= 3 * newest.bit_length()


def test_ancestors_are_the_jumps_of_a_skew_binary_list():
    jumps = [0]
    for number in range(1, 5000):
        before = number - 1
        even = before - jumps[before] == jumps[before] - jumps[jumps[before]]
        jumps.append(jumps[jumps[before]] if even else before)
        assert ancestor_of(number) == jumps[number]


def _chained(count):
    """Revealed headers 1 to `count`, each naming its predecessor and its ancestor."""
    chain = [None]
    commitments = [ZERO26]
    for number in range(1, count + 1):
        links = commitments[number - 1], commitments[ancestor_of(number)]
        header = Header(number, *links, ZERO26, ZERO26, b"\1" * 32, b"\2" * 32, 1, 1, 5, 6)
        chain.append(Revealed(header, hash26(number.to_bytes(4, "big"))))
        commitments.append(chain[-1].commitment)
    return chain, commitments


CHAIN, COMMITMENTS = _chained(300)


@given(st.integers(2, 300), st.data())
def test_an_old_commitment_is_proven_by_the_headers_between(newest, data):
    target = data.draw(st.integers(1, newest - 1))
    links = [CHAIN[number] for number in trail(newest, target)]
    verify_trail(target, COMMITMENTS[target], links)
    with pytest.raises(InvalidProof):
        verify_trail(target, hash26(b"another"), links)
    # Without its first header a trail is one from a nearer batch; without any other it is broken.
    missing = data.draw(st.integers(1, len(links)))
    rest = links[:missing] + links[missing + 1 :]
    with pytest.raises(InvalidProof):
        verify_trail(target, COMMITMENTS[target], rest if rest != links else [])


@pytest.mark.parametrize("ends", [(5, 5), (5, 9), (5, 0), (1 << 32 | 5, 3)])
def test_no_trail_leads_forward_or_out_of_its_lane(ends):
    with pytest.raises(ValueError, match="no headers lead"):
        list(trail(*ends))


def test_a_header_of_another_lane_leads_nowhere():
    with pytest.raises(InvalidProof):
        verify_trail(1 << 32 | 3, COMMITMENTS[3], [CHAIN[5]])


@given(st.integers(2, 256), st.integers(1, 2**27), st.data())
def test_each_batch_of_a_group_stands_at_its_place(size, first, data):
    group = Group(first, [hash26(bytes([n])) for n in range(size)])
    member = data.draw(st.integers(0, size - 1))
    place, commitment = group.place(first + member), group.commitments[member]
    verify_place(group.tree.root, True, first + member, commitment, place)
    with pytest.raises(InvalidProof):
        verify_place(group.tree.root, True, first + member + 1, commitment, place)
    assert group.packed[26 * member : 26 * member + 26] == commitment


@pytest.mark.parametrize("size", [0, 1, 257])
def test_a_group_has_two_to_256_members(size):
    with pytest.raises(ValueError, match="make a group"):
        Group(1, [ZERO26] * size)


def test_a_batch_that_was_committed_alone_stands_at_its_own_id():
    word = hash26(b"commitment")
    verify_place(word, False, 7, word, Place.alone(7))
    for batch, commitment, place in (
        (8, word, Place.alone(7)),
        (7, hash26(b"other"), Place.alone(7)),
        (7, word, Place(7, 1)),
    ):
        with pytest.raises(InvalidProof):
            verify_place(word, False, batch, commitment, place)
