"""Mutants that slither-mutate does not make: of inline assembly, and of numbers anywhere.

In assembly: an operator for its opposite, a boundary moved by one, a call replaced by one of its
arguments or by a constant, a statement left out, a condition turned round. Everywhere: each number
one more and one less.
"""

import re
from collections.abc import Iterator

from mutants.mutant import Mutant, distinct, mutant

MAKER = "own"
Change = tuple[str, int, int, str]

SWAPPED = {
    "add": "sub", "sub": "add", "mul": "div", "div": "mul", "mod": "div", "and": "or", "or": "and",
    "xor": "and", "shl": "shr", "shr": "shl", "lt": "gt", "gt": "lt", "eq": "sub", "iszero": "not",
    "address": "caller", "caller": "address", "calldatasize": "returndatasize",
    "staticcall": "call", "byte": "shr",
}  # fmt: skip
BOUNDARY = {"lt": "gt", "gt": "lt"}
CONSTANTS = {
    "mload": "0", "calldataload": "0", "keccak256": "0", "chainid": "0", "returndatasize": "0",
    "extcodesize": "1", "gas": "30000", "iszero": "0",
}  # fmt: skip
SUCCEEDED = ("call", "staticcall", "lt", "gt", "eq")
STATEMENT = re.compile(
    r"^[ \t]*((?:let )?[\w.]+ := .*|(?:mstore|mcopy|calldatacopy|log\d|tstore|sstore)\(.*\))$",
    re.MULTILINE,
)
NUMBER = re.compile(r"(?<![\w.$])(0x[0-9a-fA-F]+|\d[\d_]*)(?![\w.])")
CALL = re.compile(r"(?<![\w.])([a-z][a-z0-9]*)\(")
NOT_CODE = re.compile(r"//[^\n]*|/\*.*?\*/|\"[^\"\n]*\"|^pragma[^\n]*|^import[^;]*;", re.S | re.M)


def own_mutants(original: str) -> list[Mutant]:
    code = NOT_CODE.sub(lambda found: " " * len(found.group()), original)
    changes = list(_numbers(code))
    for start, end in _assembly(code):
        changes += _calls(code, start, end)
        changes += _statements(code, start, end)
        changes += _conditions(code, start, end)
    made = [mutant(MAKER, rule, original, start, end, new) for rule, start, end, new in changes]
    return distinct(original, made)


def _assembly(code: str) -> Iterator[tuple[int, int]]:
    for found in re.finditer(r"\bassembly\b[^{]*\{", code):
        yield found.end(), _closing(code, found.end(), "{", "}")


def _closing(code: str, start: int, opened: str, closed: str) -> int:
    depth = 1
    for place in range(start, len(code)):
        depth += (code[place] == opened) - (code[place] == closed)
        if depth == 0:
            return place
    raise ValueError("a bracket is not closed")


def _arguments(code: str, start: int, end: int) -> list[str]:
    found, depth, begin = [], 0, start
    for place in range(start, end):
        depth += (code[place] == "(") - (code[place] == ")")
        if code[place] == "," and depth == 0:
            found.append(code[begin:place].strip())
            begin = place + 1
    return [*found, code[begin:end].strip()] if code[begin:end].strip() else found


def _numbers(code: str) -> Iterator[Change]:
    for found in NUMBER.finditer(code):
        text = found.group()
        value = int(text.replace("_", ""), 16 if "x" in text else 10)
        form = f"0x%0{len(text) - 2}x" if "x" in text else "%d"
        yield "number", *found.span(), form % (value + 1)
        if value > 0:
            yield "number", *found.span(), form % (value - 1)


def _calls(code: str, start: int, end: int) -> Iterator[Change]:
    for found in CALL.finditer(code, start, end):
        name, first = found.group(1), found.end()
        last = _closing(code, first, "(", ")")
        arguments = _arguments(code, first, last)
        if name in SWAPPED and name != "staticcall":
            yield "operator", *found.span(1), SWAPPED[name]
        if name in BOUNDARY:
            other = f"iszero({BOUNDARY[name]}({code[first:last]}))"
            yield "boundary", found.start(), last + 1, other
        if name in CONSTANTS:
            yield "constant", found.start(), last + 1, CONSTANTS[name]
        if name in SUCCEEDED:
            yield "constant", found.start(), last + 1, "1"
        if name in SWAPPED and len(arguments) in (1, 2):
            for argument in arguments:
                yield "argument", found.start(), last + 1, argument


def _statements(code: str, start: int, end: int) -> Iterator[Change]:
    for found in STATEMENT.finditer(code, start, end):
        yield "statement", *found.span(1), ""


def _conditions(code: str, start: int, end: int) -> Iterator[Change]:
    for found in re.finditer(r"\bif (.*?) \{", code[start:end]):
        first, last = start + found.start(1), start + found.end(1)
        yield "condition", first, last, f"iszero({code[first:last]})"
        yield "condition", first, last, "0"
        yield "condition", first, last, "1"
