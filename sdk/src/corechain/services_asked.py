"""What a service of ours says of itself by `/health` and `/ready`, for `corechain status`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from corechain.protocol.errors import TransportError

if TYPE_CHECKING:
    import httpx

HTTP_NOT_FOUND = 404
MOST_CHARACTERS = 300
"""Of a reason or warning: whoever answers may say anything, and a table has to stay readable."""
ROLE_LOOPS = ("aggregator", "submitter", "watchtower")
"""Loops of the relayer that are a role: each may share a process with others."""
_AT_WORK = ("running", "standby")


class NotWorking(TransportError):
    """A part gives no answer, or says that it cannot work."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`lacks`: what is missing, each with its reason, after the path that said so. `loops`: states
    by name. `behind_proxy`: `/ready` was not to be had."""

    lacks: Sequence[str] = ()
    warnings: Sequence[str] = ()
    loops: Mapping[str, str] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    behind_proxy: bool = False

    @property
    def detail(self) -> str:
        if self.behind_proxy:
            return "answers; the proxy in front keeps /ready to itself"
        warned = [f"warning: {text}" for text in self.warnings]
        return "; ".join([*(self.lacks or ["ready"]), *warned])

    def roles(self) -> Mapping[str, tuple[bool, str]]:
        """Whether each role in this process does its work, with the state of its loop."""
        states = {name: self.loops[name] for name in ROLE_LOOPS if name in self.loops}
        return {
            name: (state in _AT_WORK, ": ".join(filter(None, (state, self.reasons.get(name)))))
            for name, state in states.items()
        }


def json_of(response: "httpx.Response") -> dict[str, Any]:
    """Raises NotWorking."""
    try:
        document = response.json()
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise NotWorking(f"{response.request.url.path}: HTTP {response.status_code}, no JSON")
    return document


def ask(http: "httpx.Client", url: str) -> Answer:
    """Raises NotWorking, httpx.HTTPError."""
    alive = http.get(url + "/health")
    if not alive.is_success:
        return _read(alive)
    ready = http.get(url + "/ready")
    if ready.status_code == HTTP_NOT_FOUND:
        # Each of ours has it: a proxy in front of several hides which of them is asked.
        return Answer(behind_proxy=True)
    return _read(ready)


def _read(answer: "httpx.Response") -> Answer:
    document = json_of(answer)
    reasons = _texts(document.get("reasons"))
    warnings = document.get("warnings")
    found = Answer(
        warnings=[_words(text) for text in warnings] if isinstance(warnings, list) else (),
        loops=_texts(document.get("loops")),
        reasons=reasons,
    )
    if answer.is_success:
        return found
    failing = document.get("failing")
    names = [_words(name) for name in failing] if isinstance(failing, list) else list(reasons)
    named = [f"{name}: {reasons[name]}" if name in reasons else name for name in names]
    named = named or [f"HTTP {answer.status_code}"]
    path = answer.request.url.path
    return Answer([f"{path}: {named[0]}", *named[1:]], found.warnings, found.loops, found.reasons)


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        return {}
    return {_words(name): _words(text) for name, text in value.items()}


def _words(value: object) -> str:
    """On one line, and nothing that a terminal would obey."""
    text = "".join(each if each.isprintable() else " " for each in str(value))
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"
