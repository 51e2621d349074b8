"""What operates a process over HTTP, the same for every service: /health, /ready, /metrics."""

from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import Gauge
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from corechain.protocol.errors import MethodNotAllowed, NotFound, ProtocolError
from corechain.service.health import Health
from corechain.service.supervision import LoopState

EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The text format of Prometheus."""


@dataclass(frozen=True, slots=True)
class Ops:
    """`health` answers `/ready`, `exposition` renders the metrics."""

    health: Health
    exposition: Callable[[], bytes]

    async def alive(self, request: Request) -> Response:
        """200 as long as the process can answer at all: a reason to restart it is its absence."""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """503 while something it needs is missing, with what and why."""
        ready, document = await self.health.report()
        return JSONResponse(document, 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        return Response(self.exposition(), media_type=EXPOSITION_TYPE)

    def routes(self) -> list[Route]:
        return [
            Route("/health", self.alive),
            Route("/ready", self.ready),
            Route("/metrics", self.metrics),
        ]


def route_error(error: HTTPException) -> ProtocolError:
    """What Starlette's router found no handler for, by a name of ours."""
    if error.status_code == MethodNotAllowed.status:
        return MethodNotAllowed("the path does not take this method")
    return NotFound("no such path")


def shown_in(gauge: Gauge) -> Callable[[str, LoopState], None]:
    """What `Loops.changed` is set to: 1 for the state that a loop is in, 0 for the others."""

    def show(loop: str, state: LoopState) -> None:
        for each in LoopState:
            gauge.labels(loop, each.value).set(each is state)

    return show
