// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4 <0.9.0;

import { Key, Statistics } from "../interfaces/BatchTypes.sol";
import { ILaneBonds } from "../interfaces/ILaneBonds.sol";
import { Anchor, Answer, ICoreChainBatches, Span, Step, Tally } from "./AnswerTypes.sol";

/// @title Count, sum, min and max of a device's readings, with nothing left out
/// @notice A contract says what it wants to know (`Span`); anybody brings the API's answer as calldata. Every batch of the lane is there,
/// each follows the one before, each is committed on this chain; within a batch the readings next to the range are shown. So the result is
/// the same whoever brings it: all that was committed up to `closesAt`, no less and no more.
/// @dev All functions are internal: nothing is deployed besides the contract that uses them. Long spans are taken in several
/// transactions: keep the `Tally`, and `take` the next steps.
library ProvenAnswers {
    /// @notice A header or proof does not lead to what is on chain.
    error InvalidProof();
    /// @notice A batch is missing, is out of order, was passed over though it may hold readings, or does not close the span.
    error RangeIncomplete(uint48 batchId);
    /// @notice The bond that answers for the batches is gone, or came after them: a fraud was shown, or nobody can show one any more.
    error NoBond(uint48 batchId);
    /// @notice The batches can be challenged, and demands be answered, up to `until` (seconds).
    error NotFinal(uint40 until);
    /// @notice The newest batch of the answer was committed then: too long ago.
    error StaleAnswer(uint40 committedAt);

    /// @notice The whole answer in one call: begun, complete, closed. Call `requireFinal` before money moves.
    /// @param batches DataBatches, from the deployment's manifest
    function prove(ICoreChainBatches batches, Span memory span, Answer calldata answer)
        internal
        view
        returns (Tally memory tally)
    {
        tally = begin(batches, span, answer.before);
        take(batches, span, tally, answer.steps);
        close(batches, span, tally, answer.behind);
    }

    /// @notice The newest state: complete up to a batch that was committed at most `maxAge` seconds ago. `answer.behind` is not read.
    function proveNewest(ICoreChainBatches batches, Span memory span, Answer calldata answer, uint40 maxAge)
        internal
        view
        returns (Tally memory tally)
    {
        tally = begin(batches, span, answer.before);
        take(batches, span, tally, answer.steps);
        if (age(tally) > maxAge) revert StaleAnswer(tally.newest);
    }

    /// @notice Where the first step follows: a batch that was committed before the span started, so that it and all before it hold
    /// nothing of the span; or number 0, the beginning of the lane.
    function begin(ICoreChainBatches batches, Span memory span, Anchor calldata before)
        internal
        view
        returns (Tally memory tally)
    {
        if (before.batchId >> 32 != span.lane) revert InvalidProof();
        tally.batchId = before.batchId;
        if (uint32(before.batchId) == 0) return tally;
        uint40 committedAt = batches.requireCommitted(before.batchId, before.commitment, before.place);
        if (committedAt >= span.start) revert RangeIncomplete(before.batchId);
        tally.commitment = before.commitment;
    }

    /// @notice Adds the next batches. Steps that were taken before are passed over, so nobody is stopped by who was quicker.
    function take(ICoreChainBatches batches, Span memory span, Tally memory tally, Step[] calldata steps)
        internal
        view
    {
        if (tally.closed) revert RangeIncomplete(tally.batchId);
        for (uint256 i = 0; i < steps.length; ++i) {
            if (steps[i].header.batchId > tally.batchId) _take(batches, span, tally, steps[i]);
        }
    }

    /// @notice Closes the span by the neighbour behind the last step: it was committed after `closesAt`.
    function close(ICoreChainBatches batches, Span memory span, Tally memory tally, Anchor calldata behind)
        internal
        view
    {
        if (behind.batchId != tally.batchId + 1) revert RangeIncomplete(tally.batchId + 1);
        uint40 committedAt = batches.requireCommitted(behind.batchId, behind.commitment, behind.place);
        if (committedAt <= span.closesAt) revert RangeIncomplete(behind.batchId);
        tally.closed = true;
    }

    /// @notice Reverts while a batch of a closed tally can be challenged or a demand be open, and for good when the bond is gone.
    function requireFinal(ICoreChainBatches batches, Tally memory tally) internal view {
        if (!tally.closed) revert RangeIncomplete(tally.batchId + 1);
        ILaneBonds.Bond memory bond = batches.bondOf(uint16(tally.batchId >> 32));
        if (bond.amount == 0 || (tally.newest != 0 && bond.since > tally.oldest)) {
            revert NoBond(tally.batchId);
        }
        uint40 until = tally.newest + batches.challengeWindow() + batches.answerWindow();
        if (block.timestamp <= until) revert NotFinal(until);
    }

    /// @notice Seconds since the newest batch was committed; since 1970 where there is none.
    function age(Tally memory tally) internal view returns (uint256) {
        return block.timestamp - tally.newest;
    }

    /// @notice Whether the mean is above a threshold in scaled units; never of nothing. Without a division, so without rounding.
    function isMeanAbove(Tally memory tally, int32 threshold) internal pure returns (bool) {
        return tally.count != 0 && int256(tally.sum) > int256(threshold) * int256(uint256(tally.count));
    }

    function _take(ICoreChainBatches batches, Span memory span, Tally memory tally, Step calldata step)
        private
        view
    {
        uint48 batchId = tally.batchId + 1;
        if (step.header.batchId != batchId || step.header.previous != tally.commitment) {
            revert RangeIncomplete(batchId);
        }
        bytes26 commitment =
            bytes26(keccak256(abi.encodePacked(step.readingsRoot, keccak256(abi.encode(step.header)))));
        uint40 committedAt = batches.requireCommitted(batchId, commitment, step.place);
        if (committedAt > span.closesAt) revert RangeIncomplete(batchId);
        if (step.leaves.length != 0) {
            _add(tally, _statistics(batches, span, commitment, step));
        } else if (step.header.windowEnd >= span.start && step.header.windowStart <= span.end) {
            revert RangeIncomplete(batchId);
        }
        (tally.batchId, tally.commitment) = (batchId, commitment);
        // Batches may overtake each other on their way to the chain.
        if (tally.oldest == 0 || committedAt < tally.oldest) tally.oldest = committedAt;
        if (committedAt > tally.newest) tally.newest = committedAt;
    }

    function _statistics(ICoreChainBatches batches, Span memory span, bytes26 commitment, Step calldata step)
        private
        pure
        returns (Statistics memory)
    {
        Key memory low = Key(span.metric, span.cell, span.device, span.start);
        Key memory high = Key(span.metric, span.cell, span.device, span.end);
        return batches.verifyRangeIn(
            commitment, step.header, step.readingsRoot, low, high, step.from, step.to, step.leaves, step.nodes
        );
    }

    function _add(Tally memory tally, Statistics memory found) private pure {
        if (found.count == 0) return;
        bool first = tally.count == 0;
        if (first || found.min < tally.min) tally.min = found.min;
        if (first || found.max > tally.max) tally.max = found.max;
        tally.count += found.count;
        tally.sum += found.sum;
    }
}
