"""What `make docs` adds to docs/ when mkdocs makes a site of it (mkdocs.yml names this as a hook).

The start page is the README; the pages of the packages come in beside it. References are made from
what they describe: docstrings, and the document in which the query API describes itself. Links to
files that are no pages become their names: the site has no copy of the sources.
"""

import ast
import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = {
    "README.md": "index.md",
    "contracts/README.md": "packages/contracts.md",
    "sdk/README.md": "packages/sdk.md",
    "relayer/README.md": "packages/relayer.md",
    "indexer/README.md": "packages/indexer.md",
    "native/README.md": "packages/native.md",
    "bench/README.md": "packages/bench.md",
    "deploy/README.md": "packages/deploy.md",
    "examples/README.md": "packages/examples.md",
    "tests/README.md": "packages/tests.md",
    "web/verify/README.md": "packages/verify.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages that lie elsewhere in the repository, and where the site has them."""
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)")
FENCE = re.compile(r"^(```|~~~)")
PYTHON = """# Python

What `from corechain import …` gives. Errors that a call may raise are in its description.

"""
METHODS = ("get", "post", "put", "delete", "patch")


def source_of(page: str) -> str:
    """Where a page of the site lies in the repository."""
    found = {there: here for here, there in OUTSIDE.items()}
    return found.get(page, f"docs/{page}")


def page_of(source: str) -> str | None:
    """Where the site has a file of the repository; None for what is no page."""
    if source in OUTSIDE:
        return OUTSIDE[source]
    is_page = source.startswith("docs/") and (ROOT / source).is_file()
    return source.removeprefix("docs/") if is_page else None


def relinked(markdown: str, page: str) -> str:
    """The text of a page with its links as the site has them; code stays as it is."""
    return "\n".join(_lines(markdown.split("\n"), page))


def _lines(lines: list[str], page: str) -> Iterator[str]:
    in_code = False
    for line in lines:
        in_code ^= bool(FENCE.match(line))
        yield line if in_code else LINK.sub(lambda found: _link(found, page), line)


def _link(found: "re.Match[str]", page: str) -> str:
    text, target, anchor = found[1], found[2], found[3] or ""
    if not target or "://" in target or target.startswith("mailto:"):
        return found[0]
    source = posixpath.normpath(posixpath.join(posixpath.dirname(source_of(page)), target))
    there = page_of(source)
    if there is None:
        return text if text.startswith("`") else f"{text} (`{source}`)"
    return f"[{text}]({posixpath.relpath(there, posixpath.dirname(page) or '.')}{anchor})"


def python_reference() -> str:
    """One entry for each public name of the SDK, read without importing it: its packages are not in
    the environment of mkdocs."""
    tree = ast.parse((ROOT / "sdk" / "src" / "corechain" / "__init__.py").read_text())
    (names,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
    ]
    return PYTHON + "\n\n".join(f"::: corechain.{name}" for name in names) + "\n"


def http_reference(document: Mapping[str, Any]) -> str:
    """One section for each path of an OpenAPI document."""
    parts = [f"# HTTP\n\n{document['info'].get('description', '')}"]
    for path, item in document["paths"].items():
        parts += [
            _operation(method, path, item[method], item) for method in METHODS if method in item
        ]
    return "\n\n".join(parts) + "\n"


def _operation(
    method: str, path: str, operation: Mapping[str, Any], item: Mapping[str, Any]
) -> str:
    told = [f"## `{method.upper()} {path}`", operation.get("summary", "")]
    told.append(operation.get("description", ""))
    parameters = [*item.get("parameters", []), *operation.get("parameters", [])]
    rows = [_parameter(one) for one in parameters if "name" in one]
    if rows:
        told.append("| parameter | in | |\n|---|---|---|\n" + "\n".join(rows))
    answers = operation.get("responses", {})
    told.append(
        "\n".join(f"* {code}: {_flat(one.get('description'))}" for code, one in answers.items())
    )
    return "\n\n".join(part for part in told if part)


def _parameter(one: Mapping[str, Any]) -> str:
    needed = " (needed)" if one.get("required") else ""
    return f"| `{one['name']}`{needed} | {one['in']} | {_flat(one.get('description'))} |"


def _flat(text: object) -> str:
    return " ".join(str(text or "").split()).replace("|", "\\|")


def _served() -> dict[str, Any]:
    """What the query API says of itself: `make docs` writes it first."""
    found: dict[str, Any] = json.loads((ROOT / "web" / "verify" / "openapi.json").read_text())
    return found


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """mkdocs' hook: adds the pages that are not in docs/."""
    from mkdocs.structure.files import File

    made = {there: (ROOT / here).read_text() for here, there in OUTSIDE.items()}
    made |= {
        "reference/python.md": python_reference(),
        "reference/http.md": http_reference(_served()),
    }
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """mkdocs' hook: each page before it becomes HTML."""
    return relinked(markdown, page.file.src_uri)
