"""An EVM within the process: contracts from forge's artefacts, a hundred times faster than a node.

What a contract refuses is raised as `Refused`, which the models raise too: so both can be compared.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from eth_abi.abi import decode, encode
from pyrevm import EVM, AccountInfo, BlockEnv, CfgEnv, Env

from corechain.protocol.hashing import keccak
from support.bench import actor, artefact

CHAIN_ID = 31337
START = 2_000_000_000
ENDLESS = 2**256 - 1
_READER = "0x" + bytes(20).hex()
_DEPLOYER = "0x" + actor("deployer").raw.hex()
_REVERT, _OUTPUT = "Revert {", "output: 0x"
_PANIC = keccak(b"Panic(uint256)")[:4]


class Refused(Exception):
    """A call that changes nothing: the custom error's name, and the values that it carries."""

    def __init__(self, name: str, *values: object) -> None:
        super().__init__(name, *values)
        self.name, self.values = name, values


@dataclass(frozen=True, slots=True)
class Event:
    """A log of a contract; the fields that are indexed come first."""

    name: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the ABI says of a function, error or event."""

    name: str
    hash_: bytes
    inputs: list[str]
    indexed: list[str]
    outputs: list[str]


def _type_of(entry: dict[str, Any]) -> str:
    if not entry["type"].startswith("tuple"):
        return str(entry["type"])
    return "(" + ",".join(_types(entry["components"])) + ")" + entry["type"][5:]


def _types(entries: Sequence[dict[str, Any]]) -> list[str]:
    return [_type_of(entry) for entry in entries]


@cache
def _shapes(contract: str, kind: str) -> list[_Shape]:
    shapes = []
    for entry in artefact(contract)["abi"]:
        if entry["type"] != kind:
            continue
        hash_ = keccak((entry["name"] + "(" + ",".join(_types(entry["inputs"])) + ")").encode())
        indexed = [part for part in entry["inputs"] if part.get("indexed")]
        inputs = [part for part in entry["inputs"] if not part.get("indexed")]
        outputs = _types(entry.get("outputs", ()))
        shapes.append(_Shape(entry["name"], hash_, _types(inputs), _types(indexed), outputs))
    return shapes


@cache
def _function(contract: str, name: str, inputs: int) -> _Shape:
    """By its name and the number of its arguments."""
    shapes = _shapes(contract, "function")
    (found,) = (shape for shape in shapes if (shape.name, len(shape.inputs)) == (name, inputs))
    return found


@cache
def _view(contract: str, name: str, arguments: tuple[object, ...]) -> bytes:
    """The calldata of questions that are asked after every step."""
    shape = _function(contract, name, len(arguments))
    return shape.hash_[:4] + encode(shape.inputs, arguments)


def _plain(value: Any) -> Any:
    """Addresses as bytes, as the SDK has them."""
    return bytes.fromhex(value[2:]) if isinstance(value, str) else value


def _decoded(types: Sequence[str], data: bytes) -> tuple[Any, ...]:
    return tuple(map(_plain, decode(types, data)))


def _hex(address: bytes) -> str:
    return "0x" + address.hex()


@dataclass(frozen=True, eq=False)
class Contract:
    """A deployed contract, called as its ABI says."""

    evm: "Evm"
    kind: str
    address: bytes

    @cached_property
    def _place(self) -> str:
        return _hex(self.address)

    def encode(self, function: str, *arguments: object) -> bytes:
        shape = _function(self.kind, function, len(arguments))
        return shape.hash_[:4] + encode(shape.inputs, arguments)

    def send(self, sender: bytes, function: str, *arguments: object) -> tuple[Any, ...]:
        """Sends a transaction and returns what the function returns. Raises Refused."""
        answer = self.send_raw(sender, self.encode(function, *arguments))
        return _decoded(_function(self.kind, function, len(arguments)).outputs, answer)

    def send_raw(self, sender: bytes, data: bytes) -> bytes:
        """A transaction with calldata of our own making. Raises Refused."""
        return self.evm.call(_hex(sender), self._place, data)

    def send_packed(self, sender: bytes, function: str, packed: bytes) -> tuple[Any, ...]:
        """A transaction with packed bytes behind the selector. Raises Refused."""
        shape = _function(self.kind, function, 0)
        return _decoded(shape.outputs, self.send_raw(sender, shape.hash_[:4] + packed))

    def words(self, function: str, *arguments: object) -> tuple[int, ...]:
        """What a view answers, as numbers: its 32-byte words."""
        answer = self.evm.answer(self._place, _view(self.kind, function, arguments))
        return tuple(int.from_bytes(answer[at : at + 32]) for at in range(0, len(answer), 32))

    def events(self, name: str) -> list[Event]:
        """What this contract logged by that name in the last transaction."""
        (shape,) = (found for found in _shapes(self.kind, "event") if found.name == name)
        logs = [log for log in self.evm.logs() if log.address.lower() == self._place]
        return [
            Event(name, _topics(shape, log) + _decoded(shape.inputs, log.data[1]))
            for log in logs
            if bytes.fromhex(log.topics[0][2:]) == shape.hash_
        ]


def _topics(shape: _Shape, log: Any) -> tuple[Any, ...]:
    words = [bytes.fromhex(topic[2:]) for topic in log.topics[1:]]
    return _decoded(shape.indexed, b"".join(words))


@dataclass
class Evm:
    """One chain with the rules of Osaka. Time stands still unless it is told to pass."""

    now: int = START
    _evm: EVM = field(init=False)
    _errors: dict[bytes, tuple[str, list[str]]] = field(init=False)
    _code: dict[str, AccountInfo] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._evm = EVM(env=Env(cfg=CfgEnv(chain_id=CHAIN_ID)), spec_id="OSAKA")
        self._errors = {_PANIC: ("Panic", ["uint256"])}
        self.pass_time(0)

    def deploy(self, kind: str, *arguments: object) -> Contract:
        document = artefact(kind)
        types = [_types(e["inputs"]) for e in document["abi"] if e["type"] == "constructor"]
        code = bytes.fromhex(document["bytecode"]["object"][2:])
        deployed = code + encode(types[0] if types else [], arguments)
        address = self._evm.deploy(_DEPLOYER, deployed).lower()
        self._code[address] = self._evm.basic(address)
        for error in _shapes(kind, "error"):
            self._errors[error.hash_[:4]] = error.name, error.inputs
        return Contract(self, kind, bytes.fromhex(address[2:]))

    def pass_time(self, seconds: int) -> None:
        self.now += seconds
        self._evm.set_block_env(BlockEnv(number=1, timestamp=self.now))

    def call(self, sender: str, to: str, data: bytes) -> bytes:
        """A transaction. Raises Refused when it reverts."""
        try:
            with self._as_account(sender):
                return bytes(self._evm.message_call(sender, to, data))
        except RuntimeError as error:
            raise self._refusal(str(error)) from None

    def answer(self, to: str, question: bytes) -> bytes:
        """Of a view: models ask hundreds of thousands, so nothing else is done. Raises Refused."""
        try:
            return bytes(self._evm.message_call(_READER, to, question))
        except RuntimeError as error:
            raise self._refusal(str(error)) from None

    @contextmanager
    def undone(self) -> Iterator[None]:
        """The chain is afterwards as it was before."""
        checkpoint, now = self._evm.snapshot(), self.now
        try:
            yield
        finally:
            self._evm.revert(checkpoint)
            self.pass_time(now - self.now)

    def logs(self) -> list[Any]:
        return list(self._evm.result.logs)

    @contextmanager
    def _as_account(self, sender: str) -> Iterator[None]:
        """Wallets that are contracts send too. No transaction comes from an account with code
        (EIP-3607): it is taken away while the call runs."""
        if sender in self._code:
            self._evm.insert_account_info(sender, AccountInfo(nonce=1))
        try:
            yield
        finally:
            if sender in self._code:
                self._evm.insert_account_info(sender, self._code[sender])

    def _refusal(self, text: str) -> Refused:
        """pyrevm tells what a call reverted with in the text of its error."""
        _, _, output = text.partition(_OUTPUT)
        assert text.startswith(_REVERT), text
        raw = bytes.fromhex(output.removesuffix(" }"))
        name, types = self._errors[raw[:4]]
        return Refused(name, *_decoded(types, raw[4:]))
