"""In which block code appeared: asked of nodes that know all, some or nothing of the past."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scripts._deploy.history import Look, UnknownHistory, confirms, creation_block

HEAD = 2**40
MOST_LOOKS = 45
heights = st.integers(1, HEAD)


def node(created: int, oldest: int = 0) -> Look:
    """One that has forgotten every state before `oldest`."""
    return lambda block: None if block < oldest else block >= created


@given(created=heights, later=heights)
def test_the_block_is_found_in_few_looks(created: int, later: int) -> None:
    looks: list[int] = []

    def look(block: int) -> bool | None:
        looks.append(block)
        return node(created)(block)

    assert creation_block(look, min(created + later, HEAD)) == created
    assert len(looks) <= MOST_LOOKS


@given(created=heights, oldest=heights)
def test_a_node_that_forgot_gives_the_right_block_or_none(created: int, oldest: int) -> None:
    if oldest < created:
        assert creation_block(node(created, oldest), HEAD) == created
    else:
        with pytest.raises(UnknownHistory) as unknown:
            creation_block(node(created, oldest), HEAD)
        assert unknown.value.oldest == oldest


@given(head=heights)
def test_a_node_that_ignores_the_block_is_not_believed(head: int) -> None:
    with pytest.raises(UnknownHistory):
        creation_block(lambda block: True, head)


@given(created=heights, data=st.data())
def test_a_node_that_is_busy_for_a_moment_is_never_a_later_block(
    created: int, data: st.DataObject
) -> None:
    busy = data.draw(st.sets(st.integers(0, 30), max_size=4))
    looks = iter(range(100))
    assume(0 not in busy)

    def look(block: int) -> bool | None:
        return None if next(looks) in busy else node(created)(block)

    try:
        assert creation_block(look, HEAD) == created
    except UnknownHistory:
        assert busy


@given(created=heights, block=heights, head=heights)
def test_only_the_block_of_the_creation_is_confirmed(created: int, block: int, head: int) -> None:
    assume(created <= head)
    assert confirms(node(created), block, head) == (block == created)
    assert confirms(node(created), created, head)


@given(created=heights, oldest=heights)
def test_what_the_node_forgot_does_not_count_against_a_known_block(
    created: int, oldest: int
) -> None:
    assert confirms(node(created, oldest), created, HEAD)
