"""What an HTTP answer of gateway or query API holds: its JSON, or its problem as an error."""

from typing import TYPE_CHECKING, Any

import msgspec

from corechain.http import redirect_of, retry_after_s, shown_url
from corechain.protocol.errors import CoreChainError
from corechain.steps import ApiUnavailable, error_of_problem

if TYPE_CHECKING:
    import httpx

UNANSWERED = (TimeoutError, ValueError)
"""What `corechain.http` raises beside httpx's own: an answer that does not end, or is too long."""


def payload_of(response: "httpx.Response") -> Any:
    """The JSON of an answer, or its problem as the typed error. Raises ApiUnavailable."""
    if not response.is_success:
        raise refusal_of(response, response.content)
    try:
        return json_in(response.content)
    except ValueError as error:
        raise _no_json(response) from error


def refusal_of(response: "httpx.Response", content: bytes) -> CoreChainError:
    """What an answer that is no success says, as the typed error. `content` is its body."""
    moved = redirect_of(response)
    if moved is not None:
        return ApiUnavailable(f"{_place(response)}: {moved}", response.status_code)
    try:
        document = json_in(content)
    except ValueError:
        return _no_json(response)
    wait_s = retry_after_s(response.headers)
    return error_of_problem(response.status_code, document, wait_s, _place(response))


def _place(response: "httpx.Response") -> str:
    return shown_url(str(response.request.url))


def _no_json(response: "httpx.Response") -> ApiUnavailable:
    status, wait_s = response.status_code, retry_after_s(response.headers)
    return ApiUnavailable(f"{_place(response)}: HTTP {status} without JSON", status, wait_s)


def json_in(content: bytes) -> Any:
    """Any JSON. Raises ValueError for what is none, or is nested deeper than anybody reads."""
    try:
        return msgspec.json.decode(content)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
