"""Registers a fleet's devices: a transaction for each 4,096 of them."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from corechain.devnet.fleet.keys import enrolments, fleet_key
from corechain.protocol.errors import ProtocolError
from corechain.protocol.keys import KeyType
from corechain.protocol.reading import DeviceId

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from corechain.chain import Chain

# Public keys in one transaction: 64 bytes each, within the gas of a block.
KEYS_A_TRANSACTION = 512


def enrol(
    chain: "Chain",
    account: "LocalAccount",
    devices: list[DeviceId],
    key_type: KeyType,
    progress: Callable[[int], None] = lambda done: None,
) -> int:
    """How many transactions it took; a fleet that is there already takes none.

    The account has to be an enroller. `progress` hears of each fleet's devices.
    """
    owner, sent = bytes.fromhex(account.address[2:]), 0
    for fleet in enrolments(owner, key_type, devices):
        try:
            chain.enrol_fleet(account, fleet)
            sent += 1
        except ProtocolError as error:
            if getattr(error, "error", "") != "AlreadyEnrolled":
                raise
        progress(len(fleet.devices))
    return sent


def allow(chain: "Chain", account: "LocalAccount") -> None:
    """Makes the registry's admin an enroller: who deploys a local network has named none yet."""
    if not chain.call("DeviceRegistry", "isEnroller", account.address):
        chain.send(account, "DeviceRegistry", "setEnroller", account.address, True)


def publish(chain: "Chain", account: "LocalAccount", name: str, count: int) -> int:
    """Puts the public keys of a P-256 fleet into the log; how many transactions it took."""
    keys = [fleet_key(name, number, KeyType.P256).identity.public_key for number in range(count)]
    packed = [key for key in keys if key is not None]
    for first in range(0, count, KEYS_A_TRANSACTION):
        chain.publish_keys(account, packed[first : first + KEYS_A_TRANSACTION])
    return -(-count // KEYS_A_TRANSACTION)
