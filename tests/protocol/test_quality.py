"""Rules on real and made-up faults. Values are scaled: 312 is 3.12 Cel."""

from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.quality import Reason, State, judge_report
from corechain.protocol.reading import FAIL, PASS, SUSPECT, DeviceId, Observation, Report
from corechain.protocol.vocabulary import METRICS

DEVICE, HOUR = DeviceId(b"\x01" * 20), 3600
TEMPERATURE, DEW_POINT, PRESSURE, SPEED, GUST = 1, 2, 4, 5, 6


def judge(items, states=None):
    """Verdicts of (metric, hour, value) observations in one report."""
    report = Report.of(DEVICE, 1, [Observation(m, 7, HOUR * (1 + h), v) for m, h, v in items])
    return judge_report(report, {} if states is None else states)


def flags(items, states=None):
    return [verdict.flag for verdict in judge(items, states)]


def test_a_hurricane_of_1048_miles_an_hour_fails_by_range():
    (verdict,) = judge([(SPEED, 0, 46_866)])
    assert (verdict.flag, verdict.reasons) == (FAIL, Reason.RANGE)


def test_a_spike_fails_and_the_return_from_it_does_not():
    verdicts = judge([(TEMPERATURE, 0, 1390), (TEMPERATURE, 1, -1050), (TEMPERATURE, 2, 1400)])
    assert [verdict.flag for verdict in verdicts] == [PASS, FAIL, PASS]
    assert verdicts[1].reasons == Reason.STEP


def test_a_large_step_is_suspect_before_it_fails():
    assert flags([(TEMPERATURE, 0, 0), (TEMPERATURE, 1, 401)]) == [PASS, SUSPECT]
    assert flags([(TEMPERATURE, 0, 0), (TEMPERATURE, 1, 400)]) == [PASS, PASS]


def test_the_tolerance_grows_with_the_gap_and_ends_after_twelve_hours():
    assert flags([(TEMPERATURE, 0, 0), (TEMPERATURE, 3, 1200)]) == [PASS, PASS]
    assert flags([(TEMPERATURE, 0, 0), (TEMPERATURE, 13, 5_000)]) == [PASS, PASS]


def test_a_value_that_stands_still_half_a_day_is_suspect_not_wrong():
    verdicts = judge([(TEMPERATURE, hour, 500) for hour in range(14)])
    assert [verdict.flag for verdict in verdicts] == [PASS] * 12 + [SUSPECT] * 2
    assert verdicts[-1].reasons == Reason.PERSISTENCE


def test_a_silence_ends_a_run():
    hours = [*range(8), *range(12, 18)]
    assert flags([(TEMPERATURE, hour, 500) for hour in hours]) == [PASS] * 14


def test_a_silence_of_three_hours_does_not_end_a_run_and_of_a_second_more_does():
    def last(gap_s):
        """The reasons of a value that has stood for 9 hours and then comes after a gap."""
        at = 100 * HOUR
        states = {(DEVICE, TEMPERATURE): State(500, at, at - 9 * HOUR)}
        items = [Observation(TEMPERATURE, 7, at + gap_s, 500)]
        (verdict,) = judge_report(Report.of(DEVICE, 1, items), states)
        return verdict.reasons

    assert last(3 * HOUR) == Reason.PERSISTENCE
    assert last(3 * HOUR + 1) == Reason(0)


def test_the_bits_of_reasons_are_those_of_the_data_file():
    assert {reason.name: reason.value for reason in Reason} == {
        "RANGE": 1,
        "STEP": 2,
        "PERSISTENCE": 4,
        "CONSISTENCY": 8,
        "DUPLICATE": 16,
        "OUT_OF_ORDER": 32,
        "UNKNOWN_METRIC": 64,
    }


def test_a_dew_point_above_the_temperature_is_suspect_in_any_order():
    above = [(TEMPERATURE, 0, 500), (DEW_POINT, 0, 501)]
    assert flags(above) == [PASS, SUSPECT]
    assert flags(above[::-1]) == [SUSPECT, PASS]
    assert flags([(TEMPERATURE, 0, 500), (DEW_POINT, 0, 500)]) == [PASS, PASS]


def test_a_gust_below_the_wind_is_suspect():
    (_, gust) = judge([(SPEED, 0, 500), (GUST, 0, 400)])
    assert (gust.flag, gust.reasons) == (SUSPECT, Reason.CONSISTENCY)


def test_the_same_hour_twice_and_an_earlier_hour_fail():
    states = {(DEVICE, PRESSURE): State(101_000, 5 * HOUR, 5 * HOUR)}
    (twice, earlier) = judge([(PRESSURE, 4, 101_000), (PRESSURE, 2, 101_000)], states)
    assert twice.reasons == Reason.DUPLICATE
    assert earlier.reasons == Reason.OUT_OF_ORDER
    assert twice.flag == earlier.flag == FAIL


def test_a_metric_outside_the_vocabulary_fails():
    (verdict,) = judge([(999, 0, 1)])
    assert (verdict.flag, verdict.reasons) == (FAIL, Reason.UNKNOWN_METRIC)


observed = st.lists(
    st.tuples(
        st.sampled_from([metric.code for metric in METRICS]),
        st.integers(0, 50),
        st.integers(-(2**31), 2**31 - 1),
    ),
    min_size=1,
    max_size=30,
)


@given(observed)
def test_what_is_accepted_is_in_range_and_moves_forward_in_time(items):
    limits = {metric.code: (metric.low, metric.high) for metric in METRICS}
    last = {}
    for (code, hour, value), verdict in zip(items, judge(items), strict=True):
        if verdict.flag != FAIL:
            assert limits[code][0] <= value <= limits[code][1]
            assert hour > last.get(code, -1)
            last[code] = hour


@given(observed, st.integers(0, 29))
def test_judging_in_two_parts_is_judging_in_one(items, cut):
    whole = judge(items)
    states = {}
    first = judge(items[:cut], states) if items[:cut] else []
    second = judge(items[cut:], states) if items[cut:] else []
    # Consistency looks only within a report, so it is left out of the comparison.
    plain = [v.reasons & ~Reason.CONSISTENCY for v in whole]
    assert plain == [v.reasons & ~Reason.CONSISTENCY for v in [*first, *second]]
