"""The steps of a flow: what a client can be asked to carry out, and how an answer can fail."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from inspect import Parameter, signature
from typing import Any, TypeVar

from corechain.protocol.errors import CoreChainError, ProtocolError, TransportError, by_name

T = TypeVar("T")
HTTP_PAYMENT_REQUIRED, HTTP_BUSY, HTTP_SERVER_ERROR = 402, 429, 500


class ApiUnavailable(TransportError):
    """No answer from the gateway or the query API, or an answer of a broken or busy server.

    `status` is the HTTP status, if there was any; `retry_after_s` what the server asks to wait;
    `problem` the name of its problem.
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        retry_after_s: float | None = None,
        problem: str = "",
    ) -> None:
        super().__init__(message)
        self.status, self.retry_after_s, self.problem = status, retry_after_s, problem


class Refused(ProtocolError):
    """The server refused with a problem that has no class of its own here."""

    def __init__(self, problem: str, detail: str) -> None:
        super().__init__(f"{problem}: {detail}")
        self.problem, self.detail = problem, detail


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request to the gateway or the query API."""

    service: str
    method: str
    path: str
    params: Mapping[str, str | int] = field(default_factory=dict)
    content: bytes | None = None
    content_type: str | None = None
    prefer: str | None = None
    """What the client would like of the answer (RFC 7240)."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to the chain: a blocking function without arguments."""

    question: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing, for so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Quote:
    """A request that is not paid: its answer is wanted as it came, with the price in it."""

    request: Request


@dataclass(frozen=True, slots=True)
class Send:
    """The query that is being paid for again, with this PAYMENT-SIGNATURE."""

    header: str


Step = Request | Ask | Pause
ClientStep = Step | Quote
PayingStep = Send | Pause | Ask
Flow = Generator[Step, Any, T]


def error_of_problem(
    status: int, document: Any, retry_after_s: float | None = None, place: str = ""
) -> CoreChainError:
    """The typed error of a problem document (RFC 9457); ApiUnavailable, which says where (`place`),
    for what may pass (429 and 5xx) and for what is no problem document."""
    where = f"{place}: HTTP {status}" if place else f"HTTP {status}"
    if not isinstance(document, Mapping):
        return ApiUnavailable(f"{where} without a problem document", status, retry_after_s)
    name = str(document.get("type", "")).rpartition(":")[2]
    detail = str(document.get("detail") or document.get("title") or f"HTTP {status}")
    if status == HTTP_BUSY or status >= HTTP_SERVER_ERROR:
        return ApiUnavailable(f"{where}: {detail}", status, retry_after_s, name)
    kind = by_name(name)
    if kind is None:
        return Refused(name or f"HTTP {status}", detail)
    error = kind.__new__(kind)
    Exception.__init__(error, detail)
    # The facts are in the sentence only; whoever reads an attribute finds None, not an error.
    for fact in _facts_of(kind):
        if not hasattr(error, fact):  # `name` is every error's own
            setattr(error, fact, None)
    return error


def _facts_of(kind: type[ProtocolError]) -> list[str]:
    """The attributes that an error of this class has: the parameters it is made from."""
    parameters = list(signature(kind.__init__).parameters.values())[1:]
    return [item.name for item in parameters if item.kind is Parameter.POSITIONAL_OR_KEYWORD]
