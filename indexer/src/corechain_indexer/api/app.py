"""HTTP of the query API: the table of routes, problem details, the paywall, the meters."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import asyncpg
import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corechain.protocol.errors import (
    NotMirrored,
    PaymentRequired,
    ProtocolError,
    TransportError,
)
from corechain.service.errors import StoreUnavailable
from corechain.service.fields import unless_held
from corechain.service.health import Health
from corechain.service.ops import Exposition, Ops, allowed, options, route_error
from corechain.service.retry import spread_s
from corechain.service.seldom import Seldom
from corechain.service.supervision import asked_s
from corechain_indexer.api.admission import Admission
from corechain_indexer.api.completeness import Completeness
from corechain_indexer.api.cors import Cors
from corechain_indexer.api.delivery import Body, Delivery, query_id
from corechain_indexer.api.freshness import Freshness
from corechain_indexer.api.gate import Gates
from corechain_indexer.api.handlers import Handlers
from corechain_indexer.api.openapi import document
from corechain_indexer.api.pages import PAGES
from corechain_indexer.api.params import Params
from corechain_indexer.api.payments import Paywall
from corechain_indexer.api.routes import ENDPOINTS, PAYMENTS, Endpoint
from corechain_indexer.api.stream import BatchStream
from corechain_indexer.api.subscribers import problem_of
from corechain_indexer.api.wishes import EVENT_STREAM, STREAMS, require_accepted
from corechain_indexer.api.x402 import REQUIRED, RESPONSE, SIGNATURE
from corechain_indexer.doubt import Doubts
from corechain_indexer.errors import (
    InvalidQuery,
    ShardUnavailable,
    TooManyRequests,
    Unavailable,
    UnknownApiKey,
)
from corechain_indexer.metrics import Meter, Metrics

log = structlog.get_logger(__name__)

VERSION = "1"
PAYMENT_STATUS = PaymentRequired.status
STREAM_FIELDS = {
    "content-type": EVENT_STREAM,
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}
Handler = Callable[[Request], Awaitable[Response]]
_encoder = msgspec.json.Encoder()


def _json(value: Any, status: int = 200, media_type: str = "application/json") -> Response:
    return Response(_encoder.encode(value), status, media_type=media_type)


def problem(error: ProtocolError) -> Response:
    """An error as RFC 9457 problem details."""
    response = Response(problem_of(error), error.status, media_type="application/problem+json")
    if error.status == HTTPStatus.SERVICE_UNAVAILABLE or isinstance(error, NotMirrored):
        response.headers["retry-after"] = str(getattr(error, "retry_after_s", 1))
    if isinstance(error, TooManyRequests):
        response.headers.update({"retry-after": str(error.retry_after_s), **error.headers})
    if isinstance(error, UnknownApiKey):
        response.headers["www-authenticate"] = "Bearer"
    return response


def unavailable(error: TransportError) -> Unavailable:
    """Who asks again before whom we need will be asked is refused again."""
    asked = asked_s(error)
    return Unavailable(str(error), spread_s(asked) if asked else 1)


@dataclass(slots=True)
class Api:
    """Everything around the handlers."""

    handlers: Handlers
    admission: Admission
    delivery: Delivery
    freshness: Freshness
    stream: BatchStream
    health: Health
    paywall: Paywall | None
    metrics: Metrics
    prepared: asyncio.Event
    gates: Gates
    cors: Cors
    completeness: Completeness
    doubts: Doubts = field(init=False)
    seldom: Seldom = field(default_factory=Seldom)
    """In an outage each request meets the same."""

    def __post_init__(self) -> None:
        self.doubts = Doubts(self._is_silent, self.freshness.goes_on)

    def handler(self, endpoint: Endpoint) -> Handler:
        """What answers requests of a path, and counts them."""
        answer = self.gates.guarded(endpoint.name, getattr(self.handlers, endpoint.name))
        meter = Meter(self.metrics, endpoint.path)

        async def handle(request: Request) -> Response:
            started = time.perf_counter()
            response = await self._guarded(request, answer, endpoint)
            meter.answered(response.status_code, time.perf_counter() - started)
            if self.cors.origins:
                self.cors.mark(request, response.headers)
            return response

        return handle

    async def _guarded(
        self, request: Request, answer: Callable[[Params], Awaitable[Any]], endpoint: Endpoint
    ) -> Response:
        if not self.prepared.is_set():
            return await self._refused(request, Unavailable("the database is not ready yet"))
        try:
            try:
                return await self._admitted(request, answer, endpoint)
            except ProtocolError as error:
                return await self._refused(request, error)
            except asyncpg.DataError as error:
                # A value that slipped past `Params`: a gap of ours to mend, but the asker's value.
                log.error("value refused by the database", path=endpoint.path, error=str(error))
                return await self._refused(request, InvalidQuery("query", "a value is too large"))
        except TransportError as error:
            self._tell(log.warning, "store unavailable", endpoint, error)
            return await self._refused(request, unavailable(error))

    def _tell(
        self, tell: Callable[..., Any], event: str, endpoint: Endpoint, error: TransportError
    ) -> None:
        about = endpoint.path, error.name
        self.seldom.say(tell, event, about, path=endpoint.path, error=str(error))

    async def _admitted(
        self, request: Request, answer: Callable[[Params], Awaitable[Any]], endpoint: Endpoint
    ) -> Response:
        """Who pays is not counted; who only says so is."""
        pays = endpoint.paid and self.paywall is not None and SIGNATURE in request.headers
        limits = {} if pays else await self.admission.admit(request)
        try:
            response = await self._insisted(request, answer, endpoint)
        except ProtocolError as error:
            if pays:
                limits = await self.admission.admit(request)
            # What a payer is offered asks Postgres, too.
            response = await self.doubts.answered(self._refused(request, error))
        if limits:
            response.headers.update(limits)
        return response

    async def _insisted(
        self, request: Request, answer: Callable[[Params], Awaitable[Any]], endpoint: Endpoint
    ) -> Response:
        """A read that met an outage begins anew, once: another replica, or who leads by now, may
        answer it. Not one that is paid: its payer may ask again, and is charged once."""
        try:
            return await self.doubts.answered(self._answered(request, answer, endpoint))
        except (
            ShardUnavailable
        ):  # whoever answers, its devices' readings are there and nowhere else
            raise
        except StoreUnavailable as error:
            is_paid = SIGNATURE in request.headers
            if is_paid or not await self.freshness.has_another(Params(request)):
                raise
            self._tell(log.info, "asked again", endpoint, error)
        return await self.doubts.answered(self._answered(request, answer, endpoint))

    async def _answered(
        self, request: Request, answer: Callable[[Params], Awaitable[Any]], endpoint: Endpoint
    ) -> Response:
        params = Params(request)
        await self.freshness.reached(params)
        if self.paywall is None or not endpoint.paid:
            return await self._given(params, answer, endpoint)
        return await self._sold(self.paywall, params, answer, endpoint)

    async def _given(
        self, params: Params, answer: Callable[[Params], Awaitable[Any]], endpoint: Endpoint
    ) -> Response:
        await self.completeness.require(endpoint.reads)
        return await self.delivery.respond(params, endpoint, answer)

    async def _is_silent(self, within_s: float) -> bool:
        return await self.health.is_silent("database", within_s)

    async def _sold(
        self,
        paywall: Paywall,
        params: Params,
        answer: Callable[[Params], Awaitable[Any]],
        endpoint: Endpoint,
    ) -> Response:
        # A channel's deposit and its withdrawal may be among what is missing.
        needed = (*endpoint.reads, *PAYMENTS)
        await self.completeness.require(needed)
        form, request = self.delivery.form(params, endpoint), params.request
        payment = paywall.payment_of(request.headers.get(SIGNATURE))
        query = query_id(request, form)
        paid = await paywall.prepare(payment, query)
        if paid is None:
            # Answered before it is charged, sent only after: nobody pays for a refusal.
            body = await self.delivery.body(params, endpoint, answer, form)
            paid = await paywall.charge(payment, query, body.content)
        (self.metrics.repeated if paid.again else self.metrics.paid).inc()
        headers = {RESPONSE: paid.receipt}
        return await self.delivery.sold(request, Body(paid.body, form), headers)

    async def _refused(self, request: Request, error: ProtocolError) -> Response:
        response = problem(error)
        if error.status == PAYMENT_STATUS and self.paywall is not None:
            header = request.headers.get(SIGNATURE)
            offer = await self.paywall.offer(str(request.url), error, header)
            response.headers[REQUIRED] = offer
        self.count(error)
        return response

    def count(self, error: ProtocolError) -> None:
        """Requests that the server refuses come here too."""
        self.metrics.refused.labels(error.name).inc()

    async def broken(self, request: Request, error: Exception) -> Response:
        """Nothing that we foresaw: the cause is in the log, not in the answer."""
        self.metrics.refused.labels("Internal").inc()
        log.error("request failed", path=request.scope["path"], exc_info=error)
        body = {"type": "about:blank", "title": "Internal error", "status": 500, "detail": ""}
        return _json(body, 500, "application/problem+json")

    async def unknown(self, request: Request, error: Exception) -> Response:
        """No path of ours, or no method of the path: OPTIONS is answered here for all of them."""
        assert isinstance(error, HTTPException), error
        response = options(request, error)
        if response is not None and (preflight := self.cors.preflight(request)) is not None:
            preflight.headers.update(allowed(error))
            return preflight
        if response is None:
            found = route_error(error)
            self.count(found)
            response = problem(found)
            response.headers.update(allowed(error))
        self.cors.mark(request, response.headers)
        return response

    async def stream_head(self, request: Request) -> Response:
        """What a stream would begin with, or be refused by. The server hands every other GET that
        accepts a stream to the stream itself."""
        scope = request.scope
        try:
            path = scope["path"].encode()
            require_accepted(path, scope["headers"])
            target = path + b"?" + scope["query_string"]
            wish = self.stream.wish(target, scope["headers"])
            limits = await self.admission.admit(request)
            if request.method != "HEAD":
                # Behind another request, or with a body: its answer would have no end.
                raise Unavailable("a stream has a connection of its own: ask again on a new one")
            await self.stream.until_known(wish)
        except ProtocolError as error:
            response = await self._refused(request, error)
        except TransportError as error:
            response = await self._refused(request, unavailable(error))
        else:
            response = Response(headers={**STREAM_FIELDS, **limits})
            del response.headers["content-length"]  # it has no end
        self.cors.mark(request, response.headers)
        return response

    async def openapi(self, request: Request) -> Response:
        response = _json(document(ENDPOINTS, VERSION))
        digest = hashlib.sha256(response.body).hexdigest()[:32]
        response.headers["etag"] = f'"{digest}"'
        response = unless_held(request.headers, response)
        self.cors.mark(request, response.headers)
        return response

    def app(
        self, *, queries: bool, metrics: bool = True, exposition: Exposition | None = None
    ) -> Starlette:
        """The application; without `queries` only what operates the process. `metrics` at this
        address, too: those of `exposition`, else of this process."""
        ops = Ops(self.health, exposition or self.metrics.exposition)
        routes: list[Any] = ops.routes(metrics=metrics)
        if queries:
            # First: one of their paths looks like a batch's.
            routes += [Route(path.decode(), self.stream_head) for path in sorted(STREAMS)]
            routes += [
                Route(path, self.handler(item))
                for item in ENDPOINTS
                for path in (item.route, *item.aliases)
            ]
            routes += [Route("/openapi.json", self.openapi), *PAGES]
        handlers: dict[Any, Any] = {HTTPException: self.unknown, Exception: self.broken}
        application = Starlette(routes=routes, exception_handlers=handlers)
        # A redirection would name the host that the client named.
        application.router.redirect_slashes = False
        return application
