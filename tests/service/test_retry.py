"""Who was refused is asked to come again: later than at once, and not all in one second."""

from hypothesis import given
from hypothesis import strategies as st

from corechain.service.retry import LONGEST_RETRY_S, spread_s


@given(st.floats(0, 1_000))
def test_the_wait_is_whole_seconds_between_once_and_twice_what_is_needed(seconds: float) -> None:
    found = spread_s(seconds)
    assert 1 <= found <= LONGEST_RETRY_S
    assert min(seconds, LONGEST_RETRY_S) <= found <= 2 * max(1.0, seconds) + 1


def test_a_storm_is_spread() -> None:
    assert len({spread_s(20.0) for _ in range(1_000)}) > 15
