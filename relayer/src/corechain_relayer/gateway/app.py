"""HTTP of the gateway: routes in, problem details out."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from corechain.protocol.errors import (
    MalformedReport,
    Overloaded,
    ProtocolError,
    UnknownBatch,
)
from corechain.protocol.reading import DeviceId
from corechain.service.direct import Answer
from corechain.service.errors import StoreUnavailable
from corechain.service.health import Health
from corechain.service.ops import Ops, allowed, options, route_error
from corechain_relayer.gateway.body import (
    BodyLimits,
    body_of,
    headers_of,
    media_type,
    prefers_receipt,
)
from corechain_relayer.gateway.data_file import RangeBehindEnd, data_file
from corechain_relayer.gateway.problem import breakdown, problem, response
from corechain_relayer.gateway.service import Gateway
from corechain_relayer.journal.reader import JournalReader
from corechain_relayer.metrics import Metrics
from corechain_relayer.receipts.wish import Wish

log = structlog.get_logger(__name__)

_DEVICE = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_BATCH = re.compile(r"[0-9]{1,15}", re.ASCII)
REPORTS = "/v1/reports"


@dataclass(slots=True)
class Endpoints:
    """The handlers; each is a few lines around one collaborator."""

    gateway: Gateway
    journal: JournalReader
    health: Health
    metrics: Metrics
    data_dir: Path
    bodies: BodyLimits

    async def reports(self, scope: Scope, receive: Receive) -> Answer:
        """Whatever goes wrong, an answer."""
        try:
            self.gateway.require_room()
            headers = headers_of(scope["headers"])
            kind = media_type(headers)
            wish = [Wish()] if prefers_receipt(headers) else []
            async with body_of(headers, receive, self.bodies) as body:
                return await self.gateway.accept(kind, body, lambda: _client(scope), *wish)
        except ProtocolError as error:
            return self.refusal(error)
        except Exception as error:  # the outermost place of a request: logged, and counted
            return self.breakdown(REPORTS, error)

    async def routed_reports(self, request: Request) -> Response:
        """The same where the application is asked: under another root, say."""
        return response(await self.reports(request.scope, request.receive))

    async def sequence(self, request: Request) -> Response:
        text = request.path_params["device"]
        if not _DEVICE.fullmatch(text):
            raise MalformedReport(f"not a device id: {text!r:.60}")
        device = DeviceId(bytes.fromhex(text[2:]))
        return JSONResponse({"next": await self.gateway.next_sequence(device)})

    async def data(self, request: Request) -> Response:
        return await data_file(request, self.data_dir)

    async def batch(self, request: Request) -> Response:
        text = request.path_params["id"]
        found = await self._batch(int(text)) if _BATCH.fullmatch(text) else None
        if found is None:
            raise UnknownBatch(int(text) if _BATCH.fullmatch(text) else 0)
        return JSONResponse(found)

    async def _batch(self, batch_id: int) -> dict[str, Any] | None:
        try:
            return await self.journal.batch(batch_id)
        except StoreUnavailable as error:
            raise Overloaded(str(error)) from error

    async def refused(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, ProtocolError)
        found = response(self.refusal(error))
        if isinstance(error, RangeBehindEnd):
            found.headers["content-range"] = f"bytes */{error.size}"
        return found

    async def unrouted(self, request: Request, error: Exception) -> Response:
        """No path of ours, or no method of the path: OPTIONS is answered here for all of them."""
        assert isinstance(error, HTTPException)
        told = options(request, error)
        if told is not None:
            return told
        found = response(self.refusal(route_error(error)))
        found.headers.update(allowed(error))
        return found

    async def broken(self, request: Request, error: Exception) -> Response:
        return response(self.breakdown(request.scope["path"], error))

    def refusal(self, error: ProtocolError) -> Answer:
        self.count(error)
        return problem(error)

    def count(self, error: ProtocolError) -> None:
        """Of a request as a whole; those that the server refuses come here too."""
        self.metrics.reports_rejected.labels(error.name).inc()

    def breakdown(self, path: str, error: Exception) -> Answer:
        self.metrics.reports_rejected.labels("Internal").inc()
        log.error("request failed", path=path, exc_info=error)
        return breakdown()


def _client(scope: Scope) -> str:
    """The sender's address, as the server says it."""
    found = scope.get("client")
    return str(found[0]) if found else ""


Handler = Callable[[Request], Awaitable[Response]]


def report_routes(endpoints: Endpoints) -> list[Route]:
    return [
        Route(REPORTS, endpoints.routed_reports, methods=["POST"]),
        Route("/v1/devices/{device}/sequence", endpoints.sequence),
    ]


@dataclass(frozen=True, slots=True)
class ReportsFirst:
    """Answers `POST /v1/reports` itself and leaves the rest to the application: routes, requests
    and middlewares cost a single report as much as all that is done with it."""

    endpoints: Endpoints
    others: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_reports = scope["type"] == "http" and scope["path"] == REPORTS
        if not (is_reports and scope["method"] == "POST"):
            await self.others(scope, receive, send)
            return
        answer = await self.endpoints.reports(scope, receive)
        start = {"type": "http.response.start", "status": answer.status}
        await send(start | {"headers": answer.all_headers})
        await send({"type": "http.response.body", "body": answer.body})


def build_app(
    endpoints: Endpoints, more: list[Route], reports: bool, metrics: bool = True
) -> ASGIApp:
    """The application; without `reports` only what reads and operates. `more`: of other roles.
    Without `metrics` they are at another port."""
    routes = [
        Route("/v1/data/{commitment}", endpoints.data),
        Route("/v1/batches/{id}", endpoints.batch),
        *Ops(endpoints.health, endpoints.metrics.exposition).routes(metrics=metrics),
        *(report_routes(endpoints) if reports else []),
        *more,
    ]
    handlers: dict[Any, Any] = {
        ProtocolError: endpoints.refused,
        HTTPException: endpoints.unrouted,
        Exception: endpoints.broken,
    }
    application = Starlette(routes=routes, exception_handlers=handlers)
    # A redirection would name the host that the client named.
    application.router.redirect_slashes = False
    return ReportsFirst(endpoints, application) if reports else application
