"""What is wrong in a query is refused by name and counted; what nobody can have asked is harmless.

given verified batches
  ├── a query with a wrong part has its problem document, and a metric counts it
  └── a query string is read as starlette reads it; any cursor comes back or is refused
"""

from collections import Counter
from typing import Any

import httpx
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from corechain_indexer.api.params import Params, encode_cursor, values_of
from corechain_indexer.errors import InvalidQuery
from indexer.support import Driven, World, get

NOBODY = "0x" + "11" * 20


WRONG: list[tuple[str, dict[str, Any], int, str]] = [
    ("/v1/readings", {}, 400, "InvalidQuery"),
    ("/v1/readings", {"device": "0x12"}, 400, "InvalidQuery"),
    ("/v1/readings", {"device": NOBODY, "metirc": "1"}, 400, "InvalidQuery"),
    (
        "/v1/readings",
        {"device": NOBODY, "metric": "phlogiston"},
        422,
        "UnknownMetric",
    ),
    ("/v1/readings", {"device": NOBODY, "from": 5, "to": 4}, 400, "InvalidQuery"),
    ("/v1/readings", {"device": NOBODY, "from": "-1"}, 400, "InvalidQuery"),
    ("/v1/readings", {"device": NOBODY, "cursor": "AAAA"}, 400, "InvalidQuery"),
    ("/v1/readings", {"device": ["0x" + "11" * 20] * 2}, 400, "InvalidQuery"),
    ("/v1/batches", {"limit": 0}, 400, "InvalidQuery"),
    ("/v1/batches", {"limit": 1001}, 400, "InvalidQuery"),
    ("/v1/batches", {"limit": "1e3"}, 400, "InvalidQuery"),
    ("/v1/batches", {"state": "odd"}, 400, "InvalidQuery"),
    ("/v1/batches/99", {}, 404, "UnknownBatch"),
    ("/v1/batches/0", {}, 400, "InvalidQuery"),
    ("/v1/batches/x", {}, 400, "InvalidQuery"),
    ("/v1/batches/1/readings/9999/proof", {}, 400, "InvalidQuery"),
    ("/v1/statistics", {"metric": "1"}, 400, "InvalidQuery"),
    ("/v1/statistics", {"device": NOBODY}, 400, "InvalidQuery"),
    ("/v1/statistics", {"cell": "zz"}, 400, "InvalidQuery"),
    *(
        ("/v1/statistics", {"device": NOBODY, "metric": "1", "cell": c}, 400, "InvalidQuery")
        for c in ("f" * 16, "0" * 15, "8" * 15, "172a1072bffffff", "872a1072fffffff")
    ),
    *(
        ("/v1/series", {"device": NOBODY, "metric": "1"} | window, 400, "InvalidQuery")
        for window in (
            {"bucket": 60},
            {"bucket": 30, "from": 0, "to": 1},
            {"bucket": 90, "from": 0, "to": 1},
            {"bucket": 60, "from": 0, "to": 7 * 86_400 + 1},
        )
    ),
    ("/v1/series", {"bucket": 4000}, 400, "InvalidQuery"),
    ("/v1/series", {"metric": "1"}, 400, "InvalidQuery"),
    ("/v1/latest", {}, 400, "InvalidQuery"),
    ("/v1/devices/0x" + "11" * 20, {}, 404, "UnknownDevice"),
    ("/v1/devices/nobody", {}, 400, "InvalidQuery"),
    ("/v1/rewards/0x" + "11" * 20, {}, 404, "NotFound"),
    ("/v1/channels/0x12", {}, 400, "InvalidQuery"),
    ("/v1/channels", {"payer": "x"}, 400, "InvalidQuery"),
]


async def test_a_wrong_query_is_refused_by_name(served: Driven) -> None:
    """All of one index, which none of them changes."""
    counted = Counter[str]()
    async with served.api() as api:
        for path, params, status, name in WRONG:
            response = await api.get(path, params=params)
            said = f"{path} {params}: {response.text}"
            assert response.status_code == status, said
            assert response.headers["content-type"] == "application/problem+json", said
            assert response.json()["type"] == f"urn:corechain:error:{name}", said
            counted[name] += 1
            found = served.metric("corechain_requests_refused_total", reason=name)
            assert found == counted[name], said
        metrics = (await api.get("/metrics")).text
    for name, count in counted.items():
        assert f'corechain_requests_refused_total{{reason="{name}"}} {count}.0' in metrics


async def test_a_batch_without_its_file_proves_nothing(world: World, indexer: Driven) -> None:
    world.commit(world.sealed(), publish=False)
    while await indexer.mirror.step():
        pass
    async with indexer.api() as api:
        assert (await get(api, "/v1/batches/1"))["state"] == "pending"
        problem = await get(api, "/v1/batches/1/readings/0/proof", 404)
        assert problem["type"].endswith("NotFound")


@given(
    st.one_of(
        st.text(st.sampled_from("ab=&;%+2f \xe9")).map(lambda text: text.encode("latin-1")),
        st.binary(max_size=30),
    )
)
def test_a_query_string_is_read_as_starlette_reads_it(query: bytes) -> None:
    theirs = Request({"type": "http", "query_string": query, "headers": []}).query_params
    ours = [(name, value) for name, values in values_of(query).items() for value in values]
    assert sorted(ours) == sorted(theirs.multi_items())


cursors = st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.binary(max_size=40)), max_size=5)


def params_of(**query: str) -> Params:
    text = httpx.QueryParams(query)
    return Params(Request({"type": "http", "query_string": str(text).encode(), "headers": []}))


@given(cursors)
def test_a_cursor_comes_back_as_it_was(place: list[int | bytes]) -> None:
    assert params_of(cursor=encode_cursor(place)).cursor(place) == place


@given(st.text(max_size=60))
def test_a_made_up_cursor_is_refused_or_harmless(text: str) -> None:
    try:
        place = params_of(cursor=text).cursor([b"", 0])
    except InvalidQuery:
        return
    assert isinstance(place[0], bytes)
    assert isinstance(place[1], int)
