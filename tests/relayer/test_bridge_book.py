"""What of an upload is new: times that rise, counters that fall back."""

from hypothesis import given
from hypothesis import strategies as st

from corechain_relayer.bridge.book import Known, take
from corechain_relayer.bridge.formats.upload import Counter, Measurement, Upload
from relayer.uploads import AT

RAIN, TEMPERATURE = 8, 1
NOTHING = Known()


def rain(*totals, at=AT, every=60):
    """Uploads with the counters of each moment: {name: total}."""
    return [
        Upload((), tuple(Counter(name, RAIN, at + n * every, t) for name, t in counters.items()))
        for n, counters in enumerate(totals)
    ]


def fallen(*totals, **options):
    """The amounts that a series of uploads gives; None where one gives none."""
    known, found = NOTHING, []
    for upload in rain(*totals, **options):
        taken = take(upload, known)
        known = taken.known
        found.append(taken.observations[0].value if taken.observations else None)
    return found


def test_rain_is_what_was_added_since_the_last_upload_and_the_first_says_nothing():
    assert fallen({"daily": 30}, {"daily": 30}, {"daily": 55}) == [None, 0, 25]


def test_a_counter_that_is_set_back_at_midnight_gives_what_has_fallen_since():
    assert fallen({"daily": 1200}, {"daily": 20}, {"daily": 20}) == [None, 20, 0]


def test_a_counter_that_falls_a_little_was_read_wrong():
    assert fallen({"yearly": 80_000}, {"yearly": 79_990}, {"yearly": 80_020}) == [None, None, 30]


def test_a_counter_that_falls_to_half_or_an_hour_later_was_set_back():
    assert fallen({"daily": 100}, {"daily": 50}) == [None, 50]
    assert fallen({"daily": 100}, {"daily": 51}) == [None, None]
    assert fallen({"daily": 100}, {"daily": 51}, every=3_599) == [None, None]
    assert fallen({"daily": 100}, {"daily": 51}, every=3_600) == [None, 51]


def test_an_amount_that_no_reading_can_hold_is_left_out():
    largest = 2**31 - 1
    assert fallen({"total": 0}, {"total": largest}) == [None, largest]
    assert fallen({"total": 0}, {"total": largest + 1}) == [None, None]


def test_a_repeated_upload_and_a_late_one_are_told_apart():
    known = take(rain({"daily": 30})[0], NOTHING).known
    said = [take(rain({"daily": 30}, at=at)[0], known).skipped["daily"] for at in (AT, AT - 1)]
    assert said == ["Duplicate", "OutOfOrder"]


def test_a_counter_that_is_lower_after_hours_was_set_back():
    assert fallen({"daily": 100}, {"daily": 80}, every=7_200) == [None, 80]


def test_the_counter_that_falls_back_most_rarely_is_taken():
    moments = [{"yearly": 900, "daily": 100}, {"yearly": 950, "daily": 20}]
    assert fallen(*moments) == [None, 50]


def test_a_counter_that_was_away_does_not_count_again_what_another_has_counted():
    moments = [{"yearly": 900, "daily": 10}, {"daily": 30}, {"yearly": 970, "daily": 80}]
    assert fallen(*moments) == [None, 20, 50]


def test_an_upload_without_counters_keeps_them():
    known = take(rain({"daily": 30})[0], NOTHING).known
    known = take(Upload((Measurement(TEMPERATURE, AT + 30, 850),)), known).known
    (taken,) = take(rain({"daily": 45}, at=AT + 60)[0], known).observations
    assert taken == Measurement(RAIN, AT + 60, 15)


def test_a_late_upload_changes_no_counter():
    known = take(rain({"daily": 30})[0], NOTHING).known
    late = take(rain({"daily": 25}, at=AT - 60)[0], known)
    assert late.observations == ()
    assert late.skipped == {"daily": "OutOfOrder"}
    assert late.known == known


def test_an_upload_that_comes_twice_is_sent_once():
    upload = Upload((Measurement(TEMPERATURE, AT, 850),), rain({"daily": 30})[0].counters)
    first = take(upload, NOTHING)
    again = take(upload, first.known)
    assert first.observations == (Measurement(TEMPERATURE, AT, 850),)
    assert again.observations == ()
    assert set(again.skipped.values()) == {"Duplicate"}


UPLOADS = st.lists(
    st.builds(
        Upload,
        st.lists(
            st.builds(Measurement, st.sampled_from([1, 2]), st.integers(AT, AT + 20), st.just(5)),
            max_size=6,
        ).map(tuple),
        st.dictionaries(st.sampled_from("ab"), st.integers(0, 9_999), max_size=2).flatmap(
            lambda totals: st.integers(AT, AT + 20).map(
                lambda at: tuple(Counter(name, RAIN, at, t) for name, t in totals.items())
            )
        ),
    ),
    max_size=8,
)


@given(UPLOADS)
def test_what_is_sent_of_a_metric_rises_in_time_and_no_amount_is_negative(uploads):
    known, newest = NOTHING, {}
    for upload in uploads + uploads:  # everything comes twice
        taken = take(upload, known)
        known = taken.known
        for metric, at, value in taken.observations:
            assert at > newest.get(metric, 0)
            assert value >= 0
            newest[metric] = at
    assert known.newest == newest


@given(st.lists(st.integers(0, 500), min_size=2, max_size=20))
def test_all_rain_of_a_counter_that_only_grows_is_sent(steps):
    totals, total = [], 0
    for step in steps:
        total += step
        totals.append({"total": total})
    assert sum(amount or 0 for amount in fallen(*totals)) == total - steps[0]
