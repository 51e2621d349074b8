"""What pages tell readers to type, as far as it can be judged without a network.

given each page of the repository
  each `corechain …` names a command, and options that it has; each `make …` a target
  each block of Python compiles, and what it imports or asks a client for is there
  each block of JSON or TOML parses; what Solidity and TypeScript import of ours is there
"""

import ast
import inspect
import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from corechain import AsyncClient, Client
from corechain.cli import app, load_plugins
from corechain.later import Later

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [
    REPOSITORY / "README.md",
    *sorted(REPOSITORY.glob("docs/*.md")),
    *sorted(REPOSITORY.glob("docs/operators/*.md")),
    *sorted(REPOSITORY.glob("*/README.md")),
    *sorted(REPOSITORY.glob("examples/*/README.md")),
    REPOSITORY / "web/verify/README.md",
]
NAMES = [path.relative_to(REPOSITORY).as_posix() for path in PAGES]
SHELLS = ("sh", "bash")
PROGRAM = "corechain"
AWAITS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
EXPORTS = (REPOSITORY / "web/verify/src/index.ts").read_text()


def blocks(page: Path, *languages: str) -> list[str]:
    found = re.findall(r"^( *)```(\w+)\n(.*?)^\1```", page.read_text(), re.M | re.S)
    return [code for _, language, code in found if language in languages]


def commands(page: Path) -> Iterator[list[str]]:
    """Words of each command line in a block of the shell, and of each `program …` in a sentence."""
    for code in blocks(page, *SHELLS):
        lines = code.replace("\\\n", " ").splitlines()
        for line in lines:
            yield from _split(line)
    for span in re.findall(r"(?<!`)`((?:corechain|make) [^`\n]+)`(?!`)", page.read_text()):
        yield from _split(span)


def _split(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    words: list[str] = []
    try:
        tokens = list(lexer)
    except ValueError:  # a quotation that goes over several lines
        return
    for token in [*tokens, ";"]:
        if set(token) <= set("();|&"):
            if words:
                yield words
            words = []
        elif words or not re.match(r"[A-Z_]+=", token):
            words.append(token)


@cache
def whole() -> Any:
    load_plugins()
    return get_command(app)


def wrong(words: Sequence[str]) -> str | None:
    """What `corechain` with these words would refuse to know."""
    found, rest = whole(), list(words)
    while hasattr(found, "commands") and rest:
        word = rest.pop(0)
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", word):
            return None  # an option of the group, or "…": any of them
        if word not in found.commands:
            return f"no command {word!r}"
        found = found.commands[word]
        found = found.loaded() if isinstance(found, Later) else found
    return _wrong_option(found, rest)


def _wrong_option(command: Any, words: Sequence[str]) -> str | None:
    known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    for word in words:
        if word in ("--", "#"):
            return None  # behind it stand another program's words, or a remark
        name = word.strip("[],.").partition("=")[0]
        if re.fullmatch(r"--[a-z][a-z-]*", name) and name not in known | {"--help"}:
            return f"no option {name}"
    return None


def targets() -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(), re.M))


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_of_a_page_are_there_with_their_options(page: Path) -> None:
    made = targets()
    for program, *words in commands(page):
        if Path(program).name == PROGRAM:
            assert wrong(words) is None, f"{wrong(words)}: {PROGRAM} {shlex.join(words)}"
        elif program == "make":
            named = [word for word in words if re.fullmatch("[a-z][a-z0-9-]*", word)]
            assert set(named[:1]) <= made, f"make {shlex.join(words)}"
        elif Path(program).name in ("python", "python3") and words[:1] and words[0].endswith(".py"):
            assert any(REPOSITORY.glob(words[0].lstrip("/"))), f"{program} {words[0]}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_code_of_a_page_is_what_it_says_it_is(page: Path) -> None:
    for code in blocks(page, "python"):
        tree = compile(code, str(page), "exec", ast.PyCF_ONLY_AST | AWAITS, dont_inherit=True)
        for node in ast.walk(tree):
            _check_import(node)
            if "x402" not in code:  # its client is another one
                _check_call(node)
    for code in blocks(page, "json"):
        json.loads(code)
    for code in blocks(page, "toml"):
        tomllib.loads(code)
    for code in blocks(page, "solidity"):
        _check_solidity(code)
    for code in blocks(page, "js", "ts"):
        for names in re.findall(r'import \{([^}]*)\} from "@corechain/verify"', code):
            for name in re.findall(r"\w+", names.replace("type ", "")):
                assert re.search(rf"\b{name}\b", EXPORTS), name


def _check_solidity(code: str) -> None:
    """Where it imports from, what it imports, and the members that it uses of that."""
    imports = re.findall(r'import \{([^}]+)\} from "@corechain/contracts/([^"]+)";', code)
    assert imports, "it names no package"
    body = re.sub(r"(?m)^import .*$", "", code)
    for names, path in imports:
        source = (REPOSITORY / "contracts" / path).read_text()
        for name in re.findall(r"\w+", names):
            assert re.search(rf"\b{name}\b", source), f"{path}: {name}"
            for member in re.findall(rf"\b{name}\.(\w+)", body):
                assert re.search(rf"\b{member}\b", source), f"{path}: {name}.{member}"


def _check_import(node: ast.AST) -> None:
    if isinstance(node, ast.Import):
        for each in node.names:
            import_module(each.name)
    if isinstance(node, ast.ImportFrom):
        assert node.module
        module = import_module(node.module)
        for each in node.names:
            assert hasattr(module, each.name), f"{node.module}.{each.name}"


def _check_call(node: ast.AST) -> None:
    """Of a method of a client: that it is there, and takes what is given by name."""
    match node:
        case ast.Call(ast.Attribute(ast.Name("client"), method), _, keywords):
            found = getattr(Client, method, None) or getattr(AsyncClient, method, None)
            assert found is not None, f"client.{method}"
            taken = inspect.signature(found).parameters
            if not any(each.kind is each.VAR_KEYWORD for each in taken.values()):
                given = {each.arg for each in keywords if each.arg}
                assert given <= taken.keys(), f"client.{method}: {given - taken.keys()}"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("no-such-thing", "no command"),
        ("query no-such-thing", "no command"),
        ("up --no-such-option", "no option"),
        ("demo --profile everything", None),
        ("relayer run --roles gateway", "no option"),
        ("up --profile cluster", None),
        ("query …", None),
    ],
)
def test_a_command_that_is_not_there_is_found(words: str, why: str | None) -> None:
    found = wrong(words.split())
    assert (found is None) if why is None else (found is not None and why in found)
