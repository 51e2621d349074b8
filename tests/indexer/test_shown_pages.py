"""What the query API shows to people: the explorer's files and the page of its own paths.

given a build of the explorer
  ├── its pages come with a policy that lets nothing foreign in, and are checked for changes
  ├── files with a hash in their name are kept for ever, compressed for who takes that
  └── nothing outside the folder is shown, however the path is written
given no build: the page says which command makes one
"""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from support.processes import PATIENCE_S

from corechain.deployment import DeployedContract, Deployment
from corechain_indexer.api import pages
from corechain_indexer.api.schemas import ContractPlace
from corechain_indexer.settings import load_settings
from corechain_indexer.wiring import network_of

SCRIPT = "assets/app-abc123.js"


async def refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return Response(status_code=error.status_code)


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "explorer"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>explorer</title>")
    (folder / SCRIPT).write_text("export {};\n" * 1_000)
    (tmp_path / "secret.txt").write_text("secret")
    monkeypatch.setattr(pages, "EXPLORER", folder)
    return folder


@pytest_asyncio.fixture
async def site(built: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=pages.PAGES, exception_handlers={HTTPException: refused})
    app.router.redirect_slashes = False
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://api", timeout=PATIENCE_S
    ) as client:
        yield client


async def test_the_explorer_lets_nothing_foreign_in_and_is_checked_for_changes(
    site: httpx.AsyncClient, built: Path
) -> None:
    short = await site.get("/explorer")
    assert (short.status_code, short.headers["location"]) == (308, "explorer/")
    page = await site.get("/explorer/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"
    policy = page.headers["content-security-policy"]
    for rule in ("default-src 'none'", "script-src 'self';", "frame-ancestors 'none'"):
        assert rule in policy
    assert "unsafe" not in policy
    held = {"if-none-match": page.headers["etag"]}
    assert (await site.get("/explorer/", headers=held)).status_code == 304
    # Whoever develops it builds under a running server.
    (built / "index.html").write_text("<!doctype html><title>another</title>")
    assert "another" in (await site.get("/explorer/", headers=held)).text


async def test_files_named_by_their_content_are_kept_for_ever(site: httpx.AsyncClient) -> None:
    packed = await site.get(f"/explorer/{SCRIPT}", headers={"accept-encoding": "br, gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < 200
    assert "immutable" in packed.headers["cache-control"]
    assert packed.headers["content-type"].startswith("text/javascript")
    plain = await site.get(f"/explorer/{SCRIPT}", headers={"accept-encoding": "gzip;q=0"})
    assert "content-encoding" not in plain.headers
    assert plain.text == packed.text
    assert "accept-encoding" in plain.headers["vary"].lower()


async def test_nothing_outside_the_folders_is_shown(site: httpx.AsyncClient) -> None:
    for path in (
        "/explorer/../secret.txt", "/explorer/%2e%2e/secret.txt", "/explorer/assets",
        "/explorer/..%2fsecret.txt", "/explorer//etc/passwd", "/explorer/a%00b",
        "/docs/..%2fapp.py", "/explorer/" + "a" * 300, "/docs/" + "a" * 5_000,
        "/docs/none.js", "/explorer/assets/../../secret.txt",
    ):  # fmt: skip
        answer = await site.get(path)
        assert answer.status_code == 404, path
        assert "secret" not in answer.text


async def test_without_a_build_the_page_names_the_command(
    site: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pages, "EXPLORER", tmp_path / "none")
    answer = await site.get("/explorer/")
    assert answer.status_code == 503
    assert answer.headers["cache-control"] == "no-store"
    assert "make explorer" in answer.text
    assert (await site.get("/explorer/assets/app.js")).status_code == 404


async def test_the_api_has_a_page_of_its_own(site: httpx.AsyncClient) -> None:
    page = await site.get("/docs")
    assert "openapi.json" in page.text
    assert "http" not in page.text.replace("<!doctype html>", "")  # nothing from outside
    for name in ("docs.js", "docs.css"):
        assert (await site.get(f"/docs/{name}")).headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("node", [None, "https://node.example"])
def test_an_index_tells_its_contracts_and_the_node_that_browsers_may_ask(
    node: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "RPC_URL": "http://x", "DEPLOYMENT": "x", "DATABASE_URL": "postgresql://x",
        "REDIS_URL": "redis://x", "DATA_URLS": "",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"INDEXER_{name}", value)
    if node is not None:
        monkeypatch.setenv("INDEXER_PUBLIC_RPC_URL", node)
    contract = DeployedContract("DataBatches", b"\x11" * 20, 7)
    told = network_of(load_settings(), Deployment(31337, {"DataBatches": contract}))
    # Its own nodes may have keys in their addresses: they are told to nobody.
    assert (told.chain_id, told.rpc_url) == (31337, node)
    assert told.contracts == {"DataBatches": ContractPlace("0x" + "11" * 20, 7)}
