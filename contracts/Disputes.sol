// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { LaneBonds } from "./LaneBonds.sol";
import { Place, Revealed } from "./interfaces/BatchTypes.sol";
import { Accused, Demand, Evidence, Fraud, IBatchChallenges } from "./interfaces/IBatchChallenges.sol";
import { IDisputes } from "./interfaces/IDisputes.sol";
import { BatchHeaders } from "./libraries/BatchHeaders.sol";
import { SafeErc20 } from "./libraries/SafeErc20.sol";

/// @title Disputes about batches: what was shown is judged elsewhere, the money moves here
abstract contract Disputes is IDisputes, LaneBonds {
    /// @notice Who says what is a fraud and what is an answer.
    IBatchChallenges public immutable judge;
    /// @notice What a demand costs, base units of the bond token.
    uint88 public immutable demandFee;
    /// @notice How long a demand can be answered, seconds.
    uint40 public immutable answerWindow;

    mapping(bytes32 demandId => OpenDemand) private _demands;

    constructor(uint88 fee, uint40 answerSeconds, IBatchChallenges judge_) {
        _requireWindow(answerSeconds);
        (demandFee, answerWindow, judge) = (fee, answerSeconds, judge_);
    }

    /// @inheritdoc IDisputes
    function challenge(
        Fraud kind,
        uint48 batchId,
        Revealed calldata batch,
        Place calldata place,
        Evidence calldata evidence
    ) external {
        (uint40 since, uint40 committedAt) =
            _requireChallengeable(batchId, BatchHeaders.commitmentOf(batch), place);
        judge.requireFraud(kind, Accused(batchId, since, committedAt, batch), evidence);
        emit FraudProven(batchId, kind, msg.sender);
        _slash(uint16(batchId >> 32), msg.sender);
    }

    /// @inheritdoc IDisputes
    function demand(
        Demand kind,
        uint48 batchId,
        bytes26 commitment,
        Place calldata place,
        Evidence calldata evidence
    ) external returns (bytes32 demandId) {
        // Checks
        (uint40 since, uint40 committedAt) = _requireChallengeable(batchId, commitment, place);
        bytes32 subject = judge.subjectOf(kind, commitment, committedAt, evidence);
        demandId = _demandId(kind, batchId, commitment, subject);

        // Effects
        uint40 deadline = _keepDemand(demandId, uint16(batchId >> 32), since);
        emit Demanded(demandId, batchId, kind, commitment, subject, deadline);

        // Interactions
        SafeErc20.receiveFrom(bondToken, msg.sender, demandFee);
    }

    /// @inheritdoc IDisputes
    function answer(
        Demand kind,
        uint48 batchId,
        bytes26 commitment,
        bytes32 subject,
        Evidence calldata evidence
    ) external {
        // Checks
        bytes32 demandId = _demandId(kind, batchId, commitment, subject);
        OpenDemand memory open = _openDemand(demandId);
        if (block.timestamp > open.deadline) revert AnswerLate(open.deadline);
        judge.requireAnswer(kind, commitment, subject, evidence);

        // Effects
        delete _demands[demandId];
        if (_answersFor(open)) --_bonds[open.lane].openDemands;
        emit Answered(demandId, msg.sender, evidence);

        // Interactions
        SafeErc20.send(bondToken, msg.sender, demandFee);
    }

    /// @inheritdoc IDisputes
    function expire(bytes32 demandId) external {
        // Checks
        OpenDemand memory open = _openDemand(demandId);
        if (block.timestamp <= open.deadline) revert AnswerPending(open.deadline);

        // Effects
        delete _demands[demandId];
        emit Unanswered(demandId);

        // Interactions
        if (_answersFor(open)) _slash(open.lane, open.demander);
        SafeErc20.send(bondToken, open.demander, demandFee);
    }

    /// @inheritdoc IDisputes
    function demandOf(bytes32 demandId) external view returns (OpenDemand memory) {
        return _demands[demandId];
    }

    /// @dev DataBatches knows where commitments stand.
    function requireCommitted(uint48 batchId, bytes26 commitment, Place calldata place)
        public
        view
        virtual
        returns (uint40 committedAt);

    /// @dev Reverts AlreadyDemanded.
    function _keepDemand(bytes32 demandId, uint16 lane, uint40 since) internal returns (uint40 deadline) {
        if (_demands[demandId].demander != address(0)) revert AlreadyDemanded(demandId);
        deadline = uint40(block.timestamp) + answerWindow;
        _demands[demandId] = OpenDemand(msg.sender, deadline, since, lane);
        ++_bonds[lane].openDemands;
    }

    function _demandId(Demand kind, uint48 batchId, bytes26 commitment, bytes32 subject)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(kind, batchId, commitment, subject));
    }

    /// @dev A batch from before the lane's bond was answered for by another one. Reverts also as `requireCommitted` does.
    function _requireChallengeable(uint48 batchId, bytes26 commitment, Place calldata place)
        private
        view
        returns (uint40 since, uint40 committedAt)
    {
        committedAt = requireCommitted(batchId, commitment, place);
        uint40 until = committedAt + challengeWindow;
        if (block.timestamp > until) revert WindowOver(batchId, until);
        Bond memory bond = _bonds[uint16(batchId >> 32)];
        if (bond.amount == 0 || committedAt < bond.since) revert NoBond(batchId);
        return (bond.since, committedAt);
    }

    function _openDemand(bytes32 demandId) private view returns (OpenDemand memory open) {
        open = _demands[demandId];
        if (open.demander == address(0)) revert UnknownDemand(demandId);
    }

    /// @dev Whether the bond under which the demand was made is still there.
    // slither-disable-next-line incorrect-equality (which bond it is, not how much of something)
    function _answersFor(OpenDemand memory open) private view returns (bool) {
        Bond memory bond = _bonds[open.lane];
        return bond.amount != 0 && bond.since == open.since;
    }
}
