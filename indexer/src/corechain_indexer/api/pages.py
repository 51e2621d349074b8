"""What the query API shows to people: the explorer at `/explorer/`, its own paths at `/docs`.

Files, and nothing from outside: a page that loads no foreign script, style, font or tile tells
nobody else that it was opened. Its policy (CSP) says so to the browser. A page may ask any node
and any index: checking an answer against a node of one's own choice is what the explorer is for.
"""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from errno import ENAMETOOLONG, ENOENT
from functools import lru_cache
from importlib import resources
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corechain.service.fields import ANY, combined, unless_held, weights
from corechain_indexer.api.media.compression import MIN_BYTES

PACKAGE = Path(str(resources.files("corechain_indexer")))
EXPLORER = PACKAGE / "explorer"
"""Where `make explorer` builds it to; the wheel has it there, too."""
OURS = PACKAGE / "api" / "page_files"
INDEX, HASHED, GZIP = "index.html", "assets", "gzip"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
    "img-src 'self' data:; connect-src 'self' http: https: ws: wss:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FIELDS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "vary": "Accept-Encoding",
}
FOR_EVER = "public, max-age=31536000, immutable"
"""Of files whose name is made from their content."""
CHECKED = "no-cache"
MOST_HELD = 1_024
"""Files in memory; the explorer has some hundred, most of them tiles of coastline."""


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is sent, and compressed where that is worth it."""

    content: bytes
    packed: bytes | None
    tag: str
    media_type: str


@lru_cache(maxsize=MOST_HELD)
def _read(path: Path, _changed: int) -> File:
    """Read again when it has changed: who develops the page builds it under a running server."""
    content = path.read_bytes()
    packed = gzip.compress(content, 9, mtime=0) if len(content) >= MIN_BYTES else None
    if packed is not None and len(packed) >= len(content):
        packed = None
    tag = hashlib.sha256(content).hexdigest()[:32]
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    # Weak: packed or not, it is the same page (RFC 9110, section 8.8.1).
    return File(content, packed, f'W/"{tag}"', kind)


def _file(folder: Path, name: str) -> File | None:
    """None for what is no file of the folder, however the name is written."""
    if "\0" in name:  # no path at all: the system's calls raise
        return None
    path = (folder / name).resolve()
    try:
        if not path.is_relative_to(folder.resolve()) or not path.is_file():
            return None
        return _read(path, path.stat().st_mtime_ns)
    except OSError as error:
        # A name that is too long for any file; one that a build under us has just taken away.
        if error.errno in (ENAMETOOLONG, ENOENT):
            return None
        raise


def _answer(request: Request, file: File, lifetime: str, status: int = 200) -> Response:
    fields = {**FIELDS, "cache-control": lifetime, "etag": file.tag}
    accepted = weights(combined(request.headers, "accept-encoding") or "")
    content = file.content
    if file.packed is not None and accepted.get(GZIP, accepted.get(ANY, 0.0)) > 0:
        content, fields["content-encoding"] = file.packed, GZIP
    response = Response(content, status, fields, media_type=file.media_type)
    return unless_held(request.headers, response) if status == 200 else response


async def explorer(request: Request) -> Response:
    """The explorer's files. Without a build: a page that says how to make one."""
    name = request.path_params["name"] or INDEX
    found = _file(EXPLORER, name)
    if found is not None:
        hashed = name.startswith(f"{HASHED}/")
        return _answer(request, found, FOR_EVER if hashed else CHECKED)
    missing = _file(OURS, "no_explorer.html")
    if name != INDEX or missing is None:
        raise HTTPException(404)
    return _answer(request, missing, "no-store", 503)


async def docs(request: Request) -> Response:
    """A page that shows `/openapi.json`, with a form for each path."""
    found = _file(OURS, request.path_params.get("name", "docs.html"))
    if found is None:
        raise HTTPException(404)
    return _answer(request, found, CHECKED)


def _with_slash(request: Request) -> Response:
    """Relative, so that no name of a host is in it, and a proxy may serve us below a path."""
    return Response(status_code=308, headers={"location": "explorer/"})


PAGES = [
    Route("/explorer", _with_slash),
    Route("/explorer/{name:path}", explorer),
    Route("/docs", docs),
    Route("/docs/{name}", docs),
]
