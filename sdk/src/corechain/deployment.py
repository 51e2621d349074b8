"""Where the contracts live: the manifest that `ape run deploy` writes and every part reads."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corechain.paths import file_path
from corechain.protocol.errors import CoreChainError, InvalidValue, ValueOutOfRange
from corechain.protocol.rewards import DEFAULT_SCHEDULE, RewardRules, RewardSchedule
from corechain.protocol.values import U256_MAX


class InvalidDeployment(CoreChainError):
    """The manifest is missing or is not one. Says what to do."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"deployment manifest {path}: {why}; `corechain up` and `ape run deploy` write one, "
            "and --deployment names it to a command"
        )
        self.path, self.why = path, why


@dataclass(frozen=True, slots=True)
class DeployedContract:
    """Address (20 bytes) and the block that created it: nothing of it is in an earlier one."""

    name: str
    address: bytes
    block: int


@dataclass(frozen=True, slots=True)
class Deployment:
    """The contracts of one chain, by name."""

    chain_id: int
    contracts: dict[str, DeployedContract]
    rewards: RewardSchedule = DEFAULT_SCHEDULE
    """Here and in no service's settings: who checks a root needs the rules of who proposed it."""

    def address(self, name: str) -> bytes:
        """20 bytes. Raises InvalidValue for a contract that the manifest does not name."""
        return self.contract(name).address

    def contract(self, name: str) -> DeployedContract:
        """Raises InvalidValue."""
        found = self.contracts.get(name) if isinstance(name, str) else None
        if found is None:
            raise InvalidValue("contract", name, f"takes one of {', '.join(self.contracts)}")
        return found

    @property
    def first_block(self) -> int:
        return min(contract.block for contract in self.contracts.values())


REQUIRED = ("DeviceRegistry", "DataBatches", "CoreToken", "PaymentChannels", "StateChannels")


def _contract(name: str, entry: dict[str, Any]) -> DeployedContract:
    address = bytes.fromhex(str(entry["address"]).removeprefix("0x"))
    if len(address) != 20:
        raise ValueError(f"the address of {name} has {len(address)} bytes")
    block = 0 if entry["block"] is None else _whole(entry, "block")
    if block < 1:
        # A mirror would begin at genesis: on a rollup that is days of empty blocks.
        raise ValueError(f"the block of {name} is unknown: run `ape run deploy` again, it finds it")
    return DeployedContract(name, address, block)


def _whole(entry: dict[str, Any], name: str) -> int:
    value = entry[name]
    # int() would make 0 of 0.5, and nobody would be paid.
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}, not a whole number")
    return value


def _schedule(entries: list[dict[str, Any]]) -> RewardSchedule:
    return RewardSchedule(
        tuple(
            (_whole(entry, "from_epoch"), RewardRules(_whole(entry, "bridge_weight_bps")))
            for entry in entries
        )
    )


def parse_deployment(path: Path, document: dict[str, Any]) -> Deployment:
    """The manifest's content. Raises InvalidDeployment."""
    try:
        entries = document["contracts"]
        contracts = {name: _contract(name, entry) for name, entry in entries.items()}
        chain_id = _whole(document, "chain_id")
        if not 0 < chain_id <= U256_MAX:
            raise ValueError(f"chain_id is {chain_id}")
        rewards = _schedule(document["rewards"]) if "rewards" in document else DEFAULT_SCHEDULE
    except (KeyError, TypeError, ValueError, AttributeError, ValueOutOfRange) as error:
        raise InvalidDeployment(path, f"not a manifest ({error!r})") from error
    missing = [name for name in REQUIRED if name not in contracts]
    if missing:
        raise InvalidDeployment(path, f"lacks {', '.join(missing)}")
    return Deployment(chain_id, contracts, rewards)


def load_deployment(path: Path | str) -> Deployment:
    """Reads a manifest. Raises InvalidDeployment."""
    path = file_path(path, "takes the path of a manifest")
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidDeployment(path, f"cannot be read ({error})") from error
    return parse_deployment(path, document)


def load_abi(contract: str) -> list[dict[str, Any]]:
    """The ABI of one of our contracts, as shipped with the package."""
    from importlib import resources  # here: it brings tempfile, and that four compressions

    text = resources.files("corechain").joinpath("abi", f"{contract}.json").read_text()
    abi: list[dict[str, Any]] = json.loads(text)
    return abi
