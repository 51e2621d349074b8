"""What an HTTP answer of gateway or query API holds: its JSON, or its problem as an error."""

from typing import TYPE_CHECKING, Any

import msgspec

from corechain.http import retry_after_s
from corechain.steps import ApiUnavailable, error_of_problem

if TYPE_CHECKING:
    import httpx

HTTP_REDIRECT, HTTP_REFUSED = 300, 400
UNANSWERED = (TimeoutError, ValueError)
"""What `corechain.http` raises beside httpx's own: an answer that does not end, or is too long."""


def payload_of(response: "httpx.Response") -> Any:
    """The JSON of an answer, or its problem as the typed error. Raises ApiUnavailable."""
    status = response.status_code
    if HTTP_REDIRECT <= status < HTTP_REFUSED:
        # Not followed: a signed payment goes to nobody whom the caller did not name.
        to = response.headers.get("location", "nowhere")
        raise ApiUnavailable(f"HTTP {status} to {to:.200}: use that as the URL", status)
    try:
        document = msgspec.json.decode(response.content)
    except (ValueError, RecursionError) as error:
        wait_s = retry_after_s(response.headers)
        raise ApiUnavailable(f"HTTP {status} without JSON", status, wait_s) from error
    if response.is_success:
        return document
    raise error_of_problem(status, document, retry_after_s(response.headers))
