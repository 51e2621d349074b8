"""The admin API shows and takes what `corechain tx` does, from who has the token.

given an API with a token, and a journal
  without the right token nothing is answered, and it is counted
  transactions are listed page by page, shown, bumped, cancelled; queues are paused and resumed
  what is refused is a problem with the error's name
  whatever the path, the body and the parameters are, there is an answer that is none of 5xx
given a journal that is away
  the answer is 503 and says so
"""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette

from corechain.service.database import connect, create_pool
from corechain.service.rpc import Rpc
from corechain.service.settings import InvalidSetting
from corechain_relayer.metrics import Metrics
from corechain_relayer.transactions.http import MAX_BODY_BYTES, AdminApi, admin_routes
from corechain_relayer.transactions.view import View

TOKEN = "a token of sixteen or more"
BEARER = {"authorization": f"Bearer {TOKEN}"}
INTENTS = """
    insert into intent (queue, key, target, calldata, state)
    select queue, key, decode(repeat('05', 20), 'hex'), '', 'queued'
    from (values ('lane:0', 'batch:1'), ('rewards', 'rewards:1'), ('guard', 'demand:aa:1'))
         as new (queue, key)
"""


class Api:
    """An application without a socket, and its counts."""

    def __init__(self, pool: Any, rpc: Rpc) -> None:
        self.metrics = Metrics()
        api = AdminApi(View.of(pool, rpc), TOKEN.encode, self.metrics)
        transport = httpx.ASGITransport(Starlette(routes=api.routes()))
        self.http = httpx.AsyncClient(transport=transport, base_url="http://ops", headers=BEARER)

    async def get(self, path: str, code: int = 200, **options: Any) -> Any:
        return self._read(await self.http.get(path, **options), code)

    async def post(self, path: str, code: int = 202, **options: Any) -> Any:
        return self._read(await self.http.post(path, **options), code)

    def _read(self, answer: httpx.Response, code: int) -> Any:
        assert answer.status_code == code, answer.text
        is_problem = answer.headers["content-type"] == "application/problem+json"
        assert is_problem is (code >= 400)
        return answer.json()


@pytest.fixture
async def api(database: str, anvil: str) -> AsyncIterator[Api]:
    connection = await connect(database)
    await connection.execute(INTENTS)
    await connection.close()
    pool, rpc = create_pool(database), Rpc(anvil, 20.0)
    await pool
    yield Api(pool, rpc)
    await rpc.close()
    await pool.close()


NO_TOKENS = ["", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x"]


@pytest.mark.parametrize("fields", NO_TOKENS)
async def test_without_the_right_token_nothing_is_answered(api: Api, fields: str) -> None:
    wrong = {"headers": {"authorization": fields}}
    said = await api.get("/v1/transactions", 401, **wrong)
    assert said["type"] == "urn:corechain:error:BadToken"
    refused = await api.http.post("/v1/transactions/rewards:1/cancel", **wrong)
    assert refused.headers["www-authenticate"] == "Bearer"
    assert (await api.get("/v1/transactions/rewards:1"))["state"] == "queued"
    assert api.metrics.admin_refused._value.get() == 2


async def test_transactions_are_listed_page_by_page_and_shown(api: Api) -> None:
    first = await api.get("/v1/transactions?limit=2")
    rest = await api.get(f"/v1/transactions?limit=2&before={first['next']}")
    keys = [item["key"] for page in (first, rest) for item in page["transactions"]]
    assert keys == ["demand:aa:1", "rewards:1", "batch:1"]
    assert rest["next"] is None
    lane = await api.get("/v1/transactions?queue=lane:0&state=queued&state=pending")
    assert [item["key"] for item in lane["transactions"]] == ["batch:1"]
    shown = await api.get("/v1/transactions/batch:1")
    assert "NoSubmitter" in shown["reasons"]
    assert shown == await api.get(f"/v1/transactions/{shown['id']}")


async def test_wishes_are_taken_and_counted(api: Api) -> None:
    done = await api.post("/v1/transactions/rewards:1/cancel", json={"reason": "wrong root"})
    assert done["state"] == "void"
    shown = await api.get("/v1/transactions/rewards:1")
    assert (shown["state"], shown["reason"]) == ("void", "cancelled: wrong root")
    assert "pause guard" in (await api.post("/v1/transactions/demand:aa:1/cancel"))["note"]
    assert (await api.post("/v1/queues/lane:0/pause"))["reason"] == "by the admin API"
    (item,) = (await api.get("/v1/transactions?queue=lane:0"))["transactions"]
    assert item["paused"]["kind"] == "QueuePaused"
    assert (await api.post("/v1/queues/lane:0/resume"))["was_paused"]
    assert api.metrics.wishes.labels("cancel")._value.get() == 2


TWICE = ["queue=lane:0&queue=rewards", "limit=1&limit=2", "before=3&before=2"]
REFUSED = [
    ("/v1/transactions/batch:1/cancel", {}, 409, "CommitNotCancellable"),
    ("/v1/transactions/batch:1/bump", {}, 409, "NothingSigned"),
    ("/v1/transactions/batch:9/bump", {}, 404, "UnknownTransaction"),
    ("/v1/transactions/%00/bump", {}, 404, "UnknownTransaction"),
    ("/v1/queues/lane:9/pause", {}, 404, "UnknownQueue"),
    ("/v1/queues/lane:0/resume", {"content": b"{"}, 422, "MalformedWish"),
    ("/v1/queues/%ff/resume", {}, 404, "UnknownQueue"),
    ("/v1/queues/lane%00/resume", {}, 404, "UnknownQueue"),
    ("/v1/transactions/rewards:1/cancel", {"content": b"{"}, 422, "MalformedWish"),
    ("/v1/transactions/rewards:1/cancel", {"content": b"[" * 2_000}, 422, "MalformedWish"),
    ("/v1/transactions/rewards:1/cancel", {"content": b"[1]"}, 422, "MalformedWish"),
    ("/v1/transactions/rewards:1/cancel", {"json": {"reason": 1}}, 422, "MalformedWish"),
    ("/v1/transactions/rewards:1/cancel", {"json": {"reason": "\0"}}, 422, "MalformedWish"),
    ("/v1/transactions/rewards:1/cancel", {"json": {"reason": ""}}, 422, "MalformedWish"),
    ("/v1/transactions/rewards:1/cancel", {"json": {"force": True}}, 422, "MalformedWish"),
    (
        "/v1/transactions/rewards:1/cancel",
        {"content": bytes(MAX_BODY_BYTES + 1)},
        413,
        "BodyTooLarge",
    ),
]


async def test_an_unknown_word_is_answered_with_those_that_there_are(api: Api) -> None:
    said = await api.post("/v1/transactions/rewards:1/abort", 404)
    assert said["type"] == "urn:corechain:error:UnknownWish"
    assert "abort: the path ends with bump|cancel" in said["detail"]
    assert "pause|resume" in (await api.post("/v1/queues/lane:0/%00", 404))["detail"]


async def test_what_is_refused_is_a_problem_with_its_name(api: Api) -> None:
    for path, options, status, name in REFUSED:
        said = await api.post(path, status, **options)
        assert said["type"] == f"urn:corechain:error:{name}", path
    for query in ("limit=0", "limit=9999", "before=x", "before=٣", "state=lost", "page=2", *TWICE):
        said = await api.get(f"/v1/transactions?{query}", 422)
        assert said["type"].endswith("MalformedWish"), query
    assert (await api.get("/v1/transactions/rewards:1"))["state"] == "queued"


def test_there_is_none_without_a_token_and_none_at_a_public_port() -> None:
    class Some:
        ops_token: SecretStr | None = None
        ops_port: int | None = None

    settings: Any = Some()
    view, metrics = View.of(None, None), Metrics()  # type: ignore[arg-type]
    assert admin_routes(settings, view, metrics) == []
    settings.ops_token = SecretStr(TOKEN)
    with pytest.raises(InvalidSetting, match="RELAYER_OPS_PORT is not"):
        admin_routes(settings, view, metrics)
    settings.ops_port = 8711
    assert len(admin_routes(settings, view, metrics)) == 8


async def test_a_journal_that_is_away_is_said(anvil: str) -> None:
    pool, rpc = create_pool("postgresql://127.0.0.1:1/nothing"), Rpc(anvil, 20.0)
    await pool
    said = await Api(pool, rpc).get("/v1/transactions", 503)
    assert "Postgres" in said["detail"]
    await rpc.close()
    await pool.close()


async def test_our_own_mistake_is_an_answer_too(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(View, "document", broken)
    assert (await api.get("/v1/transactions/batch:1", 500))["title"] == "Internal error"
