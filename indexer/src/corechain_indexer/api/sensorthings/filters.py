"""`$filter`: text to a tree and back. Pure; nothing of it is ever SQL, or evaluated as code.

The grammar (a part of OData 4.0, ABNF "boolCommonExpr"):

    or    := and ("or" and)*
    and   := unary ("and" unary)*
    unary := "not" unary | "(" or ")" | call | value op value
    call  := name "(" value ("," value)* ")"
    value := path | 'text' | number | instant | true | false | null | geography'POLYGON((…))'
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import NamedTuple

from corechain_indexer.api.sensorthings.shapes import Shape, shape_of
from corechain_indexer.errors import InvalidQuery, NotInSubset

OPTION = "$filter"
MAX_LENGTH = 2_000
MAX_DEPTH = 20
"""Of parentheses and `not`: each is three calls of Python's thousand."""
OPERATORS = ("eq", "ne", "gt", "ge", "lt", "le")
FUNCTIONS = {
    "startswith": 2, "endswith": 2, "contains": 2, "substringof": 2,
    "geo.intersects": 2, "st_within": 2, "st_intersects": 2,
}  # fmt: skip
"""With the number of their arguments."""
ARITHMETIC = frozenset({"add", "sub", "mul", "div", "mod"})
_WORDS = {"true": True, "false": False, "null": None}
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<geo>(?:geography|geometry)'[^']*')
  | (?P<text>'(?:[^']|'')*')
  | (?P<instant>\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d)?)
  | (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?(?![\w.]))
  | (?P<name>[@A-Za-z_][\w.]*(?:/[@A-Za-z_][\w.]*)*)
  | (?P<mark>[(),])
    )""",
    re.VERBOSE | re.ASCII,
)

Value = str | int | float | bool | None | datetime | Shape


@dataclass(frozen=True, slots=True)
class Path:
    """A property, perhaps of another entity: `Thing/name`."""

    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Literal:
    value: Value


@dataclass(frozen=True, slots=True)
class Compare:
    operator: str
    left: "Path | Literal"
    right: "Path | Literal"


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    arguments: tuple["Path | Literal", ...]


@dataclass(frozen=True, slots=True)
class Every:
    """`and`."""

    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Some:
    """`or`."""

    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Not:
    inner: "Node"


Node = Compare | Call | Every | Some | Not
Operand = Path | Literal


class _Token(NamedTuple):
    kind: str
    text: str


END = _Token("end", "")


def parse(text: str) -> Node:
    """Raises InvalidQuery for what is no filter, NotInSubset for what is one of another server."""
    if len(text) > MAX_LENGTH:
        raise InvalidQuery(OPTION, f"is longer than {MAX_LENGTH} characters")
    parser = _Parser(_tokens(text))
    node = parser.disjunction(0)
    if parser.next is not END:
        raise _unexpected(parser.next)
    return node


def _tokens(text: str) -> Iterator[_Token]:
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise InvalidQuery(OPTION, f"is not to be read from character {at + 1} on")
        yield _Token(found.lastgroup, found[found.lastgroup])
        at = found.end()
    while True:
        yield END


def _unexpected(token: _Token) -> InvalidQuery:
    what = "its end" if token is END else repr(token.text[:40])
    return InvalidQuery(OPTION, f"has {what} where something else belongs")


class _Parser:
    """One token ahead."""

    def __init__(self, tokens: Iterator[_Token]) -> None:
        self._tokens = tokens
        self.next = next(tokens)

    def _take(self) -> _Token:
        token, self.next = self.next, next(self._tokens)
        return token

    def _takes(self, kind: str, text: str) -> bool:
        if self.next != (kind, text):
            return False
        self._take()
        return True

    def _expect(self, mark: str) -> None:
        if not self._takes("mark", mark):
            raise _unexpected(self.next)

    def disjunction(self, depth: int) -> Node:
        parts = [self._conjunction(depth)]
        while self._takes("name", "or"):
            parts.append(self._conjunction(depth))
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def _conjunction(self, depth: int) -> Node:
        parts = [self._unary(depth)]
        while self._takes("name", "and"):
            parts.append(self._unary(depth))
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def _unary(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise InvalidQuery(OPTION, f"has more than {MAX_DEPTH} levels")
        if self._takes("name", "not"):
            return Not(self._unary(depth + 1))
        if self._takes("mark", "("):
            inner = self.disjunction(depth + 1)
            self._expect(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Node:
        token = self._take()
        if token.kind == "name" and self.next == ("mark", "("):
            return self._call(token.text)
        left, operator = _operand(token), self._take()
        if operator.text in ARITHMETIC:
            raise NotInSubset(OPTION, f"the operator {operator.text}")
        if operator.kind != "name" or operator.text not in OPERATORS:
            raise _unexpected(operator)
        right = self._take()
        if right.kind == "name" and self.next == ("mark", "("):
            raise NotInSubset(OPTION, f"the function {right.text[:40]}")
        return Compare(operator.text, left, _operand(right))

    def _call(self, name: str) -> Call:
        count = FUNCTIONS.get(name)
        if count is None:
            raise NotInSubset(OPTION, f"the function {name[:40]}")
        self._expect("(")
        arguments = [_operand(self._take())]
        while self._takes("mark", ","):
            arguments.append(_operand(self._take()))
        self._expect(")")
        if len(arguments) != count:
            raise InvalidQuery(OPTION, f"{name} takes {count} arguments")
        if self.next.text in OPERATORS:
            raise NotInSubset(OPTION, f"a comparison of what {name} says: write it, or not")
        return Call(name, tuple(arguments))


def _operand(token: _Token) -> Operand:
    kind, text = token
    if kind == "text":
        return Literal(text[1:-1].replace("''", "'"))
    if kind == "number":
        return Literal(_number(text))
    if kind == "instant":
        return Literal(instant(text))
    if kind == "geo":
        return Literal(shape_of(text.partition("'")[2][:-1]))
    if kind != "name" or text in (*OPERATORS, "and", "or", "not"):
        raise _unexpected(token)
    return Literal(_WORDS[text]) if text in _WORDS else Path(tuple(text.split("/")))


def _number(text: str) -> int | float:
    if text.lstrip("-").isdigit():
        return int(text)
    value = float(text)
    if not isfinite(value):
        raise InvalidQuery(OPTION, f"{text[:40]} is too large a number")
    return value


def instant(text: str) -> datetime:
    """ISO 8601; without a zone it is UTC. Raises InvalidQuery."""
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidQuery(OPTION, f"{text[:40]} is no time") from error


# --------------------------------------------------------------------------- back to text


def printed(node: Node) -> str:
    """Text that `parse` makes the same tree of."""
    match node:
        case Every(parts):
            return " and ".join(map(_enclosed, parts))
        case Some(parts):
            return " or ".join(map(_enclosed, parts))
        case Not(inner):
            return f"not {_enclosed(inner)}"
        case Call(name, arguments):
            return f"{name}({','.join(map(_shown, arguments))})"
        case Compare(operator, left, right):
            return f"{_shown(left)} {operator} {_shown(right)}"


def _enclosed(node: Node) -> str:
    return printed(node) if isinstance(node, Compare | Call) else f"({printed(node)})"


def _shown(operand: Operand) -> str:
    if isinstance(operand, Path):
        return "/".join(operand.parts)
    value = operand.value
    if value is None or isinstance(value, bool):
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return f"geography'{value.text}'" if isinstance(value, Shape) else repr(value)
