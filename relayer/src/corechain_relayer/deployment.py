"""Where the contracts are: `deployments/<chain id>.json`, written by `ape run deploy`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from corechain_relayer.settings import InvalidSetting


@dataclass(frozen=True, slots=True)
class Contract:
    """Address and the block in which it was deployed: no log of it is older."""

    address: bytes
    block: int


@dataclass(frozen=True, slots=True)
class Deployment:
    """The contracts of one chain."""

    chain_id: int
    registry: Contract
    batches: Contract
    token: Contract
    channels: Contract


def _contract(raw: dict[str, Any], name: str) -> Contract:
    entry = raw["contracts"][name]
    address = bytes.fromhex(entry["address"].removeprefix("0x"))
    if len(address) != 20:
        raise ValueError(name)
    return Contract(address, int(entry["block"]))


def load_deployment(path: Path) -> Deployment:
    """Reads a deployment file. Raises InvalidSetting when it is missing or incomplete."""
    try:
        raw = msgspec.json.decode(path.read_bytes())
        return Deployment(
            int(raw["chain_id"]),
            _contract(raw, "DeviceRegistry"),
            _contract(raw, "DataBatches"),
            _contract(raw, "CoreToken"),
            _contract(raw, "StateChannels"),
        )
    except OSError as error:
        raise InvalidSetting(f"RELAYER_DEPLOYMENT cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise InvalidSetting(f"RELAYER_DEPLOYMENT is not a deployment file: {error}") from None
