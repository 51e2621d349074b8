"""Query options of SensorThings: of the address, and in the parentheses of `$expand`. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from corechain_indexer.api.params import MAX_LIMIT
from corechain_indexer.api.sensorthings.filters import Node, parse
from corechain_indexer.api.sensorthings.model import SETS, EntitySet
from corechain_indexer.errors import InvalidQuery, NotInSubset

DEFAULT_TOP, MAX_SKIP = 100, 10_000
MAX_LEVELS = 3
"""Of `$expand`: Things, their Datastreams, those's Observations, and one more."""
MAX_EXPANDED = 12
"""Links that one question opens, on all levels."""
MAX_EXPAND_LENGTH = 4_000
NAMES = ("$top", "$skip", "$count", "$orderby", "$select", "$expand", "$filter", "$skiptoken")
RESULT_FORMAT = "$resultFormat"


@dataclass(frozen=True, slots=True)
class Options:
    """`top`: items of a page, and never more than 1,000. `raw`: as they were written, for links."""

    top: int = DEFAULT_TOP
    skip: int = 0
    count: bool = False
    newest_first: bool = False
    by_time: bool = False
    """Whether an order by time was asked for, in either direction."""
    select: tuple[str, ...] = ()
    filter: Node | None = None
    cursor: str | None = None
    expand: Mapping[str, "Options"] = field(default_factory=dict)
    raw: Mapping[str, str] = field(default_factory=dict)

    def shows(self, name: str) -> bool:
        return not self.select or name in self.select


def options_of(kind: EntitySet, raw: Mapping[str, str]) -> Options:
    """Raises InvalidQuery, NotInSubset."""
    options = _options(kind, raw, MAX_LEVELS)
    if _opened(options) > MAX_EXPANDED:
        raise InvalidQuery("$expand", f"opens more than {MAX_EXPANDED} links")
    return options


def _opened(options: Options) -> int:
    return sum(1 + _opened(inner) for inner in options.expand.values())


def _options(kind: EntitySet, raw: Mapping[str, str], levels: int) -> Options:
    for name in raw:
        if name not in NAMES:
            raise NotInSubset("query", f"the option {name[:40]}")
    newest_first, by_time = _order(kind, raw.get("$orderby"))
    return Options(
        min(_number("$top", raw.get("$top"), DEFAULT_TOP, 10**15), MAX_LIMIT),
        _number("$skip", raw.get("$skip"), 0, MAX_SKIP),
        _flag("$count", raw.get("$count")),
        newest_first,
        by_time,
        _select(kind, raw.get("$select")),
        parse(raw["$filter"]) if "$filter" in raw else None,
        raw.get("$skiptoken"),
        _expand(kind, raw.get("$expand"), levels),
        raw,
    )


def _number(name: str, text: str | None, default: int, high: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 17 and int(text) <= high):
        raise InvalidQuery(name, f"is not a whole number from 0 to {high}")
    return int(text)


def _flag(name: str, text: str | None) -> bool:
    if text not in (None, "true", "false"):
        raise InvalidQuery(name, "is not true or false")
    return text == "true"


def _order(kind: EntitySet, text: str | None) -> tuple[bool, bool]:
    """(the last ones first, by time). Ids are the order of all sets but readings, and names are
    made of ids; readings of a datastream are in the order of their time, and then of their ids."""
    if text is None:
        return False, False
    first, *more = (term.split() for term in text.split(","))
    for term in (first, *more):
        if len(term) not in (1, 2) or term[1:] not in ([], ["asc"], ["desc"], ["ASC"], ["DESC"]):
            raise InvalidQuery("$orderby", "is not properties, each with asc or desc")
    path, is_descending = first[0], first[1:] in (["desc"], ["DESC"])
    if path not in kind.known and "/" not in path:
        raise InvalidQuery("$orderby", f"{path[:40]} is no property of {kind.name}")
    by_time = kind.name == "Observations" and path == "phenomenonTime"
    by_id = path in ("id", "@iot.id", "name") and kind.name != "Observations"
    if not (by_time or (by_id and not is_descending)):
        raise NotInSubset("$orderby", f"the order of {kind.name} by {text[:40]}")
    for other in more:
        if other[0] not in ("id", "@iot.id") or (other[1:] == ["desc"]) != is_descending:
            raise NotInSubset("$orderby", f"the order by {' '.join(other)[:40]} besides")
    return is_descending, by_time


def _select(kind: EntitySet, text: str | None) -> tuple[str, ...]:
    if text is None or text.strip() == "*":
        return ()
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in kind.known:
            if name.partition("/")[0] in kind.known:
                raise NotInSubset("$select", f"a part of a property ({name[:40]})")
            raise InvalidQuery("$select", f"{name[:40]} is no property of {kind.name}")
    return names


def _expand(kind: EntitySet, text: str | None, levels: int) -> dict[str, Options]:
    if text is None:
        return {}
    if len(text) > MAX_EXPAND_LENGTH:
        raise InvalidQuery("$expand", f"is longer than {MAX_EXPAND_LENGTH} characters")
    if not levels:
        raise NotInSubset("$expand", f"more than {MAX_LEVELS} levels")
    found: dict[str, dict[str, str]] = {}
    for item in split("$expand", text, ","):
        name, raw = _item(item.strip())
        if name not in kind.links:
            raise InvalidQuery("$expand", f"{name[:40]} is no link of {kind.name}")
        held = found.setdefault(name, {})
        # `A/B,A/C` opens A once, and in it both.
        inner = ",".join(said for said in (held.get("$expand"), raw.get("$expand")) if said)
        held.update(raw, **({"$expand": inner} if inner else {}))
    sets = {**kind.one, **kind.many}
    return {name: _options(SETS[sets[name]], raw, levels - 1) for name, raw in found.items()}


def _item(text: str) -> tuple[str, dict[str, str]]:
    """`Link`, `Link(options)` or `Link/more`, which is `Link($expand=more)`."""
    cut = min((at for at in (text.find("("), text.find("/")) if at >= 0), default=len(text))
    name, rest = text[:cut], text[cut:]
    if rest.startswith("/"):
        return name, {"$expand": rest[1:]}
    if not rest:
        return name, {}
    if not rest.endswith(")"):
        raise InvalidQuery("$expand", "has a parenthesis that does not close")
    found: dict[str, str] = {}
    for piece in split("$expand", rest[1:-1], ";"):
        option, equals, value = piece.strip().partition("=")
        if not equals or option in found:
            raise InvalidQuery("$expand", f"{option[:40]} is no option, or comes twice")
        found[option] = value.strip()
    return name, found


def split(name: str, text: str, mark: str) -> Iterator[str]:
    """At each mark that is in no parentheses and no quotes."""
    depth, quoted, start = 0, False, 0
    for at, character in enumerate(text):
        if character == "'":
            quoted = not quoted  # a doubled one opens again at once
        elif quoted:
            continue
        elif character in "()":
            depth += 1 if character == "(" else -1
            if depth < 0:
                raise InvalidQuery(name, "has a parenthesis that does not open")
        elif character == mark and not depth:
            yield text[start:at]
            start = at + 1
    if depth or quoted:
        raise InvalidQuery(name, "has a parenthesis or a quote that does not close")
    yield text[start:]
