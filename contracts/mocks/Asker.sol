// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Anchor, Answer, ICoreChainBatches, Span, Step, Tally } from "../consumer/AnswerTypes.sol";
import { ProvenAnswers } from "../consumer/ProvenAnswers.sol";

/// A contract that asks. The span is a parameter here, so that tests can ask anything; yours should make it itself.
contract Asker {
    ICoreChainBatches internal immutable batches;

    constructor(ICoreChainBatches from) {
        batches = from;
    }

    function prove(Span memory span, Answer calldata answer) external view returns (Tally memory) {
        return ProvenAnswers.prove(batches, span, answer);
    }

    function proveNewest(Span memory span, Answer calldata answer, uint40 maxAge)
        external
        view
        returns (Tally memory)
    {
        return ProvenAnswers.proveNewest(batches, span, answer, maxAge);
    }

    function begin(Span memory span, Anchor calldata before) external view returns (Tally memory) {
        return ProvenAnswers.begin(batches, span, before);
    }

    function take(Span memory span, Tally memory tally, Step[] calldata steps)
        external
        view
        returns (Tally memory)
    {
        ProvenAnswers.take(batches, span, tally, steps);
        return tally;
    }

    function close(Span memory span, Tally memory tally, Anchor calldata behind)
        external
        view
        returns (Tally memory)
    {
        ProvenAnswers.close(batches, span, tally, behind);
        return tally;
    }

    function requireFinal(Tally memory tally) external view {
        ProvenAnswers.requireFinal(batches, tally);
    }

    function isMeanAbove(Tally memory tally, int32 threshold) external pure returns (bool) {
        return ProvenAnswers.isMeanAbove(tally, threshold);
    }

    function age(Tally memory tally) external view returns (uint256) {
        return ProvenAnswers.age(tally);
    }
}
