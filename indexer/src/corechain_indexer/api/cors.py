"""Which pages may read our answers in a browser (Fetch standard, "CORS protocol").

Never with credentials: we know no cookies, and a key in a page is everybody's. So a page learns
nothing that a stranger would not.
"""

from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response

ANYBODY = "*"
METHODS = "GET, HEAD"
# `access-control-expose-headers` belongs to answers; @x402/fetch sends it with its payments.
ALLOWED = (
    "access-control-expose-headers, authorization, if-none-match, last-event-id, "
    "payment-signature, x-api-key"
)
EXPOSED = "etag, link, payment-required, payment-response, ratelimit, ratelimit-policy, retry-after"
MAX_AGE_S = 7_200
"""The most that Chromium believes."""


@dataclass(frozen=True, slots=True)
class Cors:
    """`origins` as browsers write them; `*` is every page. Without any, answers say nothing."""

    origins: frozenset[str] = frozenset()

    def mark(self, request: Request, headers: MutableHeaders) -> None:
        """Lets the page that asked read an answer."""
        if not self.origins:
            return
        allowed = self._allowed(request)
        if ANYBODY not in self.origins:
            headers.add_vary_header("origin")
        if allowed is not None:
            headers["access-control-allow-origin"] = allowed
            headers["access-control-expose-headers"] = EXPOSED

    def preflight(self, request: Request) -> Response | None:
        """The answer to a browser that asks before its page does; None for who is none."""
        asks = "access-control-request-method" in request.headers
        if request.method != "OPTIONS" or not asks or not self.origins:
            return None
        response = Response(status_code=204)
        self.mark(request, response.headers)
        if "access-control-allow-origin" in response.headers:
            response.headers["access-control-allow-methods"] = METHODS
            response.headers["access-control-allow-headers"] = ALLOWED
            response.headers["access-control-max-age"] = str(MAX_AGE_S)
        return response

    def _allowed(self, request: Request) -> str | None:
        if ANYBODY in self.origins:
            return ANYBODY
        origin = request.headers.get("origin")
        return origin if origin in self.origins else None
