// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4 <0.9.0;

import { Place, Revealed } from "./BatchTypes.sol";
import { Demand, Evidence, Fraud } from "./IBatchChallenges.sol";

/// @title Disputes about batches: frauds shown in one step, and data that is demanded
/// @notice Within the challenge window anyone may take a lane's bond by showing what is wrong with a batch, or demand a piece of it. A demand
/// costs a fee: the answer earns it; silence until the deadline costs the submitter the bond.
interface IDisputes {
    /// @notice A demand. One slot.
    struct OpenDemand {
        address demander;
        uint40 deadline;
        uint40 since; // of the bond that answers for it
        uint16 lane;
    }

    /// @notice A fraud was shown.
    event FraudProven(uint48 indexed batchId, Fraud kind, address indexed challenger);
    /// @notice A piece of a batch is demanded; `answer` it before the deadline (seconds).
    event Demanded(
        bytes32 indexed demandId,
        uint48 indexed batchId,
        Demand kind,
        bytes26 commitment,
        bytes32 subject,
        uint40 deadline
    );
    /// @notice A demand was answered with this evidence.
    event Answered(bytes32 indexed demandId, address indexed answerer, Evidence evidence);
    /// @notice A demand was not answered in time.
    event Unanswered(bytes32 indexed demandId);

    /// @notice The batch could be challenged until `until` (seconds).
    error WindowOver(uint48 batchId, uint40 until);
    /// @notice No bond answers for this batch.
    error NoBond(uint48 batchId);
    /// @notice This was demanded already.
    error AlreadyDemanded(bytes32 demandId);
    /// @notice No such demand, or it is closed.
    error UnknownDemand(bytes32 demandId);
    /// @notice The demand can still be answered until then (seconds).
    error AnswerPending(uint40 deadline);
    /// @notice The deadline has passed.
    error AnswerLate(uint40 deadline);

    /// @notice Takes the lane's bond by showing a fraud. Anyone, within the batch's challenge window.
    /// @param batch all that the commitment is the hash of
    /// @param place where the commitment stands
    function challenge(
        Fraud kind,
        uint48 batchId,
        Revealed calldata batch,
        Place calldata place,
        Evidence calldata evidence
    ) external;

    /// @notice Demands a piece of a batch. Anyone who pays the fee, within the batch's challenge window.
    function demand(
        Demand kind,
        uint48 batchId,
        bytes26 commitment,
        Place calldata place,
        Evidence calldata evidence
    ) external returns (bytes32 demandId);

    /// @notice Answers a demand and earns its fee. Anyone, until the deadline.
    function answer(
        Demand kind,
        uint48 batchId,
        bytes26 commitment,
        bytes32 subject,
        Evidence calldata evidence
    ) external;

    /// @notice Closes a demand that nobody answered: the lane's bond is slashed in favour of the demander. Anyone, after the deadline.
    /// If another dispute took the bond first, the fee goes back.
    function expire(bytes32 demandId) external;

    /// @notice A demand; its demander is zero when it is closed or never was.
    function demandOf(bytes32 demandId) external view returns (OpenDemand memory);
}
