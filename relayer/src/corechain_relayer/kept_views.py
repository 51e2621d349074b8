"""Which logs of a contract are kept for a view of it."""

from typing import TYPE_CHECKING

from corechain.deployment import DeployedContract, Deployment
from corechain.service.rpc import Questions
from corechain_relayer.journal.final_logs import FinalLogs
from corechain_relayer.keeping import KeptLogs

if TYPE_CHECKING:
    from corechain.service.database import Database


def kept_logs(pool: "Database", deployment: Deployment, contract: str, rpc: Questions) -> KeptLogs:
    """Of all logs of a contract, for a follower of them."""
    store = FinalLogs(pool, deployment.chain_id, deployment.contracts[contract], contract)
    return KeptLogs(store, rpc)


def kept_window(
    pool: "Database",
    chain_id: int,
    contract: DeployedContract,
    name: str,
    head: int,
    rpc: Questions,
) -> KeptLogs:
    """Of the logs since a block that moves on with the head; `contract` begins at that block.

    Half as many blocks again are kept: who starts when they come more slowly wants older ones.
    """
    window = max(1, 3 * (head - contract.block) // 2)
    return KeptLogs(FinalLogs(pool, chain_id, contract, name), rpc, window=window)
