"""The explorer in a real browser, over an index and a node. `make test` runs it where Chromium is.

given verified batches
  ├── every value is checked against the user's node, by itself, and shows the steps
  ├── all of it works by keyboard, in the dark, and holds to the rules of accessibility (axe)
  ├── a new batch appears without a reload
  └── nothing is asked of anybody but the index and the node
given an API that changes one value: the page says so, and shows both
given an API that leaves out a field, is somebody else, or is no address: the page says so
given an API, then a node, that is away and comes back, and a chain that is reorganised
  └── everything is right again by itself, and nothing has to be pressed
"""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest_asyncio
from playwright.async_api import Page, Route, async_playwright, expect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from support.browser import launching
from support.processes import PATIENCE_S

from corechain.service.http_server import bind, http_server
from corechain.service.supervision import Loops, sessions
from corechain_indexer.api.pages import EXPLORER
from indexer.support import Driven, World, device_of, driven, settings_of

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / "web" / "explorer" / "node_modules" / "axe-core" / "axe.min.js"
MOST_BYTES = 300_000
DARK_PAPER = "rgb(15, 21, 24)"
expect.set_options(timeout=PATIENCE_S * 1000)


@dataclass
class Lying:
    """An API that changes what it says of a path: `old` becomes `new`, once an answer.
    `told` counts how often it has."""

    app: ASGIApp
    path: str = ""
    old: bytes = b""
    new: bytes = b""
    told: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.path or scope["path"] != self.path:
            await self.app(scope, receive, send)
            return
        plain = [item for item in scope["headers"] if item[0] != b"accept-encoding"]

        async def changed(message: Message) -> None:
            if message["type"] == "http.response.body":
                # Of one length: the answer's has been sent.
                assert len(self.old) == len(self.new)
                self.told += self.old in message["body"]
                message = message | {"body": message["body"].replace(self.old, self.new, 1)}
            await send(message)

        await self.app(scope | {"headers": plain}, receive, changed)


@dataclass
class Site:
    """The explorer's address, what its API lies about, and where the page's requests went."""

    url: str
    lie: Lying
    node: str
    hosts: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("request", lambda asked: self.hosts.add(urlsplit(asked.url).netloc))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self._said(said.type, said.text))

    def _said(self, kind: str, text: str) -> None:
        # An owner without rewards, yet: a 404 is an answer, and Chromium writes each one down.
        if kind == "error" and "404" not in text:
            self.errors.append(text)


@pytest_asyncio.fixture
async def shown(world: World, database: str, bus_url: str) -> AsyncIterator[Driven]:
    settings = settings_of(world, database, bus_url, public_rpc_url=world.chain.rpc_url)
    async with driven(settings, world) as running:
        world.open_state_channel("0x" + "0b" * 20)
        for _ in range(3):
            world.add(hours=4)
        await running.settle()
        yield running


@asynccontextmanager
async def site_of(indexer: Driven) -> AsyncIterator[Site]:
    api = indexer.indexer.api()
    lie = Lying(api.app(queries=True))
    loops = Loops()
    with bind("X_", "127.0.0.1", 0) as listener:
        server = http_server(lie, 200, 75, streams=api.stream)
        tasks = [asyncio.create_task(server.serve(sockets=[listener]))]
        await server.until_started()
        listen = sessions("stream", api.stream.listen, lambda: None, loops)
        tasks.append(asyncio.create_task(listen))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            yield Site(f"{address}/explorer/", lie, indexer.indexer.settings.node_urls[0])
        finally:
            server.should_exit = True
            await tasks[0]
            tasks[1].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def page_of(site: Site) -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(**launching())
        page = await browser.new_page(color_scheme="light")
        page.set_default_timeout(PATIENCE_S * 1000)
        site.watch(page)
        try:
            yield page
        finally:
            await browser.close()


async def accessible(page: Page) -> None:
    """By the rules of WCAG 2.2, level AA, as far as a program can judge."""
    # What is being loaded has no contrast to measure.
    await expect(page.locator("[aria-busy=true]")).to_have_count(0)
    rules = "{runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice']}"
    found: dict[str, Any] = await page.evaluate(f"{AXE.read_text()}; axe.run({rules})")
    wrong = [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found["violations"]]
    assert not wrong, json.dumps(wrong, indent=1)


def held(page: Page, inside: str = "main") -> Any:
    return page.locator(f"{inside} .mark[data-verdict=holds]")


async def test_every_value_is_checked_in_the_browser_by_keyboard_and_in_the_dark(
    world: World, shown: Driven
) -> None:
    async with site_of(shown) as site, page_of(site) as page:
        await page.goto(site.url)
        await expect(held(page)).to_have_count(2)  # both stations, before anybody has pressed
        await expect(page.locator(".cell-label")).not_to_have_count(0)
        await accessible(page)

        await _opens_the_steps_by_keyboard(page)
        await _hears_of_a_new_batch(world, shown, page)

        await page.locator("tbody a").first.click()
        await expect(held(page, ".verdict-line")).to_have_count(1)
        await expect(held(page, ".metrics")).to_have_count(2)
        await _reads_the_chart_by_keyboard(page)
        await page.emulate_media(color_scheme="dark")
        paper = page.locator("body")
        await expect(paper).to_have_css("background-color", DARK_PAPER)
        await accessible(page)
        await page.locator(".theme").click()  # light, whatever the system says
        await expect(paper).not_to_have_css("background-color", DARK_PAPER)

        await page.get_by_role("link", name="Batches").click()
        await expect(held(page)).to_have_count(4)
        await page.locator("tbody a").first.click()
        await expect(page.locator("#rejected + table tbody tr")).to_have_count(2)  # the hurricanes
        await expect(page.get_by_text("Your node has no dispute")).to_be_visible()
        for name in ("Rewards", "Channels"):
            await page.get_by_role("link", name=name).click()
            await expect(page.locator(".state strong")).to_be_visible()
            await accessible(page)
        await expect(held(page)).to_have_count(1)  # the state channel, as the contract has it
        await page.locator(".node-chip").click()
        await expect(page.get_by_label("JSON-RPC address")).to_have_value(site.node)
        await accessible(page)
        assert site.hosts == {urlsplit(site.url).netloc, urlsplit(site.node).netloc}
        assert not site.errors


async def _opens_the_steps_by_keyboard(page: Page) -> None:
    await page.locator("body").press("Tab")
    await expect(page.locator(".skip")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#main")).to_be_focused()
    for _ in range(40):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.classList.contains('mark')"):
            break
    await page.keyboard.press("Enter")
    panel = page.get_by_role("dialog")
    await expect(panel.get_by_role("heading")).to_be_focused()
    await expect(panel).to_contain_text("This holds")
    await expect(panel).to_contain_text("your node's word")
    await accessible(page)
    await page.keyboard.press("Escape")
    await expect(panel).to_have_count(0)
    await expect(page.locator(".mark:focus")).to_have_count(1)


async def _hears_of_a_new_batch(world: World, shown: Driven, page: Page) -> None:
    await expect(page.locator(".live-live")).to_be_visible()
    world.add(hours=4)
    await shown.settle()
    await expect(page.locator(".ticker")).to_contain_text("Batch 4 verified: 16 readings")
    await expect(page.locator(".counts")).to_contain_text("64 readings")


async def _reads_the_chart_by_keyboard(page: Page) -> None:
    chart = page.get_by_role("slider")
    before = await chart.get_attribute("aria-valuetext")
    assert before
    await chart.press("ArrowLeft")
    # The page draws after it has heard, and a busy machine lets it wait.
    await expect(chart).not_to_have_attribute("aria-valuetext", before)
    await page.get_by_text("The chart as a table").click()
    await expect(page.locator(".as-table tbody tr")).not_to_have_count(0)


async def test_an_api_that_changes_a_value_is_caught_and_shown(world: World, shown: Driven) -> None:
    async with site_of(shown) as site, page_of(site) as page:
        # 0.33 °C, said to be 0.43.
        site.lie.path, site.lie.old, site.lie.new = "/v1/stations", b'"value":33', b'"value":43'
        await page.goto(site.url)
        alarm = page.locator(".alarm-bar")
        await expect(alarm).to_contain_text("Do not rely on this API")
        await page.locator(".mark[data-verdict=fails]").first.click()
        panel = page.get_by_role("dialog")
        await expect(panel).to_contain_text("This is not what the chain says")
        await expect(panel.locator(".broken")).to_have_count(1)
        await expect(panel.locator(".differs")).to_contain_text("33")
        await expect(panel.locator(".differs")).to_contain_text("43")
        await accessible(page)
        await page.keyboard.press("Escape")

        site.lie.path, site.lie.old, site.lie.new = "/v1/series", b'"max":3', b'"max":4'
        await page.goto(f"{site.url}#/station/{device_of(world)}")
        await page.locator(".verdict-line .mark[data-verdict=fails]").click()
        await expect(page.get_by_role("dialog")).to_contain_text("is what its readings make")
        assert site.lie.told

        # What cannot be shown, or is of somebody else, is said, and takes nothing away.
        site.lie.path, site.lie.old, site.lie.new = "/v1/batches", b'"items":', b'"itemz":'
        await page.goto(f"{site.url}#/batches")
        failed = page.locator("main .state-failed")
        await expect(failed).to_contain_text("not of the form that it documents")
        site.lie.path, site.lie.old, site.lie.new = "/v1/epochs", b"{", b"<"
        await page.get_by_role("link", name="Rewards").click()
        await expect(failed).to_contain_text("is no answer of an API")
        await expect(page.locator(".counts")).to_contain_text("readings")
        await page.goto(f"{site.url}?api=ftp://elsewhere.example")
        await expect(failed).to_contain_text("no address of an API")
        assert not site.errors


async def test_what_was_away_comes_back_by_itself_and_what_was_undone_goes(
    world: World, shown: Driven
) -> None:
    async with site_of(shown) as site, page_of(site) as page:
        await page.route("**/v1/**", _away)
        await page.goto(site.url)
        failed = page.locator(".state-failed")
        await expect(failed).to_contain_text("The API does not answer")
        await expect(failed).to_contain_text("need not be reloaded")
        await accessible(page)
        await page.unroute("**/v1/**")
        await expect(held(page)).to_have_count(2)
        await expect(page.locator(".live-live")).to_be_visible()

        fork = world.fork_here()
        await page.route(f"{site.node}**", _away)
        world.add(hours=4)
        await shown.settle()
        await expect(page.locator(".mark[data-verdict=unknown]")).to_have_count(2)
        await page.unroute(f"{site.node}**")
        await expect(held(page)).to_have_count(2)
        await expect(page.locator(".counts")).to_contain_text("64 readings")

        fork.return_to()
        world.add(hours=2)
        await shown.settle()
        await expect(page.locator(".counts")).to_contain_text("56 readings")
        await expect(held(page)).to_have_count(2)
        await page.get_by_role("link", name="Batches").click()
        await expect(page.locator("tbody th a")).to_have_text(["4", "3", "2", "1"])
        await expect(page.locator("tbody tr").first).to_contain_text("8")
        await expect(held(page)).to_have_count(4)


async def _away(route: Route) -> None:
    await route.abort("connectionrefused")


def test_a_visit_loads_less_than_300_kilobytes() -> None:
    """Everything that the page of all stations loads, packed as the API packs it, with the largest
    tile of coastline that there is."""
    files = [*EXPLORER.glob("*.*"), *(EXPLORER / "assets").iterdir()]
    sizes = [len(gzip.compress(file.read_bytes(), 9)) for file in files]
    land = {file.stem: len(gzip.compress(file.read_bytes(), 9)) for file in EXPLORER.glob("land/*")}
    largest = max(size for name, size in land.items() if name != "world")
    assert sum(sizes) + land["world"] + land["tiles"] + largest < MOST_BYTES
