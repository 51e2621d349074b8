"""Pictures of the explorer for the README, of a network with a month of real weather: docs/images/.

Takes them of a network of its own, or of the explorer at an address that is given
(`make screenshots ARGS=http://127.0.0.1:8702/explorer/`). The chain and the keys are new each time,
so pictures differ in their hexadecimal words.
"""

import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright
from support.browser import launching

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
MOST_BYTES = 150_000
MONTH = (5,)
CORE = 10**18
PATIENCE_MS = 120_000
SETTLED_MS = 1_500
"""For tiles of coastline and fonts, after the last seal has filled."""


@dataclass(frozen=True)
class Picture:
    """`click`: what is pressed before the picture is taken."""

    name: str
    place: str
    scheme: str
    width: int
    height: int
    filled: int
    click: str = ""


def pictures(device: str) -> list[Picture]:
    return [
        Picture("explorer-stations", "", "light", 1280, 720, 3),
        Picture("explorer-station", f"station/{device}", "light", 1280, 860, 9),
        Picture("explorer-steps", f"station/{device}", "dark", 1180, 690, 9, ".verdict-line .mark"),
        Picture("explorer-batches", "batches", "light", 1280, 720, 5),
    ]


@contextmanager
def network() -> Iterator[str]:
    """The address of an explorer over a month of weather, an epoch's rewards, and a channel."""
    from corechain.devnet.demo import POOL, Demo
    from corechain.devnet.network import Network
    from corechain.devnet.settings import DEV_KEYS, Ports
    from corechain.devnet.weather import read_rows

    settings = {"RELAYER_MAX_READINGS": "1500", "RELAYER_MAX_AGE_S": "3"}
    with (
        tempfile.TemporaryDirectory() as home,
        Network(home, ports=Ports.free(), settings=settings, progress=print) as running,
    ):
        demo = Demo(running, MONTH)
        with demo._client(DEV_KEYS[0]) as client:
            demo._register(client)
            demo._replay(client, read_rows(MONTH))
            demo._await_verified(client)
            _open_channel(demo)
        demo._command("relayer", "propose-rewards", "--pool", str(POOL))
        yield f"{running.urls.indexer}/explorer/"


def _open_channel(demo: object) -> None:
    from corechain.account import account_from_key
    from corechain.devnet.demo import Demo
    from corechain.devnet.settings import DEV_KEYS, PAYEE_KEY
    from corechain.payments import channel_to
    from corechain.protocol.keys import Secp256k1Key

    assert isinstance(demo, Demo)
    payee = bytes.fromhex(account_from_key(PAYEE_KEY).address[2:])
    contracts = demo.network.deployment
    channel = channel_to(
        payee,
        Secp256k1Key(bytes.fromhex(DEV_KEYS[0][2:])),
        token=contracts.address("CoreToken"),
        chain_id=contracts.chain_id,
        payment_channels=contracts.address("PaymentChannels"),
        withdraw_delay_s=900,
        salt=secrets.token_bytes(32),
        receiver_authorizer=payee,
    )
    with demo._client(DEV_KEYS[0]) as client:
        client.chain.open_channel(account_from_key(DEV_KEYS[0]), channel.config, CORE)


def take(browser: Browser, address: str, picture: Picture) -> Path:
    """Raises SystemExit for a picture that is too large for the repository."""
    size = {"width": picture.width, "height": picture.height}
    page = browser.new_page(viewport=size, color_scheme=picture.scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"{address}#/{picture.place}")
    _filled(page, picture.filled)
    if picture.click:
        page.locator(picture.click).click()
        page.locator(".judgement-holds").wait_for()
    page.wait_for_timeout(SETTLED_MS)
    file = IMAGES / f"{picture.name}.png"
    page.screenshot(path=file)
    page.close()
    if file.stat().st_size > MOST_BYTES:
        raise SystemExit(f"{file.name} has {file.stat().st_size} bytes, over {MOST_BYTES}")
    return file


def _filled(page: Page, count: int) -> None:
    """By locators: the page's policy lets no script be made of a string."""
    page.locator("main .mark[data-verdict=holds]").nth(count - 1).wait_for()
    expect(page.locator(".mark[data-verdict=running]")).to_have_count(0, timeout=PATIENCE_MS)


def _device(browser: Browser, address: str) -> str:
    page = browser.new_page()
    found: str = page.goto(f"{address}../v1/devices").json()["items"][0]["device"]  # type: ignore[union-attr]
    page.close()
    return found


def main(address: str) -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**launching())
        for picture in pictures(_device(browser, address)):
            print(take(browser, address, picture).relative_to(ROOT))
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with network() as found:
            main(found)
