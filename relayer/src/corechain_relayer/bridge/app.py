"""HTTP of the bridge: an upload in, what its station takes for a yes out."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import structlog
from msgspec.json import encode
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from corechain.protocol.errors import NotFound, ProtocolError
from corechain.protocol.problems import problem_title, problem_type
from corechain.service.ops import Ops, allowed, options, route_error
from corechain.service.tracing import CURRENT
from corechain_relayer.bridge.book import Taken
from corechain_relayer.bridge.errors import NothingNew, places_of
from corechain_relayer.bridge.formats.registry import FORMATS, OWN_PATHS, Format
from corechain_relayer.bridge.formats.upload import Message, Row
from corechain_relayer.bridge.intake import Intake
from corechain_relayer.bridge.stations import UnknownStation
from corechain_relayer.gateway.body import BodyLimits, body_of, headers_of, media_type

log = structlog.get_logger(__name__)

PLAIN = ("ecowitt", "wunderground", "cwop")
"""Formats whose stations read a word, not JSON."""
SENSORTHINGS = "sensorthings"
PROBLEM = "application/problem+json"
RETRY_AFTER_S = 60
WUNDERGROUND = "wunderground"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The handlers."""

    intake: Intake
    bodies: BodyLimits
    ops: Ops
    api_url: str = ""
    """Of the query API, as others reach it: links of observations begin with it."""

    async def by_path(self, request: Request) -> Response:
        """The token is the end of the path: every station can be told a path."""
        kind = _format(request.path_params["format"])
        return await self._upload(request, kind, request.path_params["token"])

    async def by_header(self, request: Request) -> Response:
        """The token is a bearer's: webhooks can send headers."""
        kind = _format(request.path_params["format"])
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise UnknownStation
        return await self._upload(request, kind, token.strip())

    async def wunderground(self, request: Request) -> Response:
        """The token is the PASSWORD ("station key") of Weather Underground's own path."""
        return await self._upload(request, FORMATS[WUNDERGROUND], None)

    async def _upload(self, request: Request, kind: Format, token: str | None) -> Response:
        headers = headers_of(request.headers.raw)
        content_type = media_type(headers)
        async with body_of(headers, request.receive, self.bodies) as body:
            query = request.scope["query_string"].decode("latin-1")
            current = CURRENT.get()
            trace = None if current is None else b"".join(current)
            message = Message(body, query, dict(request.headers), content_type, trace)
            secret = message.form.get("PASSWORD", "") if token is None else token
            taken = await self.intake.upload(kind, message, secret)
            if kind.name == SENSORTHINGS:
                return created(taken, isinstance(message.document, list), self.api_url)
            return _answer(kind, taken)

    async def refused(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, ProtocolError)
        kind = _label(request)
        self.intake.refused(kind, error)
        return _problem(error)

    async def unrouted(self, request: Request, error: Exception) -> Response:
        """No path of ours, or no method of the path: OPTIONS is answered here for all of them."""
        assert isinstance(error, HTTPException)
        told, problem = options(request, error), route_error(error)
        if told is not None:
            # The router knows that there is a format in a path, not which there are.
            if request.path_params.get("format", WUNDERGROUND) in FORMATS:
                return told
            problem = NotFound("no such path")
        found = await self.refused(request, problem)
        found.headers.update(allowed(error))
        return found

    async def broken(self, request: Request, error: Exception) -> Response:
        """Nothing that we foresaw."""
        self.intake.metrics.refused.labels(_label(request), "Internal").inc()
        log.error("request failed", kind=type(error).__name__, trace=places_of(error))
        return Response(encode({"title": "Internal error", "status": 500}), 500, None, PROBLEM)


def _format(name: str) -> Format:
    found = FORMATS.get(name)
    if found is None:
        raise NotFound(f"formats are {', '.join(FORMATS)}")
    return found


def _label(request: Request) -> str:
    """A format of ours, or "none": what clients write becomes no label."""
    name = request.path_params.get("format", WUNDERGROUND)
    return name if name in FORMATS else "none"


def created(found: list[Taken], is_array: bool, api_url: str) -> Response:
    """What SensorThings 1.1 (OGC 18-088) answers: for CreateObservations a link or "error" for each
    row, in order (14.3); for one Observation its link in Location. Raises NothingNew."""
    links = [_link(taken.device, row, api_url) for taken in found for row in taken.rows]
    if is_array:
        content = encode([link or "error" for link in links])
        return Response(content, 201, media_type="application/json")
    (link,) = links
    if link is None:
        raise NothingNew(reason for taken in found for reason in taken.skipped.values())
    return Response(b"", 201, {"location": link})


def _link(device: bytes, row: Row, api_url: str) -> str | None:
    """Where the observation can be read once its batch is on the chain."""
    if row is None:
        return None
    metric, at = row
    return f"{api_url}/v1/readings?device=0x{device.hex()}&metric={metric}&from={at}&to={at}"


def _answer(kind: Format, found: list[Taken]) -> Response:
    if kind.name in PLAIN:
        return PlainTextResponse(kind.answer)
    reasons = Counter(reason for taken in found for reason in taken.skipped.values())
    accepted = sum(len(taken.observations) for taken in found)
    content: dict[str, Any] = {"accepted": accepted, "skipped": dict(reasons)}
    return Response(encode(content), media_type="application/json")


def _problem(error: ProtocolError) -> Response:
    title = problem_title(type(error))
    content = {"type": problem_type(error), "title": title, "status": error.status}
    seconds = getattr(error, "retry_after_s", RETRY_AFTER_S)
    headers = {"retry-after": str(seconds)} if error.status in (429, 503) else None
    return Response(encode(content | {"detail": str(error)}), error.status, headers, PROBLEM)


def build_app(endpoints: Endpoints, *, metrics: bool = True) -> Starlette:
    """Uploads and probes; without `metrics` these are at the operations' port alone."""
    methods = ["GET", "POST", "PUT"]
    routes = [
        Route(OWN_PATHS[WUNDERGROUND], endpoints.wunderground, methods=methods),
        *endpoints.ops.routes(metrics=metrics),
        Route("/{format}/{token}", endpoints.by_path, methods=methods),
        # Some consoles add a slash, or put their own path's end behind ours.
        Route("/{format}/{token}/{rest:path}", endpoints.by_path, methods=methods),
        Route("/{format}", endpoints.by_header, methods=methods),
    ]
    return _application(endpoints, routes)


def without_token(path: str) -> str:
    """What a span may show of a path: its format. Behind that stands the station's token."""
    return "/" + path.strip("/").partition("/")[0]


def build_ops_app(endpoints: Endpoints) -> Starlette:
    """What operates the process, and no uploads."""
    return _application(endpoints, endpoints.ops.routes())


def _application(endpoints: Endpoints, routes: list[Route]) -> Starlette:
    handlers: dict[Any, Any] = {
        ProtocolError: endpoints.refused,
        HTTPException: endpoints.unrouted,
        Exception: endpoints.broken,
    }
    application = Starlette(routes=routes, exception_handlers=handlers)
    # A redirection would name the host that the client named, and repeat a token of the path.
    application.router.redirect_slashes = False
    return application
