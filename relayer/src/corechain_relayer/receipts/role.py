"""Puts the signing of receipts together from what a gateway's process has."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from corechain.deployment import Deployment
from corechain.protocol.keys import Secp256k1Key
from corechain.service.rpc import Questions
from corechain.service.workers import Workers
from corechain_relayer.bus.base import Bus
from corechain_relayer.metrics import Metrics
from corechain_relayer.receipts.contract import ReceiptContract
from corechain_relayer.receipts.desk import ReceiptDesk
from corechain_relayer.receipts.keeper import Keeper
from corechain_relayer.receipts.progress import progress_of
from corechain_relayer.receipts.signer import ReceiptSigner
from corechain_relayer.registry.follower import RegistryFollower
from corechain_relayer.settings import Settings
from corechain_relayer.wiring import node_of

if TYPE_CHECKING:
    from corechain.service.database import Database


@dataclass(frozen=True, slots=True)
class ReceiptParts:
    """Who signs, and who knows what may be signed."""

    keeper: Keeper
    signer: ReceiptSigner

    def desk(self, registry: RegistryFollower, workers: Workers, metrics: Metrics) -> ReceiptDesk:
        return ReceiptDesk(self.keeper, registry.unsettled, self.signer, workers, metrics)


def receipt_parts(
    settings: Settings, deployment: Deployment, rpc: Questions, pool: "Database", bus: Bus
) -> ReceiptParts | None:
    """None where the settings name no key."""
    if settings.receipt_key is None:
        return None
    digits = settings.receipt_key.get_secret_value().removeprefix("0x")
    signer = ReceiptSigner.of(Secp256k1Key(bytes.fromhex(digits)), deployment)
    contract = ReceiptContract(rpc, deployment, signer.address)
    keeper = Keeper(
        contract,
        node_of(rpc, settings),
        partial(progress_of, pool),
        bus.rooms.lanes,
        settings.first_lane,
        settings.receipt_promise_s,
        settings.poll_s,
    )
    return ReceiptParts(keeper, signer)
