"""The picture that `fleet send --plot` draws of a run, and what it keeps of it."""

from hypothesis import given
from hypothesis import strategies as st

from corechain.devnet.fleet.chart import chart, round_up
from corechain.devnet.fleet.sender import Tally
from corechain.devnet.fleet.timeline import Point, Timeline


def test_a_plot_is_a_png_whatever_happened() -> None:
    points = [Point(float(at), at * 4000, 0, 0, 100.0 + at) for at in range(60)]
    for some in (points, points[:1], []):
        picture = chart(some)
        assert picture.startswith(b"\x89PNG\r\n\x1a\n")
        assert picture.endswith(b"IEND\xaeB`\x82")


@given(st.floats(1e-3, 1e9))
def test_an_axis_ends_at_a_round_number_above_all_values(value: float) -> None:
    top = round_up(value)
    assert value <= top <= 10 * value
    assert f"{top:e}"[0] in "125"


def test_a_timeline_of_days_keeps_its_ends_and_stays_small() -> None:
    timeline, tally = Timeline(), Tally()
    for second in range(10_000):
        tally.elapsed_s, tally.acknowledged = float(second), 10 * second
        timeline.add(tally)
    assert len(timeline.points) <= 2_400
    assert timeline.points[0].at_s == 0
    assert timeline.points[-1].at_s == 9_999
