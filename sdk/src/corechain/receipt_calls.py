"""What `Chain` does about completeness receipts: signers, demands, answers. Blocking."""

from typing import TYPE_CHECKING

from corechain.contracts import function_of
from corechain.protocol.evidence import Demand, Evidence, Shown, signer_of
from corechain.protocol.fleet import Fleet
from corechain.protocol.keys import DeviceIdentity
from corechain.protocol.reading import SignedReport
from corechain.protocol.receipt_events import ReceiptDemanded
from corechain.protocol.receipts import (
    ReportReceipt,
    UnknownReceiptSigner,
    batches_domain,
    receipt_commitment,
    receipt_subject,
)
from corechain.protocol.values import U16_MAX, OctetsLike, address, one_of, seconds, whole
from corechain.transactions import Receipt
from corechain.writer import ChainWriter

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

BATCHES = "DataBatches"


def _lane(lane: object) -> int:
    return whole("lane", lane, 0, U16_MAX)


class ReceiptCalls(ChainWriter):
    """The part of `Chain` that is about receipts (docs/protocol.md, "Receipts")."""

    def name_receipt_signer(
        self, account: "LocalAccount", lane: int, signer: OctetsLike
    ) -> Receipt:
        """Names a gateway's account, for whose receipts the lane's bond answers from now on. The
        account is the lane's submitter."""
        return self.send(
            account, BATCHES, "nameReceiptSigner", _lane(lane), address("signer", signer)
        )

    def dismiss_receipt_signer(
        self, account: "LocalAccount", lane: int, signer: OctetsLike
    ) -> Receipt:
        """Ends that for receipts that promise more than a challenge window from now. Raises
        UnknownReceiptSigner when there is nothing to end."""
        return self.send(
            account, BATCHES, "dismissFromReceipts", _lane(lane), address("signer", signer)
        )

    def receipt_signer_until(self, lane: int, since: int, signer: OctetsLike) -> int:
        """Up to which `commit_by` (seconds) the bond of second `since` answers for receipts that
        the account signs; 0 if it never did, 2^40 - 1 while it is named."""
        given = _lane(lane), seconds("since", since), address("signer", signer)
        return int(self.call(BATCHES, "receiptSignerUntil", *given))

    def lane_bond_since(self, lane: int) -> int:
        """The second from which the lane's present bond answers: what its receipts name. 0 where
        there is none."""
        bond = self.call(BATCHES, "bondOf", _lane(lane))
        return int(bond[2])

    def demand_receipt(
        self,
        account: "LocalAccount",
        receipt: ReportReceipt,
        report: SignedReport | bytes,
        identity: DeviceIdentity,
        fleet: Fleet | None = None,
    ) -> Receipt:
        """Demands a report that a receipt promised and that is in no batch, for the demand fee,
        which is allowed first. The lane loses its bond to the account unless it shows the report
        in time. `fleet` lists the device where it has no slot of its own.

        Raises InvalidProof, InvalidSignature, HighS, UnknownReceiptSigner before anything is
        paid; then what the contract refuses: ReceiptNotDue, ReceiptExpired, ReceiptUnsecured,
        UnknownDevice, RevokedDevice, Reverted.
        """
        packed = report.pack() if isinstance(report, SignedReport) else report
        one_of("report", packed, bytes, "takes a SignedReport, or its bytes")
        one_of("receipt", receipt, ReportReceipt, "takes a ReportReceipt")
        one_of("identity", identity, DeviceIdentity, "takes the identity of the report's device")
        self._require_promised(receipt, packed)
        shown = Shown(receipt.position, packed, receipt.siblings)
        evidence = Evidence([shown], extra=signer_of(identity, fleet))
        signed = receipt.signed
        self._allow_demand_fee(account)
        given = signed.receipt.words(), signed.signature, evidence.words()
        return self.send(account, BATCHES, "demandReceipt", *given)

    def _require_promised(self, made: ReportReceipt, report: bytes) -> None:
        made.verify_inclusion(report)
        receipt = made.signed.receipt
        domain = batches_domain(self.deployment.chain_id, self.deployment.address(BATCHES))
        signer = made.signed.signer(domain)
        until = self.receipt_signer_until(receipt.lane, receipt.since, signer)
        if receipt.commit_by > until:
            raise UnknownReceiptSigner(receipt.lane, receipt.since, signer)

    def _allow_demand_fee(self, account: "LocalAccount") -> None:
        # The bond's token is whatever the deployment chose; of an ERC-20 any ABI will do.
        token = bytes.fromhex(str(self.call(BATCHES, "bondToken"))[2:])
        approve = function_of("CoreToken", "approve", 2)
        spender = self.deployment.address(BATCHES)
        data = approve.encode([spender, int(self.call(BATCHES, "demandFee"))])
        self._send_to(account, token, "the bond token's approve", data)

    def answer_receipt(
        self, account: "LocalAccount", demanded: ReceiptDemanded, evidence: Evidence
    ) -> Receipt:
        """Answers a demanded report by one that is in a batch (`Dossier.inclusion`), and earns the
        fee."""
        one_of("demanded", demanded, ReceiptDemanded, "takes the event of the demand")
        one_of("evidence", evidence, Evidence, "takes Evidence; see Dossier.inclusion")
        return self.send(
            account,
            BATCHES,
            "answer",
            int(Demand.RECEIPT),
            demanded.lane << 32,
            receipt_commitment(demanded.lane, demanded.since),
            receipt_subject(demanded.device, demanded.sequence),
            evidence.words(),
        )

    def excuse_receipt(self, account: "LocalAccount", demanded: ReceiptDemanded) -> Receipt:
        """Closes a demand of a report that may not be committed any more, and earns the fee: its
        device is revoked, or the admin has closed the lane."""
        return self.answer_receipt(account, demanded, Evidence())
