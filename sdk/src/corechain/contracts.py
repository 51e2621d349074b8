"""Calls of our contracts as bytes, by their ABI; reverts as the errors of their names. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_abi.exceptions import DecodingError, EncodingError
from eth_utils.address import to_checksum_address

from corechain.deployment import load_abi
from corechain.protocol import errors
from corechain.protocol.errors import InvalidValue, ProtocolError, shown
from corechain.protocol.hashing import keccak
from corechain.protocol.values import integer, one_of

Entry = Mapping[str, Any]
ERROR_STRING, PANIC = keccak(b"Error(string)")[:4], keccak(b"Panic(uint256)")[:4]


class Reverted(ProtocolError):
    """A contract refused for a reason that has no class of its own here."""

    def __init__(self, name: str, values: tuple[object, ...] = ()) -> None:
        told = ", ".join(f"0x{v.hex()}" if isinstance(v, bytes) else shown(v) for v in values)
        super().__init__(f"the contract reverted with {name}{f'({told})' if values else ''}")
        self.error, self.values = name, values


class UnexpectedReturn(ValueError):
    """The bytes that came back are not what the ABI says."""


def _canonical(item: Entry) -> str:
    kind = str(item["type"])
    if not kind.startswith("tuple"):
        return kind
    inner = ",".join(_canonical(part) for part in item["components"])
    return f"({inner}){kind.removeprefix('tuple')}"


def _types(items: Iterable[Entry]) -> list[str]:
    return [_canonical(item) for item in items]


def _selector(entry: Entry) -> bytes:
    return keccak(f"{entry['name']}({','.join(_types(entry['inputs']))})".encode())[:4]


@dataclass(frozen=True, slots=True)
class Function:
    """One function of a contract."""

    name: str
    selector: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def encode(self, arguments: Sequence[object]) -> bytes:
        """Calldata. Raises InvalidValue for arguments that do not fit the ABI."""
        try:
            given = list(map(_fitting, self.inputs, arguments))
            return self.selector + abi_encode(self.inputs, given)
        except (EncodingError, TypeError, ValueError, OverflowError) as error:
            raise InvalidValue(f"arguments of {self.name}", arguments, str(error)) from error

    def decode(self, returned: bytes) -> Any:
        """The value, or a tuple of several; addresses with their checksum. Raises
        UnexpectedReturn."""
        try:
            values = abi_decode(self.outputs, returned)
        except (DecodingError, ValueError, OverflowError) as error:
            raise UnexpectedReturn(f"{self.name} returned {returned.hex():.80}") from error
        shown = tuple(map(_with_checksum, self.outputs, values))
        return shown[0] if len(shown) == 1 else shown


def _fitting(kind: str, value: object) -> object:
    """Bytes for hex, as the API writes them; integers of any library. The coder judges the rest."""
    if kind.startswith("bytes") and kind[-1] != "]" and isinstance(value, str):
        digits = value.removeprefix("0x")
        return bytes.fromhex(digits) if len(digits) % 2 == 0 and digits.isalnum() else value
    if kind.startswith(("uint", "int")) and kind[-1] != "]" and type(value) is not int:
        return value if (found := integer(value)) is None else found
    return value


def _with_checksum(kind: str, value: Any) -> Any:
    return to_checksum_address(value) if kind == "address" else value


@cache
def _functions(contract: str) -> Mapping[str, Sequence[Function]]:
    found: dict[str, list[Function]] = {}
    for entry in load_abi(contract):
        if entry["type"] == "function":
            inputs, outputs = tuple(_types(entry["inputs"])), tuple(_types(entry["outputs"]))
            function = Function(str(entry["name"]), _selector(entry), inputs, outputs)
            found.setdefault(function.name, []).append(function)
    return found


def function_of(contract: str, name: str, count: int) -> Function:
    """A function by its name and the number of its arguments. Raises InvalidValue."""
    one_of("contract", contract, str, "takes the name of a contract")
    try:
        known = _functions(contract).get(one_of("function", name, str, "takes a name"), ())
    except (OSError, ValueError) as error:
        raise InvalidValue("contract", contract, "is none of ours") from error
    fitting = [function for function in known if len(function.inputs) == count]
    if not fitting:
        why = f"{contract} has no such function of {count} arguments"
        raise InvalidValue("function", name, why)
    return fitting[0]


def revert_data(data: object) -> bytes | None:
    """What a contract reverted with, from the `data` of a node's error: hex, hex behind a word
    (Nethermind, OpenEthereum), or an object that holds it (Hardhat). None for nothing of these."""
    if isinstance(data, Mapping):
        data = data.get("data")
    if not isinstance(data, str):
        return None
    _, marker, digits = data.partition("0x")
    try:
        return bytes.fromhex(digits) if marker else None
    except ValueError:
        return None


def _python_value(kind: str, value: object) -> object:
    return bytes.fromhex(str(value)[2:]) if kind == "address" else value


def _named_error(name: str, values: tuple[object, ...]) -> ProtocolError:
    """The Python class of a Solidity error: one failure, one name."""
    kind = errors.by_name(name)
    if kind is None:
        return Reverted(name, values)
    try:
        has_facts = kind.__init__ is not ProtocolError.__init__
        return kind(*values) if has_facts else kind(f"the contract says {name}{values or ''}")
    except TypeError:
        return Reverted(name, values)


@dataclass(frozen=True, slots=True)
class RevertDecoder:
    """Custom errors of our contracts by selector."""

    entries: Mapping[bytes, Entry]

    @classmethod
    def of(cls, abis: Sequence[list[dict[str, Any]]]) -> "RevertDecoder":
        found = (entry for abi in abis for entry in abi if entry["type"] == "error")
        return cls({_selector(entry): entry for entry in found})

    def error(self, data: str | bytes) -> ProtocolError:
        """The error that revert data stands for; whatever it is, an error."""
        raw = data if isinstance(data, bytes) else revert_data(data) or b""
        known = {ERROR_STRING: ("Error", ["string"]), PANIC: ("Panic", ["uint256"])}
        entry = self.entries.get(raw[:4])
        if entry is not None:
            known[raw[:4]] = str(entry["name"]), _types(entry["inputs"])
        if raw[:4] not in known:
            return Reverted("0x" + raw[:4].hex())
        name, types = known[raw[:4]]
        try:
            values = abi_decode(types, raw[4:])
        except (DecodingError, ValueError, OverflowError):
            return Reverted(name)
        return _named_error(name, tuple(map(_python_value, types, values)))
