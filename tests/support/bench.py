"""A chain to measure on: contracts from forge's artefacts, transactions, receipts.

Everything is fixed (keys, salts, times), so the same code costs the same gas on every machine.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from eth_account import Account
from web3 import Web3
from web3.contract import Contract
from web3.types import TxReceipt

from corechain.devnet.servers import AnvilServer, rpc
from corechain.protocol.keys import Secp256k1Key
from support.chain import AnvilClock
from support.processes import PATIENCE_S
from support.quick_web3 import quick_web3

ROOT = Path(__file__).resolve().parents[2]
START = 2_000_000_000
"""The chain's first second: a constant, for a zero byte in calldata has another price."""
GAS_LIMIT = 16_000_000


@dataclass(frozen=True)
class Actor:
    """An account whose key signs off chain what anvil does not sign for it."""

    address: str
    key: Secp256k1Key

    @property
    def raw(self) -> bytes:
        return bytes.fromhex(self.address[2:])


@cache
def actor(name: str) -> Actor:
    """The same key for the same role, always."""
    secret = bytes(Web3.keccak(text=f"gas {name}"))
    return Actor(str(Account.from_key(secret).address), Secp256k1Key(secret))


@cache
def artefact(name: str) -> dict[str, Any]:
    (path,) = (ROOT / "out").glob(f"*.sol/{name}.json")
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def code_size(name: str) -> int:
    """Bytes of deployed code (EIP-170 allows 24,576)."""
    return len(artefact(name)["deployedBytecode"]["object"]) // 2 - 1


@dataclass
class Bench:
    """One anvil. Every transaction must succeed; its receipt is the measurement."""

    url: str
    web3: Web3 = field(init=False)
    _deployed: dict[str, Contract] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.web3 = quick_web3(self.url)
        rpc(self.url, "evm_setNextBlockTimestamp", START)
        rpc(self.url, "evm_mine")

    @cached_property
    def chain_id(self) -> int:
        return int(self.web3.eth.chain_id)

    def account(self, name: str) -> Actor:
        """With ether, and impersonated: the node takes its transactions unsigned."""
        found = actor(name)
        rpc(self.url, "anvil_impersonateAccount", found.address)
        rpc(self.url, "anvil_setBalance", found.address, hex(10**24))
        return found

    def deploy(self, name: str, *arguments: object, label: str | None = None) -> Contract:
        """A new instance the first time, the same one later."""
        key = label or name
        if key not in self._deployed:
            self._deployed[key] = self._deploy(name, arguments)
        return self._deployed[key]

    def _deploy(self, name: str, arguments: tuple[object, ...]) -> Contract:
        code = artefact(name)["bytecode"]["object"]
        factory = self.web3.eth.contract(abi=artefact(name)["abi"], bytecode=code)
        sender = self.account("deployer").address
        hash_ = factory.constructor(*arguments).transact({"from": sender, "gas": GAS_LIMIT})
        address = self._receipt(hash_)["contractAddress"]
        return self.web3.eth.contract(address=address, abi=artefact(name)["abi"])

    def send(self, sender: Actor, bound: Any) -> int:
        """Gas used by a contract call, as `contract.functions.f(…)` describes it."""
        self.account_ready(sender)
        hash_ = bound.transact({"from": sender.address, "gas": GAS_LIMIT, "gasPrice": 10**9})
        return int(self._receipt(hash_)["gasUsed"])

    def send_raw(self, sender: Actor, to: str, data: bytes) -> int:
        """Gas used by a transaction with calldata of our own making."""
        self.account_ready(sender)
        transaction: Any = {
            "from": sender.address, "to": to, "data": "0x" + data.hex(),
            "gas": hex(GAS_LIMIT), "gasPrice": hex(10**9),
        }  # fmt: skip
        hash_ = rpc(self.url, "eth_sendTransaction", transaction)
        return int(self._receipt(hash_)["gasUsed"])

    def account_ready(self, sender: Actor) -> None:
        if int(rpc(self.url, "eth_getBalance", sender.address, "latest"), 16) < 10**20:
            rpc(self.url, "anvil_impersonateAccount", sender.address)
            rpc(self.url, "anvil_setBalance", sender.address, hex(10**24))

    def pass_time(self, seconds: int) -> None:
        rpc(self.url, "evm_increaseTime", seconds)
        rpc(self.url, "evm_mine")

    @property
    def now(self) -> int:
        return AnvilClock(self.url).now

    def next_at(self, second: int) -> None:
        """The next transaction is of this second."""
        rpc(self.url, "evm_setNextBlockTimestamp", second)

    def mine_at(self, second: int) -> None:
        self.next_at(second)
        rpc(self.url, "evm_mine")

    def _receipt(self, hash_: Any) -> TxReceipt:
        receipt = self.web3.eth.wait_for_transaction_receipt(
            hash_, timeout=PATIENCE_S, poll_latency=0.005
        )
        if receipt["status"] != 1:
            raise AssertionError(f"a measured transaction reverted: {self._why(receipt)}")
        return receipt

    def _why(self, receipt: TxReceipt) -> str:
        transaction = self.web3.eth.get_transaction(receipt["transactionHash"])
        call: Any = {name: transaction[name] for name in ("from", "to", "value", "input")}
        try:
            self.web3.eth.call({**call, "data": call.pop("input")}, receipt["blockNumber"] - 1)
        except Exception as error:
            return repr(error)
        return "it does not when called again"


@contextmanager
def fresh_bench(directory: Path) -> Iterator[Bench]:
    with AnvilServer(directory) as server:
        yield Bench(server.url)


Measured = Mapping[str, int]
Scenario = Callable[[Bench], Measured]
