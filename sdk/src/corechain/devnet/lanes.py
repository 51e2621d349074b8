"""Lanes besides the first one of a local network, which the deployment script makes."""

from collections.abc import Mapping

from corechain.account import account_from_key
from corechain.chain import Chain
from corechain.devnet.settings import ADMIN_KEY, SUBMITTER_KEY

# Account 7 of the public test mnemonic. A key of its own: the nonces of a key have one owner.
SECOND_KEY = "0x4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356"
SUBMITTER_KEYS = (SUBMITTER_KEY, SECOND_KEY)
"""By lane."""
MOST_LANES = len(SUBMITTER_KEYS)


def numbered(name: str, lane: int) -> str:
    """The first of a kind keeps the name that it has alone."""
    return f"{name}-{lane}" if lane else name


def lane_settings(lane: int) -> Mapping[str, str]:
    """Of the aggregator and the submitter of a lane."""
    return {"RELAYER_LANE": str(lane), "RELAYER_SUBMITTER_KEY": SUBMITTER_KEYS[lane]}


def bond_lanes(chain: Chain, lanes: int) -> None:
    """Assigns and bonds lane 1 and those after it, as the admin; one that is bonded is left alone.

    Raises what Chain.send raises.
    """
    admin, bond = account_from_key(ADMIN_KEY), chain.call("DataBatches", "bondAmount")
    batches = "0x" + chain.deployment.address("DataBatches").hex()
    for lane in range(1, lanes):
        submitter = account_from_key(SUBMITTER_KEYS[lane]).address
        if str(chain.call("DataBatches", "submitterOf", lane)).lower() == submitter.lower():
            continue
        chain.send(admin, "DataBatches", "assignLane", lane, submitter)
        chain.send(admin, "CoreToken", "approve", batches, bond)
        chain.send(admin, "DataBatches", "bondLane", lane)
