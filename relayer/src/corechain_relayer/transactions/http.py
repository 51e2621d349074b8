"""The admin API: what `corechain tx` shows and takes, over HTTP, at the operations' port alone."""

import hmac
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from corechain.protocol.errors import Overloaded, ProtocolError
from corechain.service.errors import StoreUnavailable
from corechain.service.settings import InvalidSetting
from corechain_relayer.gateway.body import read_body
from corechain_relayer.gateway.problem import breakdown, problem, response
from corechain_relayer.metrics import Metrics
from corechain_relayer.settings import Settings
from corechain_relayer.submitter.plan import State
from corechain_relayer.transactions.book import MOST, NEWEST, OPEN
from corechain_relayer.transactions.errors import BadToken, MalformedWish, UnknownWish
from corechain_relayer.transactions.view import View

log = structlog.get_logger(__name__)

Handler = Callable[[Request], Awaitable[Response]]
MAX_BODY_BYTES, BODY_TIMEOUT_S = 4_096, 10.0
BY_API = "by the admin API"
PAGE = 100


@dataclass(frozen=True, slots=True)
class AdminApi:
    """`token`: what `Authorization: Bearer …` has to carry, as its file has it by now."""

    view: View
    token: Callable[[], bytes]
    metrics: Metrics

    def routes(self) -> list[Route]:
        get, post = ["GET"], ["POST"]
        paths: list[tuple[str, Handler, list[str]]] = [
            ("/v1/transactions", self.page, get),
            ("/v1/transactions/{id}", self.one, get),
            ("/v1/transactions/{id}/bump", self.bump, post),
            ("/v1/transactions/{id}/cancel", self.cancel, post),
            ("/v1/queues/{name}/pause", self.pause, post),
            ("/v1/queues/{name}/resume", self.resume, post),
            # After those: what is none of them is a slip of whoever has the token, and told so.
            ("/v1/transactions/{id}/{word}", self.unknown, post),
            ("/v1/queues/{name}/{word}", self.unknown, post),
        ]
        return [Route(path, self._guarded(ask), methods=methods) for path, ask, methods in paths]

    # ------------------------------------------------------------------ reading

    async def page(self, request: Request) -> Response:
        asked = request.query_params
        unknown = asked.keys() - {"queue", "state", "before", "limit"}
        if unknown:
            raise MalformedWish(f"no parameter {sorted(unknown)[0]:.40}")
        for name in ("queue", "before", "limit"):
            if len(asked.getlist(name)) > 1:  # one of them would be taken, and the other not told
                raise MalformedWish(f"{name} is given more than once")
        before = _number(asked.get("before"), "before", NEWEST)
        limit = _number(asked.get("limit"), "limit", MOST) or PAGE
        states = _states(asked.getlist("state"))
        found = await self.view.book.page(asked.get("queue"), states, before, limit)
        last = found[-1].id if len(found) == limit else None
        return JSONResponse({"transactions": [item.document() for item in found], "next": last})

    async def one(self, request: Request) -> Response:
        return JSONResponse(await self.view.document(request.path_params["id"]))

    # ------------------------------------------------------------------ wishes

    async def bump(self, request: Request) -> Response:
        name, reason = request.path_params["id"], await _reason(request)
        return self._taken("bump", await self.view.book.bump(name, reason))

    async def cancel(self, request: Request) -> Response:
        name, reason = request.path_params["id"], await _reason(request)
        return self._taken("cancel", await self.view.book.cancel(name, reason))

    async def pause(self, request: Request) -> Response:
        name, reason = request.path_params["name"], await _reason(request)
        return self._taken("pause", await self.view.book.pause(name, reason))

    async def resume(self, request: Request) -> Response:
        await _reason(request)  # taken as of a pause, and not kept: nothing waits for it
        return self._taken("resume", await self.view.book.resume(request.path_params["name"]))

    async def unknown(self, request: Request) -> Response:
        known = "pause|resume" if "name" in request.path_params else "bump|cancel"
        raise UnknownWish(request.path_params["word"], known)

    def _taken(self, wish: str, done: dict[str, Any]) -> Response:
        """202: it is in the journal, and the submitter's next round acts on it."""
        self.metrics.wishes.labels(wish).inc()
        log.warning("an operator wants something", wish=wish, **done)
        return JSONResponse(done, 202)

    # ------------------------------------------------------------------ around a request

    def _guarded(self, ask: Handler) -> Handler:
        """Nothing is read, of the request or of the journal, before the token is right."""

        async def answer(request: Request) -> Response:
            try:
                self._require_token(request)
                return await ask(request)
            except StoreUnavailable as error:
                return response(problem(Overloaded(str(error))))
            except ProtocolError as error:
                return _refusal(error)
            except Exception as error:  # the outermost place of a request
                log.error("request failed", path=request.scope["path"], exc_info=error)
                return response(breakdown())

        return answer

    def _require_token(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        # Digests: of equal length, so that the time of a comparison tells nothing of the token.
        right = hmac.compare_digest(_digest(token.strip().encode()), _digest(self.token()))
        if scheme.lower() != "bearer" or not right:
            self.metrics.admin_refused.inc()
            raise BadToken


def admin_routes(settings: Settings, view: View, metrics: Metrics) -> list[Route]:
    """None without a token. Raises InvalidSetting for a token without a port that is not public."""
    if settings.ops_token is None:
        return []
    if settings.ops_port is None:
        raise InvalidSetting("RELAYER_OPS_TOKEN is set, but RELAYER_OPS_PORT is not")
    return AdminApi(view, lambda: settings.read_again("ops_token").encode(), metrics).routes()


def _digest(token: bytes) -> bytes:
    return sha256(token).digest()


def _refusal(error: ProtocolError) -> Response:
    found = response(problem(error))
    if isinstance(error, BadToken):
        found.headers["www-authenticate"] = "Bearer"
    return found


def _number(text: str | None, name: str, most: int) -> int | None:
    if text is None:
        return None
    if text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) <= most:
        return int(text)
    raise MalformedWish(f"{name} takes a whole number from 1 to {most}")


def _states(names: list[str]) -> list[State] | tuple[State, ...] | None:
    """Any number of states, or `all`; those that are not final where none is named."""
    if names == ["all"]:
        return None
    try:
        return [State(name) for name in names] or OPEN
    except ValueError:
        known = ", ".join(state.value for state in State)
        raise MalformedWish(f"a state is one of {known}, or all") from None


async def _reason(request: Request) -> str:
    """`{"reason": "…"}`; a body may be missing."""
    body = await read_body(request, MAX_BODY_BYTES, BODY_TIMEOUT_S)
    if not body:
        return BY_API
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedWish("the body is no JSON document") from None
    reason = found.get("reason", BY_API) if isinstance(found, dict) else None
    is_line = isinstance(reason, str) and reason != "" and reason.isprintable()
    if not is_line or found.keys() - {"reason"}:
        raise MalformedWish('the body takes {"reason": "a line of text"}, and nothing else')
    return str(reason)
