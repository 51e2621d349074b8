"""What a deployment is made of besides code: read from a file, refused by name when unsafe."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml
from eth_utils.address import is_hex_address, to_checksum_address
from eth_utils.crypto import keccak

ROLES = ("admin", "submitter", "proposer", "guardian", "treasury", "deposit_guardian")
HOT_ROLES = ("submitter", "proposer")
"""Their keys lie on servers and sign all day."""
MAY_BE_NOBODY = ("deposit_guardian",)
NOBODY = "0x" + 40 * "0"
PUBLIC_ACCOUNTS = frozenset(
    {
        "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266",
        "0x70997970c51812dc3a010c7d01b50e0d17dc79c8",
        "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc",
        "0x90f79bf6eb2c4f870365e785982e1f101e93b906",
        "0x15d34aaf54267db7d7c367839aaf71a00a2c6a65",
        "0x9965507d1a55bcc2695c58ba16fb37d819b0a4dc",
        "0x976ea74026e726554db657fa54763abd0c3a0aa9",
        "0x14dc79964da2c08b23698b3d3cc7ca32193d9955",
        "0x23618e81e3f5cdf7f54c3d65f7fbc0abf5b21e8f",
        "0xa0ee7a142d267c1f36714e4a8f75612f20a79720",
    }
)
"""The accounts that anvil starts with. Everybody has their keys."""

YEAR_S = 365 * 86_400
LEAST_LIVE_WINDOW_S = 3_600
"""Whoever answers may have to restart, and to wait for a reorg or for a congested chain."""
ROUNDS = 15
"""At least. 14 demands lead down the statistics tree of 16,384 = 2^14 readings, one after another,
and the challenge itself comes after the last answer. A relayer's batches are as large as the rounds
of its deployment allow (corechain_relayer.aggregator.pace)."""

NUMBERS: Mapping[str, tuple[int, int]] = {
    # Limits of the contracts, without the zeros that they allow and nobody wants.
    "dispute_window_s": (1, YEAR_S),
    "emission_cap": (1, 2**128 - 1),
    "relay_fee_bps": (0, 100),
    "initial_supply": (1, 2**128 - 1),
    "bond": (1, 2**88 - 1),
    "demand_fee": (1, 2**88 - 1),
    "challenge_window_s": (1, YEAR_S),
    "answer_window_s": (1, YEAR_S),
    # No contract knows it: it goes into the manifest, where all who compute rewards read it.
    "bridge_weight_bps": (0, 10_000),
}
DEFAULTS: Mapping[str, int] = {"bridge_weight_bps": 5_000}
"""What a file of before the parameter does not name."""


@dataclass(frozen=True)
class Refusal:
    """Why parameters are not deployed: one name, one sentence."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.name}: {self.why}"


@dataclass(frozen=True)
class Parameters:
    """Roles are checksummed addresses, windows seconds, amounts base units of CORE."""

    salt: bytes
    roles: Mapping[str, str]
    dispute_window_s: int
    emission_cap: int
    relay_fee_bps: int
    initial_supply: int
    bond: int
    demand_fee: int
    challenge_window_s: int
    answer_window_s: int
    bridge_weight_bps: int


def read_parameters(path: Path, is_live: bool = False) -> Parameters:
    """Raises click.ClickException that names everything that is wrong with the file.

    A live network is one that others use: there, keys that everybody knows and windows that nobody
    can keep are refused as well.
    """
    values = {**DEFAULTS, **_load(path)}
    refusals = list(_malformed(values))
    if not refusals:
        parameters = _parse(values)
        refusals = list(unsafe(parameters))
        if is_live:
            refusals += unsafe_when_live(parameters)
    if refusals:
        lines = "".join(f"\n  {refusal}" for refusal in refusals)
        raise click.ClickException(f"{path} cannot be deployed:{lines}")
    return parameters


def _load(path: Path) -> dict[str, Any]:
    if not path.exists():
        example = f"{path.stem}.example.yaml"
        source = example if path.with_name(example).exists() else "ethereum-local.yaml"
        raise click.ClickException(f"{path} does not exist: copy {source} to it and fill it in")
    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise click.ClickException(f"{path} holds no parameters")
    return values


def _malformed(values: Mapping[str, Any]) -> Iterator[Refusal]:
    known = ("salt", *ROLES, *NUMBERS)
    for name in known:
        if name not in values:
            yield Refusal("MissingParameter", name)
    for name in values:
        if name not in known:
            yield Refusal("UnknownParameter", f"{name!r}; known are {', '.join(known)}")
    if "salt" in values and not (isinstance(values["salt"], str) and values["salt"]):
        yield Refusal("MalformedParameter", "salt is a text in quotes")
    for name in ROLES:
        if name in values and not _is_account(values[name]):
            yield Refusal("MalformedParameter", _no_address(name, values[name]))
    for name, (least, most) in NUMBERS.items():
        if name in values:
            yield from _refused_number(name, values[name], least, most)


def _is_account(value: Any) -> bool:
    if not (isinstance(value, str) and value.startswith("0x") and is_hex_address(value)):
        return False
    # Without capitals there is no checksum; with some it must be right.
    return value == value.lower() or value == to_checksum_address(value)


def _no_address(name: str, value: Any) -> str:
    if isinstance(value, int):
        # YAML reads an address without quotes as a number.
        return f"{name}: put the address in quotes"
    if isinstance(value, str) and "…" in value:
        return f"{name} is still the example's {value!r}: fill in an address"
    return f"{name} is {value!r}, not an address with a right checksum"


def _refused_number(name: str, value: Any, least: int, most: int) -> Iterator[Refusal]:
    number = _integer(value)
    if number is None:
        yield Refusal("MalformedParameter", f"{name} is {value!r}, not a whole number")
    elif not least <= number <= most:
        yield Refusal("OutOfRange", f"{name} is {number}, must be from {least} to {most}")


def _integer(value: Any) -> int | None:
    """Nothing is rounded: 1.5 and true are mistakes, whatever int() makes of them."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _parse(values: Mapping[str, Any]) -> Parameters:
    return Parameters(
        salt=keccak(text=values["salt"]),
        roles={role: to_checksum_address(values[role]) for role in ROLES},
        **{name: int(values[name]) for name in NUMBERS},
    )


def unsafe(parameters: Parameters) -> Iterator[Refusal]:
    """What is a mistake on any chain."""
    for role, account in parameters.roles.items():
        if account == NOBODY and role not in MAY_BE_NOBODY:
            yield Refusal("RoleOfNobody", f"{role} is the zero address")
    if parameters.challenge_window_s < ROUNDS * parameters.answer_window_s:
        most = parameters.challenge_window_s // ROUNDS
        yield Refusal(
            "TooFewAnswerWindows",
            f"challenge_window_s {parameters.challenge_window_s} must hold {ROUNDS} answer "
            f"windows: wrong statistics are found by 14 demands, one after the other. "
            f"Set answer_window_s to {most} or less, or a longer challenge_window_s",
        )
    if parameters.bond > parameters.initial_supply:
        yield Refusal("BondExceedsSupply", "no account can ever hold a bond: raise initial_supply")


def unsafe_when_live(parameters: Parameters) -> Iterator[Refusal]:
    """What is a mistake where others have money."""
    roles = parameters.roles
    for role, account in roles.items():
        if account.lower() in PUBLIC_ACCOUNTS:
            yield Refusal("PublicKey", f"{role} is an account of the public test mnemonic")
    for hot in HOT_ROLES:
        for other in ROLES:
            already_named = other in HOT_ROLES and ROLES.index(other) < ROLES.index(hot)
            if other != hot and not already_named and roles[other] == roles[hot]:
                yield Refusal(
                    "HotKeyWithAnotherRole",
                    f"{hot} and {other} are one account: the {hot}'s key lies on a server, and "
                    "what others send from it halts the relayer",
                )
    for name in ("dispute_window_s", "answer_window_s"):
        given = getattr(parameters, name)
        if given < LEAST_LIVE_WINDOW_S:
            yield Refusal(
                "WindowTooShort", f"{name} is {given}, at least {LEAST_LIVE_WINDOW_S} when live"
            )
