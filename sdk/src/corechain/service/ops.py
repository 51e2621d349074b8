"""What operates a process over HTTP, the same for every service: /health, /ready, /metrics."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from prometheus_client import Counter, Gauge
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from corechain.protocol.errors import MethodNotAllowed, NotFound, ProtocolError
from corechain.service.health import Health
from corechain.service.supervision import LoopState

EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The text format of Prometheus."""


Exposition = Callable[[], bytes | Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Ops:
    """`health` answers `/ready`, `exposition` renders the metrics, at once or soon."""

    health: Health
    exposition: Exposition

    async def alive(self, request: Request) -> Response:
        """200 as long as the process can answer at all: a reason to restart it is its absence."""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """503 while something it needs is missing, with what and why."""
        ready, document = await self.health.report()
        return JSONResponse(document, 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        text = self.exposition()
        body = await text if inspect.isawaitable(text) else text
        return Response(body, media_type=EXPOSITION_TYPE)

    def routes(self, *, metrics: bool = True) -> list[Route]:
        """Without `metrics` only the probes, which balancers in front of a public port ask."""
        probes = [Route("/health", self.alive), Route("/ready", self.ready)]
        return [*probes, Route("/metrics", self.metrics)] if metrics else probes


def allowed(error: HTTPException) -> dict[str, str]:
    """The fields that Starlette's router gives to a refusal, with the methods of `Allow` in one
    order, and OPTIONS among them."""
    fields = {name.lower(): value for name, value in (error.headers or {}).items()}
    if "allow" in fields:
        fields["allow"] = ", ".join(sorted({*fields["allow"].split(", "), "OPTIONS"}))
    return fields


def options(request: Request, error: HTTPException) -> Response | None:
    """What a path takes (RFC 9110, section 9.3.7), where the router has found the path, but no
    handler for OPTIONS. None for any other request: it is refused."""
    if request.method != "OPTIONS" or error.status_code != MethodNotAllowed.status:
        return None
    return Response(status_code=204, headers=allowed(error))


def route_error(error: HTTPException) -> ProtocolError:
    """What Starlette's router found no handler for, by a name of ours."""
    if error.status_code == MethodNotAllowed.status:
        return MethodNotAllowed("the path does not take this method")
    return NotFound("no such path")


def shown_in(gauge: Gauge) -> Callable[[str, LoopState | None], None]:
    """What `Loops.changed` is set to: 1 for the state that a loop is in, 0 for the others, and for
    all of them once it has nothing more to do."""

    def show(loop: str, state: LoopState | None) -> None:
        for each in LoopState:
            gauge.labels(loop, each.value).set(each is state)

    return show


def refusals_in(counter: Counter) -> Callable[[str], None]:
    """What `Loops.refused` is set to."""
    return lambda setting: counter.labels(setting).inc()


def times_in(gauge: Gauge) -> Callable[[str, float], None]:
    """What `Health.timed` is set to: seconds by the name of the probe."""

    def show(probe: str, seconds: float) -> None:
        gauge.labels(probe).set(seconds)

    return show
