// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Disputes } from "./Disputes.sol";
import { Receipt } from "./interfaces/BatchTypes.sol";
import { Demand, Evidence } from "./interfaces/IBatchChallenges.sol";
import { IReceiptDemands } from "./interfaces/IReceiptDemands.sol";
import { SafeErc20 } from "./libraries/SafeErc20.sol";

/// @title Demands for what receipts promise
abstract contract ReceiptDemands is IReceiptDemands, Disputes {
    mapping(uint16 lane => mapping(uint40 since => mapping(address signer => uint40))) private _signers;

    /// @inheritdoc IReceiptDemands
    function nameReceiptSigner(uint16 lane, address signer) external {
        _requireSubmitter(lane);
        uint40 since = _bonds[lane].since;
        _signers[lane][since][signer] = type(uint40).max;
        emit ReceiptSignerNamed(lane, signer, since);
    }

    /// @inheritdoc IReceiptDemands
    function dismissFromReceipts(uint16 lane, address signer) external {
        // Checks
        _requireSubmitter(lane);
        uint40 since = _bonds[lane].since;
        // Never later than before: who is dismissed twice is not named again, and who was never named is not by this.
        uint40 until = uint40(block.timestamp) + challengeWindow;
        if (_signers[lane][since][signer] <= until) revert UnknownReceiptSigner(lane, since, signer);

        // Effects
        _signers[lane][since][signer] = until;
        emit ReceiptSignerDismissed(lane, signer, since, until);
    }

    /// @inheritdoc IReceiptDemands
    function demandReceipt(Receipt calldata receipt, bytes calldata signature, Evidence calldata evidence)
        external
        returns (bytes32 demandId)
    {
        // Checks
        (uint16 lane, uint40 since) = (receipt.lane, receipt.since);
        _requireDemandable(lane, since, receipt.commitBy);
        (address signer, bytes32 subject) = judge.requireReceipt(receipt, signature, evidence);
        if (receipt.commitBy > _signers[lane][since][signer]) {
            revert UnknownReceiptSigner(lane, since, signer);
        }
        bytes26 bond = bytes26(uint208(lane) << 192 | uint208(since) << 152);
        demandId = _demandId(Demand.Receipt, uint48(lane) << 32, bond, subject);

        // Effects
        uint40 deadline = _keepDemand(demandId, lane, since);
        bytes memory shown = bytes.concat(evidence.shown[0].content, evidence.extra);
        emit ReceiptDemanded(demandId, lane, since, deadline, shown);

        // Interactions
        SafeErc20.receiveFrom(bondToken, msg.sender, demandFee);
    }

    /// @inheritdoc IReceiptDemands
    function receiptSignerUntil(uint16 lane, uint40 since, address signer) external view returns (uint40) {
        return _signers[lane][since][signer];
    }

    /// @dev Whom the admin has stopped cannot commit any more: its bond answers for no receipt.
    // slither-disable-next-line incorrect-equality (which bond it is, not how much of something)
    function _requireDemandable(uint16 lane, uint40 since, uint40 commitBy) private view {
        Bond memory bond = _bonds[lane];
        bool secured = bond.amount != 0 && bond.since == since && assigneeOf[lane] != address(0);
        if (!secured) revert ReceiptUnsecured(lane, since);
        if (block.timestamp <= commitBy) revert ReceiptNotDue(commitBy);
        uint40 until = commitBy + challengeWindow;
        if (block.timestamp > until) revert ReceiptExpired(until);
    }
}
