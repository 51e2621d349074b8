// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.4;

import { Answer, ICoreChainBatches, Span, Tally } from "corechain/consumer/AnswerTypes.sol";
import { Metrics } from "corechain/consumer/Metrics.sol";
import { ProvenAnswers } from "corechain/consumer/ProvenAnswers.sol";

/// @title The newest temperature of one device, proven
contract Thermometer {
    ICoreChainBatches public immutable batches;
    address public immutable device;
    uint64 public immutable cell;

    /// @notice Sum and count of what was shown last, in hundredths of a degree Celsius, and when its newest batch was committed.
    int128 public sum;
    uint64 public count;
    uint40 public committedAt;

    constructor(ICoreChainBatches from, address sensor, uint64 place) {
        (batches, device, cell) = (from, sensor, place);
    }

    /// @notice Takes an answer of lane 0 that is at most a minute old.
    function show(uint40 start, uint40 end, Answer calldata answer) external {
        Span memory span =
            Span(0, Metrics.AIR_TEMPERATURE, cell, device, start, end, type(uint40).max);
        Tally memory found = ProvenAnswers.proveNewest(batches, span, answer, 1 minutes);
        (sum, count, committedAt) = (found.sum, found.count, found.newest);
    }
}
