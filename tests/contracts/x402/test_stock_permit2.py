"""The stock x402 client deposits by Permit2, as it does for tokens that know no EIP-3009.

The collector is ours, at the package's address. Permit2 itself is a mock by its published types;
what the client signs is checked against them by the package's facilitator too.
"""

from collections.abc import Iterator
from pathlib import Path
from subprocess import run

import pytest
from stock import DEPOSIT, PRICE, Stock, buy, held, install_permit2, send, state
from x402.extensions.eip2612_gas_sponsoring import declare_eip2612_gas_sponsoring_extension
from x402.mechanisms.evm.constants import PERMIT2_ADDRESS

ROOT = Path(__file__).resolve().parents[3]
SOURCES = ("contracts/collectors/Permit2Collector.sol", "contracts/mocks/Permit2.sol")


@pytest.fixture(scope="session")
def artefacts(server_home: Path) -> Path:
    out = server_home / "permit2"
    places = ["--out", out, "--cache-path", server_home / "permit2-cache"]
    run(["forge", "build", "--quiet", *places, *SOURCES], cwd=ROOT, check=True, timeout=120)
    return out


def stock_of(anvil: str, token: str, artefacts: Path, **changes: object) -> Stock:
    install_permit2(anvil, artefacts)
    made = Stock(anvil, token, extra={"assetTransferMethod": "permit2"}, **changes)  # type: ignore[arg-type]
    made.fund()
    return made


@pytest.fixture
def approved(anvil: str, token: str, artefacts: Path) -> Iterator[Stock]:
    """Once per token a payer approves Permit2; deposits are signatures from then on."""
    made = stock_of(anvil, token, artefacts)
    send(made, made.core.functions.approve(PERMIT2_ADDRESS, 2**256 - 1), made.payer.address)
    with made.open():
        yield made


@pytest.fixture
def sponsored(anvil: str, token: str, artefacts: Path) -> Iterator[Stock]:
    """The server takes a permit in place of the approval."""
    extensions = declare_eip2612_gas_sponsoring_extension()
    with stock_of(anvil, token, artefacts, extensions=extensions).open() as made:
        yield made


async def test_permit2_opens_tops_up_pays_and_is_refunded(approved: Stock) -> None:
    before, _, _ = held(approved)
    scheme = approved.client_scheme()
    receipts = await buy(approved, scheme, times=11)
    opened = approved.events(receipts[0].transaction, "ChannelCreated", "Deposited")
    assert [event["event"] for event in opened] == ["ChannelCreated", "Deposited"]
    assert state(approved) == (2 * DEPOSIT, 0)
    scheme.refund(approved.weather)
    approved.manager.settle()
    assert held(approved) == (before - 11 * PRICE, 0, 11 * PRICE)


async def test_a_permit_saves_the_payer_the_approval(sponsored: Stock) -> None:
    await buy(sponsored, sponsored.client_scheme(), times=2)
    assert sponsored.web3.eth.get_transaction_count(sponsored.payer.address) == 0
    sponsored.manager.claim_and_settle()
    assert held(sponsored)[1:] == (DEPOSIT - 2 * PRICE, 2 * PRICE)
