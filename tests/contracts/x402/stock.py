"""The stock x402 package's three sides (client, server, facilitator) on a chain with our contracts.

Nothing of ours signs, encodes or sends here: all of that is the package's. Its contract addresses
are constants, so our code is put there; what a chain has besides (Multicall3) comes from its own
bytecode.
"""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import uvicorn
from eth_abi.abi import encode
from eth_account import Account
from eth_account.signers.local import LocalAccount
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from support.processes import PATIENCE_S
from support.quick_web3 import quick_web3
from web3 import Web3
from x402 import x402Client, x402FacilitatorSync, x402ResourceServerSync
from x402.http import (
    HTTPFacilitatorClientSync,
    HTTPRequestContext,
    PaymentOption,
    RouteConfig,
    x402HTTPResourceServerSync,
)
from x402.http.clients import x402HttpxClient
from x402.http.utils import decode_payment_response_header
from x402.mechanisms.evm.batch_settlement import (
    BATCH_SETTLEMENT_ADDRESS,
    ERC3009_DEPOSIT_COLLECTOR_ADDRESS,
    PERMIT2_DEPOSIT_COLLECTOR_ADDRESS,
)
from x402.mechanisms.evm.batch_settlement.abi import BATCH_SETTLEMENT_ABI
from x402.mechanisms.evm.batch_settlement.authorizer_signer import LocalAuthorizerSigner
from x402.mechanisms.evm.batch_settlement.client import (
    BatchSettlementEvmScheme,
    BatchSettlementEvmSchemeOptions,
)
from x402.mechanisms.evm.batch_settlement.facilitator import BatchSettlementEvmFacilitator
from x402.mechanisms.evm.batch_settlement.server import (
    BatchSettlementChannelManagerSync,
    ChannelManagerConfigSync,
)
from x402.mechanisms.evm.batch_settlement.server import (
    BatchSettlementEvmScheme as ServerScheme,
)
from x402.mechanisms.evm.batch_settlement.server.scheme import (
    BatchSettlementEvmSchemeServerConfig,
)
from x402.mechanisms.evm.batch_settlement.server.storage import Channel
from x402.mechanisms.evm.constants import MULTICALL3_ADDRESS, PERMIT2_ADDRESS
from x402.mechanisms.evm.signers import EthAccountSignerWithRPC, FacilitatorWeb3Signer
from x402.schemas import AssetAmount, SettleRequest, VerifyRequest

from corechain.deployment import load_abi
from corechain.devnet.process import free_port
from corechain.devnet.programs import package_folder
from corechain.devnet.servers import rpc
from corechain.devnet.settings import ADMIN_KEY

CHAIN_ID = 31337
NETWORK = f"eip155:{CHAIN_ID}"
PRICE = 1_000
DEPOSIT = 10 * PRICE
"""The package's server asks for ten prices at once."""
WORD = 32
START_LIMIT_S = PATIENCE_S


def key_of(role: str) -> LocalAccount:
    account: LocalAccount = Account.from_key(Web3.keccak(text=f"stock {role}"))
    return account


def creation_code(url: str, entry: dict[str, Any]) -> bytes:
    """What the CREATE2 proxy was sent after the salt: init code with constructor arguments."""
    sent = rpc(url, "eth_getTransactionByHash", entry["tx"])["input"]
    return bytes.fromhex(sent[2:])[WORD:]


def install(url: str, address: str, code: bytes) -> None:
    """Runs a constructor at an address of our choice, and leaves there what it returns.

    So the code sees its own address as it would after a true deployment. Storage that the
    constructor writes stays, for it is run by a transaction too.
    """
    rpc(url, "anvil_setCode", address, "0x" + code.hex())
    sender = Account.from_key(ADMIN_KEY).address
    call = {"from": sender, "to": address, "gas": hex(10_000_000)}
    runtime = rpc(url, "eth_call", call, "latest")
    rpc(url, "eth_sendTransaction", call)
    rpc(url, "anvil_setCode", address, runtime)


def multicall3_code() -> str:
    """The true bytecode, as eth-ape ships it; read, for importing Ape would take seconds."""
    source = package_folder("ape_ethereum").joinpath("multicall", "constants.py").read_text()
    (literal,) = re.findall(r"MULTICALL3_CODE = HexBytes\((.*?)\)", source, re.DOTALL)
    return "".join(re.findall(r'"([0-9a-fx]+)"', literal))


def install_all(url: str, manifest: Path) -> str:
    """Our contracts where the package looks for them; the address of the token."""
    entries = json.loads(manifest.read_text())["contracts"]
    install(url, BATCH_SETTLEMENT_ADDRESS, creation_code(url, entries["PaymentChannels"]))
    # The collector's only argument is the contract that may call it.
    code = creation_code(url, entries["Erc3009Collector"])[:-WORD]
    argument = bytes(12) + bytes.fromhex(BATCH_SETTLEMENT_ADDRESS[2:])
    install(url, ERC3009_DEPOSIT_COLLECTOR_ADDRESS, code + argument)
    rpc(url, "anvil_setCode", MULTICALL3_ADDRESS, multicall3_code())
    return str(entries["CoreToken"]["address"])


def install_permit2(url: str, artefacts: Path) -> None:
    """Our collector, and a contract that does what Permit2 does, where the package looks."""

    def code(name: str) -> bytes:
        (found,) = artefacts.glob(f"*/{name}.json")
        return bytes.fromhex(json.loads(found.read_text())["bytecode"]["object"][2:])

    install(url, PERMIT2_ADDRESS, code("MockPermit2"))
    arguments = encode(["address", "address"], [BATCH_SETTLEMENT_ADDRESS, PERMIT2_ADDRESS])
    install(url, PERMIT2_DEPOSIT_COLLECTOR_ADDRESS, code("Permit2Collector") + arguments)


class _Request:
    """The package's HTTPAdapter over Starlette, which it ships for FastAPI and Flask only."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def get_header(self, name: str) -> str | None:
        return self._request.headers.get(name)

    def get_method(self) -> str:
        return self._request.method

    def get_path(self) -> str:
        return self._request.url.path

    def get_url(self) -> str:
        return str(self._request.url)

    def get_accept_header(self) -> str:
        return self._request.headers.get("accept", "")

    def get_user_agent(self) -> str:
        return self._request.headers.get("user-agent", "")


@contextmanager
def served(app: Starlette, port: int) -> Iterator[None]:
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", ws="none")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + START_LIMIT_S
    while not server.started:
        assert thread.is_alive(), "the server has ended"
        assert time.monotonic() < deadline, "the server does not start"
        time.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(START_LIMIT_S)


@dataclass
class Stock:
    """Everything that a payment takes, each side with a key of its own."""

    url: str
    token: str
    port: int = field(default_factory=free_port)
    manages_itself: bool = True
    """The server signs claims and refunds; otherwise the facilitator does, as x402 allows."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What the server says about the token beside its name."""
    extensions: dict[str, Any] = field(default_factory=dict)

    @property
    def site(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def weather(self) -> str:
        return f"{self.site}/weather"

    @cached_property
    def web3(self) -> Web3:
        return quick_web3(self.url)

    @cached_property
    def channels(self) -> Any:
        """Our contract seen through the package's ABI."""
        return self.web3.eth.contract(BATCH_SETTLEMENT_ADDRESS, abi=BATCH_SETTLEMENT_ABI)

    @cached_property
    def ours(self) -> Any:
        """The same contract through our ABI, which has all events."""
        return self.web3.eth.contract(BATCH_SETTLEMENT_ADDRESS, abi=load_abi("PaymentChannels"))

    @cached_property
    def core(self) -> Any:
        return self.web3.eth.contract(self.token, abi=load_abi("CoreToken"))

    payer = property(lambda self: key_of("payer"))
    receiver = property(lambda self: key_of("receiver"))
    authorizer = property(lambda self: key_of("authorizer"))

    def fund(self) -> None:
        """Tokens for the payer, who has no ether; ether for the facilitator, who has no tokens."""
        admin = Account.from_key(ADMIN_KEY).address
        sent = self.core.functions.transfer(self.payer.address, 100 * DEPOSIT)
        self.web3.eth.wait_for_transaction_receipt(sent.transact({"from": admin}))
        rpc(self.url, "anvil_setBalance", key_of("facilitator").address, hex(10**20))

    def balance(self, account: str) -> int:
        return int(self.core.functions.balanceOf(account).call())

    def events(self, transaction: str, *names: str) -> list[dict[str, Any]]:
        """What our contract logged in a transaction, in order, as (name and) arguments."""
        receipt = self.web3.eth.get_transaction_receipt(transaction)
        assert receipt["status"] == 1
        found = []
        for log in receipt["logs"]:
            if log["address"] != BATCH_SETTLEMENT_ADDRESS:
                continue
            for name in names:
                event = getattr(self.ours.events, name)()
                if log["topics"][0] == Web3.keccak(text=event.signature):
                    found.append({"event": name, **event.process_log(log)["args"]})
        return found

    # The facilitator: sends transactions, holds no money.

    @cached_property
    def facilitator(self) -> x402FacilitatorSync:
        secret = "0x" + bytes(key_of("facilitator").key).hex()
        signs = None if self.manages_itself else LocalAuthorizerSigner(self.authorizer)
        scheme = BatchSettlementEvmFacilitator(FacilitatorWeb3Signer(secret, self.url), signs)
        made = x402FacilitatorSync()
        made.register([NETWORK], scheme)
        return made

    def _supported(self, request: Request) -> Response:
        return JSONResponse(self.facilitator.get_supported().model_dump(by_alias=True))

    async def _verify(self, request: Request) -> Response:
        asked = VerifyRequest.model_validate(await request.json())
        found = self.facilitator.verify(asked.payment_payload, asked.payment_requirements)
        return JSONResponse(found.model_dump(by_alias=True, exclude_none=True))

    async def _settle(self, request: Request) -> Response:
        asked = SettleRequest.model_validate(await request.json())
        done = self.facilitator.settle(asked.payment_payload, asked.payment_requirements)
        return JSONResponse(done.model_dump(by_alias=True, exclude_none=True))

    # The server: sells the weather.

    @cached_property
    def facilitator_client(self) -> HTTPFacilitatorClientSync:
        return HTTPFacilitatorClientSync({"url": f"{self.site}/facilitator"})

    @cached_property
    def scheme(self) -> ServerScheme:
        signs = LocalAuthorizerSigner(self.authorizer) if self.manages_itself else None
        config = BatchSettlementEvmSchemeServerConfig(receiver_authorizer_signer=signs)
        return ServerScheme(self.receiver.address, config)

    @cached_property
    def shop(self) -> x402HTTPResourceServerSync:
        server = x402ResourceServerSync(self.facilitator_client)
        server.register(NETWORK, self.scheme)
        extra = {"name": "CoreChain", "version": "1"} | self.extra
        option = PaymentOption(
            scheme="batch-settlement",
            pay_to=self.receiver.address,
            price=AssetAmount(amount=str(PRICE), asset=self.token, extra=extra),
            network=NETWORK,
            max_timeout_seconds=300,
        )
        route = RouteConfig(accepts=option, extensions=self.extensions)
        return x402HTTPResourceServerSync(server, {"GET /weather": route})

    @cached_property
    def manager(self) -> BatchSettlementChannelManagerSync:
        """Claims, settles and refunds for the server."""
        return BatchSettlementChannelManagerSync(
            ChannelManagerConfigSync(
                self.scheme, self.facilitator_client, self.receiver.address, self.token, NETWORK
            )
        )

    def _sell(self, request: Request) -> Response:
        """What the package's Flask and FastAPI middlewares do, in their order."""
        context = HTTPRequestContext(
            adapter=_Request(request),
            path=request.url.path,
            method=request.method,
            payment_header=request.headers.get("payment-signature"),
        )
        result = self.shop.process_http_request(context)
        if result.response is not None:
            said = result.response
            return JSONResponse(said.body or {}, said.status, headers=said.headers)
        assert result.type == "payment-verified"
        settled = self.shop.process_settlement(
            result.payment_payload, result.payment_requirements, context=context
        )
        if settled.response is not None:
            said = settled.response
            return JSONResponse(said.body or {}, said.status, headers=said.headers)
        return JSONResponse({"rain_mm": 7}, headers=settled.headers)

    @contextmanager
    def open(self) -> Iterator["Stock"]:
        app = Starlette(
            routes=[
                Route("/facilitator/supported", self._supported),
                Route("/facilitator/verify", self._verify, methods=["POST"]),
                Route("/facilitator/settle", self._settle, methods=["POST"]),
                Route("/weather", self._sell),
            ]
        )
        with served(app, self.port), self.facilitator_client:
            self.shop.initialize()
            yield self

    # The client: has tokens, and a key.

    def client_scheme(self, **options: Any) -> BatchSettlementEvmScheme:
        signer = EthAccountSignerWithRPC(self.payer, self.url)
        return BatchSettlementEvmScheme(signer, BatchSettlementEvmSchemeOptions(**options))

    def client(self, scheme: BatchSettlementEvmScheme) -> x402Client:
        """A client that pays in our token, which is none of those the package knows."""
        return x402Client().register(NETWORK, scheme).set_spend_controls({"allowed_assets": True})

    def buyer(self, scheme: BatchSettlementEvmScheme) -> x402HttpxClient:
        """An httpx client that pays whenever it is asked to."""
        return x402HttpxClient(self.client(scheme))


async def buy(stock: Stock, scheme: Any, times: int = 1) -> list[Any]:
    """Buys pages, and returns the receipts."""
    receipts = []
    async with stock.buyer(scheme) as buyer:
        for _ in range(times):
            answer = await buyer.get(stock.weather)
            assert answer.status_code == 200, answer.headers
            assert answer.json() == {"rain_mm": 7}
            receipts.append(decode_payment_response_header(answer.headers["PAYMENT-RESPONSE"]))
    return receipts


def only_channel(stock: Stock) -> Channel:
    (channel,) = stock.scheme.get_storage().list()
    return channel


def state(stock: Stock) -> tuple[int, int]:
    """Deposit and claimed amount of the only channel, as the contract has it."""
    channel_id = only_channel(stock).channel_id
    balance, claimed = stock.channels.functions.channels(channel_id).call()
    return balance, claimed


def held(stock: Stock) -> tuple[int, int, int]:
    """Tokens of payer, contract and receiver."""
    accounts = (stock.payer.address, BATCH_SETTLEMENT_ADDRESS, stock.receiver.address)
    return tuple(stock.balance(account) for account in accounts)  # type: ignore[return-value]


def _impersonated(stock: Stock, account: str) -> dict[str, Any]:
    """A sender that the node signs for."""
    rpc(stock.url, "anvil_impersonateAccount", account)
    rpc(stock.url, "anvil_setBalance", account, hex(10**20))
    return {"from": account}


def send(stock: Stock, bound: Any, sender: str) -> str:
    """A transaction that the package has no code for."""
    hash_ = bound.transact(_impersonated(stock, sender))
    return str(stock.web3.eth.wait_for_transaction_receipt(hash_)["transactionHash"].to_0x_hex())
