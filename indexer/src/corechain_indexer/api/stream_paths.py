"""The streams in the OpenAPI document: what they take, what an event is, how they refuse."""

from collections.abc import Iterator, Mapping
from typing import Any

from corechain_indexer.api.wishes import BATCHES, EVENTS
from corechain_indexer.store.contents import MAX_KEYS
from corechain_indexer.store.events import BatchEvent

TAG = "stream"
EVENT = BatchEvent
CURSOR: Mapping[str, Any] = {"type": "string", "pattern": "^[A-Za-z0-9_-]{24}$"}
_LIST = (
    "one, or several with commas between. With device, metric and cell together, a reading must"
    f" meet all; up to {MAX_KEYS} combinations. `undone` is sent to everybody"
)
PARAMETERS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "since": (
        "query",
        "cursor: events after it, then what comes; without one, from now on",
        CURSOR,
    ),
    "finality": (
        "query",
        "`finalised` (or `final`): only what no reorg can undo",
        {"enum": ["pending", "finalised", "final"], "default": "pending"},
    ),
    "device": (
        "query",
        f"only batches with readings of these devices; {_LIST}",
        {"type": "string"},
    ),
    "metric": (
        "query",
        f"only batches with readings of these metrics; {_LIST}",
        {"type": "string"},
    ),
    "cell": ("query", f"only batches with readings at these H3 cells; {_LIST}", {"type": "string"}),
    "Last-Event-ID": ("header", "cursor; goes before `since`. Browsers send it", CURSOR),
}
REFUSALS: Mapping[str, str] = {
    "400": "CursorUnknown: of another index, chain or history, or no cursor. InvalidQuery: a"
    " parameter that the path does not know, or whose value is none",
    "401": "UnknownApiKey",
    "406": "NotAcceptable: the header Accept does not take `text/event-stream`; for"
    " `/v1/batches/stream` it has to name it",
    "422": "UnknownMetric",
    "429": "TooManyRequests: to open a stream counts as a request",
    "503": "Overloaded: every place is taken. Unavailable: the log cannot be read at the moment",
}
SUMMARIES: Mapping[str, str] = {
    EVENTS.decode(): "What happens to batches, as Server-Sent Events or by WebSocket",
    BATCHES.decode(): "As /v1/events, with `Accept: text/event-stream` or by WebSocket",
}


def _problem(ref: str, text: str) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": ref.format(name="Problem")}}}
    return {"description": f"problem details (RFC 9457). {text}", "content": content}


def _expired(ref: str) -> dict[str, Any]:
    more = {
        "type": "object",
        "required": ["catch_up", "since"],
        "properties": {
            "catch_up": {"type": "string", "description": "where all batches are"},
            "since": {**CURSOR, "description": "the newest cursor: subscribe from it, then read"},
        },
    }
    text = "CursorExpired: events after the cursor are not kept any more"
    found = _problem(ref, text)
    schema = {"allOf": [{"$ref": ref.format(name="Problem")}, more]}
    found["content"]["application/problem+json"] = {"schema": schema}
    return found


def _answer(ref: str) -> dict[str, Any]:
    # OpenAPI 3.1 has no word for the type of an event; 3.2 calls it `itemSchema`.
    events = {
        "schema": {"type": "string"},
        "x-itemSchema": {"$ref": ref.format(name=EVENT.__name__)},
    }
    text = "without end; `event` is the type, `id` the cursor, `data` an event"
    return {"description": text, "content": {"text/event-stream": events}}


def _parameters() -> list[dict[str, Any]]:
    return [
        {"name": name, "in": place, "required": False, "description": text, "schema": dict(schema)}
        for name, (place, text, schema) in PARAMETERS.items()
    ]


def operations(ref: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The paths and what is asked of them by GET; `ref` is the template of references."""
    responses = {status: _problem(ref, text) for status, text in REFUSALS.items()}
    for path, summary in SUMMARIES.items():
        yield (
            path,
            {
                "operationId": path.strip("/").replace("/", "_"),
                "summary": summary,
                "tags": [TAG],
                "parameters": _parameters(),
                "responses": {
                    "101": {"description": "by WebSocket: a refusal is its first and only message"},
                    "200": _answer(ref),
                    "410": _expired(ref),
                    **responses,
                },
            },
        )
