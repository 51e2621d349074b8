// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4 <0.9.0;

import { Receipt } from "./BatchTypes.sol";
import { Evidence } from "./IBatchChallenges.sol";

/// @title Receipts: a lane's bond answers for what its gateways acknowledged
/// @notice A gateway signs that reports will be in a batch by a time. Whoever holds such a receipt and its report may demand it
/// afterwards; it is `answer`ed and `expire`s as other demands do. The whole report is in the log of the demand: who has lost it commits it late and
/// answers with that, so nothing but silence costs an honest submitter its bond.
interface IReceiptDemands {
    /// @notice The lane's bond answers for receipts that this account signs.
    event ReceiptSignerNamed(uint16 indexed lane, address indexed signer, uint40 since);
    /// @notice The bond answers for this account's receipts only if their `commitBy` is no later than `until` (seconds).
    event ReceiptSignerDismissed(uint16 indexed lane, address indexed signer, uint40 since, uint40 until);
    /// @notice A receipt's report is demanded; `answer` it before the deadline (seconds) as a demand of kind `Receipt`.
    /// @dev `shown` is the report (body ‖ signature 64; its length follows from its count) ‖ *who* as at `IBatchChallenges.requireFraud`, with the
    /// key of a device on P-256, which who seals the report needs. The id is that of batch id lane · 2^32, commitment lane 2 ‖ since 5 ‖ zeros 19, and the report's first 28 bytes as subject.
    event ReceiptDemanded(
        bytes32 indexed demandId, uint16 indexed lane, uint40 since, uint40 deadline, bytes shown
    );

    /// @notice The account is not named for receipts of this bond, or not for such a late `commitBy`.
    error UnknownReceiptSigner(uint16 lane, uint40 since, address signer);
    /// @notice The report may still be committed in time (seconds).
    error ReceiptNotDue(uint40 commitBy);
    /// @notice The report could be demanded until `until` (seconds).
    error ReceiptExpired(uint40 until);
    /// @notice The bond that the receipt names is gone, or the admin has closed its lane.
    error ReceiptUnsecured(uint16 lane, uint40 since);

    /// @notice Names an account whose receipts the lane's bond answers for. The lane's submitter only; for the present bond.
    function nameReceiptSigner(uint16 lane, address signer) external;

    /// @notice Ends that, one challenge window from now: what the account has promised before stays promised. The lane's
    /// submitter only.
    /// @dev Named so that its selector is above those of all commits: each one below costs them 22 gas.
    function dismissFromReceipts(uint16 lane, address signer) external;

    /// @notice Demands the report of a receipt. Anyone who pays the fee, after `commitBy`, for a challenge window.
    /// @param receipt of the frame that the report came in
    /// @param signature the receipt signer's, 64 bytes (EIP-2098, low-s)
    /// @param evidence the report with its way to the receipt's root; –; *who* its device is, as at `IBatchChallenges.requireFraud`
    function demandReceipt(Receipt calldata receipt, bytes calldata signature, Evidence calldata evidence)
        external
        returns (bytes32 demandId);

    /// @notice Up to which `commitBy` (seconds) a bond answers for an account's receipts; 0 if it never did.
    function receiptSignerUntil(uint16 lane, uint40 since, address signer) external view returns (uint40);
}
