"""Paths, options and filters of SensorThings, without a store.

given a filter
  ├── printed and parsed again it is the same
  ├── holds for what it says, and looks no further than its times
  └── of another grammar, too long, too deep or too odd: a typed refusal, never another error
given options and paths: read, or refused by their names
given an id: what it says, written again, is the same id
"""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corechain.protocol.errors import NotFound
from corechain_indexer.api.sensorthings.filters import (
    FUNCTIONS,
    MAX_DEPTH,
    MAX_LENGTH,
    OPERATORS,
    Call,
    Compare,
    Every,
    Literal,
    Node,
    Not,
    Path,
    Some,
    parse,
    printed,
)
from corechain_indexer.api.sensorthings.judging import holds, is_about_time, pinned, span_of
from corechain_indexer.api.sensorthings.model import SETS, named_by
from corechain_indexer.api.sensorthings.options import MAX_LEVELS, Options, options_of
from corechain_indexer.api.sensorthings.paths import resource_of
from corechain_indexer.api.sensorthings.shapes import shape_of
from corechain_indexer.errors import InvalidQuery, NotInSubset

SQUARE = "POLYGON((0 0, 10 0, 10 10, 0 10, 0 0),(4 4, 6 4, 6 6, 4 6, 4 4))"
DEVICE = "0x" + "ab" * 20
instants = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)).map(
    lambda at: at.replace(tzinfo=UTC)
)
numbers = st.integers(-(10**12), 10**12) | st.floats(-1e12, 1e12, allow_nan=False)
literals = st.builds(
    Literal,
    st.none() | st.booleans() | numbers | st.text(max_size=12) | instants,
)
paths = st.builds(
    Path, st.sampled_from([("result",), ("id",), ("Thing", "name"), ("properties", "owner")])
)
operands = paths | literals
leaves = st.builds(Compare, st.sampled_from(OPERATORS), operands, operands) | st.builds(
    lambda name, first, second: Call(name, (first, second)),
    st.sampled_from(sorted(FUNCTIONS)),
    operands,
    operands | st.just(Literal(shape_of(SQUARE))),
)


def grown(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    """Trees of these."""
    return st.recursive(
        inner,
        lambda part: (
            part.map(Not) | st.tuples(part, part).map(Every) | st.tuples(part, part).map(Some)
        ),
        max_leaves=5,
    )


BITS = ("'", "''", "(", ")", "and", "or", "not", "eq", "result", "1", "-", "null", ",", "add", " ",
        "2013-02-31T25:00:00Z", "2013-02-01T00:00Z", "geography'POLYGON((1 2))'", "/", "1e999",
        "contains(", "; drop table batch", "\x00", "é", "\u0661", "$")  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(grown(leaves))
def test_a_filter_that_is_printed_says_the_same(node: Node) -> None:
    assert parse(printed(node)) == node


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(BITS), max_size=12).map(" ".join) | st.text(max_size=60))
def test_whatever_is_no_filter_is_refused_by_name(text: str) -> None:
    for read in (parse, shape_of, resource_of):
        with suppress(InvalidQuery, NotInSubset, NotFound):
            read(text)
    named_by("Datastreams", text)
    for name in ("$expand", "$orderby", "$select", "$top", "$skip", "$count"):
        with suppress(InvalidQuery, NotInSubset):
            options_of(SETS["Things"], {name: text})


def reading(path: tuple[str, ...]) -> Any:
    values = {
        "result": -1.5, "id": "7:3", "phenomenonTime": datetime(2013, 2, 1, tzinfo=UTC),
        "resultTime": None, "Thing": "it's", "flag": True,
        "location": {"type": "Point", "coordinates": [5.0, 2.0]},
        "hole": {"type": "Point", "coordinates": [5.0, 5.0]},
        "properties": {"owner": "0x"}, "feature": {"type": "Polygon", "coordinates": [[[5.0]]]},
    }  # fmt: skip
    return values[path[0]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("result lt -1 and result ge -1.5", True),
        ("result eq 3 or not (result gt 0)", True),
        ("not result eq -1.5", False),
        ("result gt 0 or result eq -1.5 and id eq '7:4'", False),
        ("(result gt 0 or result eq -1.5) and id eq '7:3'", True),
        ("Thing eq 'it''s'", True),
        ("id eq 7", False),
        ("id ne 7", True),
        ("resultTime eq null", True),
        ("resultTime ne null", False),
        ("result eq null", False),
        ("flag eq true", True),
        ("flag eq false", False),
        ("phenomenonTime ge 2013-02-01T01:00:00+01:00", True),
        ("phenomenonTime gt 2013-02-01", None),
        ("2013-01-31T00:00:00Z lt phenomenonTime", True),
        ("startswith(id,'7') and endswith(id,':3') and contains(id,':')", True),
        ("substringof('it',Thing)", True),
        ("startswith(result,'7')", False),
        (f"st_within(location, geography'{SQUARE}')", True),
        (f"geo.intersects(hole, geography'{SQUARE}')", False),
    ],
)
def test_a_filter_holds_for_what_it_says(text: str, expected: bool | None) -> None:
    if expected is None:
        with pytest.raises(InvalidQuery):
            parse(text)
        return
    assert holds(parse(text), reading) is expected


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", InvalidQuery),
        ("result", InvalidQuery),
        ("result eq", InvalidQuery),
        ("result eq 1)", InvalidQuery),
        ("result eq 1 result", InvalidQuery),
        ("result = 1", InvalidQuery),
        ("eq eq eq", InvalidQuery),
        ("result eq 1e309", InvalidQuery),
        ("(" * (MAX_DEPTH + 2) + "result eq 1" + ")" * (MAX_DEPTH + 2), InvalidQuery),
        ("not " * (MAX_DEPTH + 2) + "result eq 1", InvalidQuery),
        ("result eq 1 or " * (MAX_LENGTH // 12) + "result eq 1", InvalidQuery),
        ("contains(id)", InvalidQuery),
        ("st_within(location, geography'POLYGON((0 0, 1 0, 0 0))')", InvalidQuery),
        ("st_within(location, geography'POLYGON((0 0, 1 0, 1 x, 0 0))')", InvalidQuery),
        ("st_within(location, geography'nowhere')", InvalidQuery),
        ("st_within(location, geography'POINT(1 2)')", NotInSubset),
        ("result add 1 eq 2", NotInSubset),
        ("year(phenomenonTime) eq 2013", NotInSubset),
        ("result eq floor(2)", NotInSubset),
        ("contains(id,'7') eq true", NotInSubset),
    ],
)
def test_what_no_filter_of_ours_is_says_why(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        parse(text)


def test_a_filter_that_compares_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(InvalidQuery):
        holds(parse("location eq location"), reading)
    with pytest.raises(InvalidQuery):
        holds(parse("st_within(id, 'x')"), reading)
    for name in ("properties", "feature"):
        with pytest.raises(NotInSubset, match="no point"):
            holds(parse(f"geo.intersects({name}, geography'{SQUARE}')"), reading)


def moment(second: float) -> datetime:
    return datetime.fromtimestamp(second, UTC)


times = st.builds(
    lambda operator, halves, is_left: Compare(
        operator,
        *[Path(("phenomenonTime",)), Literal(moment(halves / 2))][:: 1 if is_left else -1],
    ),
    st.sampled_from(OPERATORS),
    st.integers(0, 20),
    st.booleans(),
)


@settings(max_examples=20, deadline=None)
@given(grown(times | st.just(parse("result lt 0")) | st.just(parse("result gt 0"))))
def test_no_reading_outside_of_a_filters_times_meets_it(node: Node) -> None:
    start, end = span_of(node, (0, 10))
    for second in range(11):
        is_met = holds(node, lambda path, at=second: {"phenomenonTime": moment(at)}.get(path[0], 1))
        assert start <= second <= end or not is_met
        if is_about_time(node):
            assert is_met == (start <= second <= end)


def test_times_of_a_filter_are_what_is_read() -> None:
    at, everything = int(datetime(2013, 2, 1, tzinfo=UTC).timestamp()), (0, 2**33)
    for text, span in (
        ("phenomenonTime eq 2013-02-01T00:00:00Z", (at, at)),
        ("phenomenonTime eq 2013-02-01T00:00:00.5Z", (at + 1, at)),
        ("phenomenonTime gt 2013-02-01T00:00:00Z and result gt 1", (at + 1, 2**33)),
        ("2013-02-01T00:00:00Z gt phenomenonTime", (0, at - 1)),
        ("phenomenonTime le 2013-02-01T00:00:00Z or phenomenonTime ge 2013-02-01T00:01:00Z",
         everything),
        ("not phenomenonTime gt 2013-02-01T00:00:00Z", everything),
    ):  # fmt: skip
        assert span_of(parse(text), everything) == span, text
    assert is_about_time(parse("phenomenonTime gt 2013-02-01T00:00:00Z"))
    assert not is_about_time(parse("phenomenonTime gt 2013-02-01T00:00:00Z and result gt 1"))
    pins = (("Datastream", "id"),)
    assert pinned(parse("result gt 1 and Datastream/id eq 'x'"), pins) == "x"
    assert pinned(parse("result gt 1 or Datastream/id eq 'x'"), pins) is None


def test_options_are_read_with_those_in_parentheses() -> None:
    made = options_of(
        SETS["Things"],
        {
            "$top": "5000",
            "$select": "name,@iot.id",
            "$expand": "Datastreams($filter=name eq 'a;b)';$expand=Observations($top=1;"
            "$orderby=phenomenonTime desc)),Locations,Datastreams/Sensor",
        },
    )
    assert (made.top, made.skip, made.select) == (1_000, 0, ("name", "@iot.id"))
    assert set(made.expand) == {"Datastreams", "Locations"}
    streams = made.expand["Datastreams"]
    assert streams.filter == parse("name eq 'a;b)'")
    assert set(streams.expand) == {"Observations", "Sensor"}
    newest = streams.expand["Observations"]
    assert (newest.top, newest.newest_first) == (1, True)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        ({"$top": "-1"}, InvalidQuery),
        ({"$top": "1.5"}, InvalidQuery),
        ({"$top": "9" * 400}, InvalidQuery),
        ({"$skip": "10001"}, InvalidQuery),
        ({"$count": "yes"}, InvalidQuery),
        ({"$select": "nothing"}, InvalidQuery),
        ({"$select": "properties/owner"}, NotInSubset),
        ({"$orderby": "nothing"}, InvalidQuery),
        ({"$orderby": "name up"}, InvalidQuery),
        ({"$orderby": "name desc"}, NotInSubset),
        ({"$orderby": "description"}, NotInSubset),
        ({"$expand": "Owner"}, InvalidQuery),
        ({"$expand": "Datastreams("}, InvalidQuery),
        ({"$expand": "Datastreams)"}, InvalidQuery),
        ({"$expand": "Datastreams(top=1)"}, NotInSubset),
        ({"$expand": "Datastreams($top)"}, InvalidQuery),
        ({"$expand": "Datastreams($top=1;$top=2)"}, InvalidQuery),
        ({"$expand": "/".join(["Datastreams/Thing"] * MAX_LEVELS)}, NotInSubset),
        ({"$expand": ",".join(f"{'Datastreams/Thing/'}{n}" for n in SETS["Things"].links) * 9},
         InvalidQuery),
        ({"$apply": "groupby((name))"}, NotInSubset),
        ({"$search": "x"}, NotInSubset),
    ],
)  # fmt: skip
def test_options_that_are_none_of_ours_say_why(raw: dict[str, str], error: type[Exception]) -> None:
    with pytest.raises(error):
        options_of(SETS["Things"], raw)


def test_paths_lead_through_the_model() -> None:
    found = resource_of(f"Datastreams('{DEVICE}:pressure')/Observations('7:3')/result/$value")
    assert [step.link for step in found.steps] == ["Datastreams", "Observations"]
    assert (found.inside, found.is_value, found.is_ref) == (("result",), True, False)
    assert resource_of("Things/$ref").is_ref
    assert resource_of("Observations('7:3')/Datastream/Thing").last.set is SETS["Things"]
    for text in (
        "",
        "Nothing",
        "Things/name",
        "Things/Datastreams",
        f"Things('{DEVICE}')/result",
        f"Things('{DEVICE.upper()}')",
        "Things(1)",
        "Observations('0:1')",
        "Observations('07:1')",
        f"Datastreams('{DEVICE}:nonsense')",
        f"Locations('{DEVICE}:000000000000000')",
        f"Things('{DEVICE}')/$value",
        f"Datastreams('{DEVICE}:pressure')/Thing('{DEVICE}')",
        "Things/" * 20,
    ):
        with pytest.raises(NotFound):
            resource_of(text)


def test_an_option_shows_all_where_nothing_is_chosen() -> None:
    assert Options().shows("name")
    assert not Options(select=("id",)).shows("name")
