"""What differs between chains for whoever sends transactions there, as values. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

ChainName = Literal["anvil", "ethereum", "arbitrum", "polygon", "optimism"]
GWEI = 10**9


@dataclass(frozen=True, slots=True)
class ChainRules:
    """`confirmations`: depth at which a block is final where the node knows no `finalized`.
    `replaces`: whether a transaction that waits is replaced at a higher fee in time; without a
    mempool there is nothing to replace, and only what was refused as too cheap is signed anew.
    `nonce_at_send`: whether a nonce is given only once the node took all before it. `l1_fee`:
    whether a transaction pays for its bytes on another chain besides, which no fee cap covers.
    """

    confirmations: int = 64
    nonces_in_flight: int = 16
    min_priority_fee: int = 0
    replaces: bool = True
    nonce_at_send: bool = False
    l1_fee: bool = False


RULES: Mapping[ChainName, ChainRules] = MappingProxyType(
    {
        "anvil": ChainRules(),
        # Two epochs; geth keeps 16 transactions of a sender for sure (`--txpool.accountslots`).
        "ethereum": ChainRules(),
        # Nitro has no mempool: its sequencer takes a transaction or refuses it, and keeps one above
        # a missing nonce for a second. Blocks are 0.25 s apart, L1's finality takes 20 minutes.
        "arbitrum": ChainRules(confirmations=5_000, replaces=False, nonce_at_send=True),
        # Reorgs of 157 and 187 blocks have been seen; Wormhole waits for 512 blocks. Bor refuses
        # tips below its minimum, and many nodes still have the 30 gwei that it once was.
        "polygon": ChainRules(confirmations=512, min_priority_fee=30 * GWEI),
        # A block every two seconds, final with L1's. The sequencer's pool is geth's. The fee for
        # L1 is taken beside gas (`l1Fee` of a receipt).
        "optimism": ChainRules(confirmations=600, l1_fee=True),
    }
)

_IDS: Mapping[int, ChainName] = MappingProxyType(
    {
        31_337: "anvil",
        1: "ethereum",
        11_155_111: "ethereum",  # Sepolia
        560_048: "ethereum",  # Hoodi
        42_161: "arbitrum",  # One
        42_170: "arbitrum",  # Nova
        421_614: "arbitrum",  # Sepolia
        412_346: "arbitrum",  # Nitro's development chain
        137: "polygon",
        80_002: "polygon",  # Amoy
        10: "optimism",
        11_155_420: "optimism",  # Sepolia
        8_453: "optimism",  # Base
        84_532: "optimism",  # Base Sepolia
        130: "optimism",  # Unichain
        480: "optimism",  # World Chain
        7_777_777: "optimism",  # Zora
        34_443: "optimism",  # Mode
    }
)


def chain_name(chain_id: int) -> ChainName:
    """Whose rules a chain follows: Ethereum's where we do not know it."""
    return _IDS.get(chain_id, "ethereum")
