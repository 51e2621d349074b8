"""HTTP of a challenger: what operates it, and problem details for all else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corechain.service.ops import allowed, options, route_error
from corechain_relayer.gateway.problem import breakdown, problem, response
from corechain_relayer.metrics import Metrics

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Refusals:
    """Answers what no route does, and counts it."""

    metrics: Metrics

    async def unrouted(self, request: Request, error: Exception) -> Response:
        """No path of ours, or no method of the path: OPTIONS is answered here for all of them."""
        assert isinstance(error, HTTPException)
        told = options(request, error)
        if told is not None:
            return told
        refusal = route_error(error)
        self.metrics.reports_rejected.labels(refusal.name).inc()
        found = response(problem(refusal))
        found.headers.update(allowed(error))
        return found

    async def broken(self, request: Request, error: Exception) -> Response:
        """Nothing that we foresaw: the cause is in the log, not in the answer."""
        self.metrics.reports_rejected.labels("Internal").inc()
        log.error("request failed", path=request.scope["path"], exc_info=error)
        return response(breakdown())


def application(routes: Sequence[Route], metrics: Metrics) -> Starlette:
    """One port's."""
    refusals = Refusals(metrics)
    handlers: dict[Any, Any] = {HTTPException: refusals.unrouted, Exception: refusals.broken}
    made = Starlette(routes=list(routes), exception_handlers=handlers)
    # A redirection would name the host that the client named.
    made.router.redirect_slashes = False
    return made
