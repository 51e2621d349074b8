// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import { Answer, ICoreChainBatches, Span, Tally } from "@corechain/contracts/consumer/AnswerTypes.sol";
import { Metrics } from "@corechain/contracts/consumer/Metrics.sol";
import { ProvenAnswers } from "@corechain/contracts/consumer/ProvenAnswers.sol";

/// @title Whether a day was hot, by proven readings
contract Hot {
    ICoreChainBatches public immutable batches;
    bool public wasHot;

    constructor(ICoreChainBatches dataBatches) {
        batches = dataBatches;
    }

    /// @notice Anybody brings the answer of the API (`client.contract_answer(…).as_abi()`).
    function settle(uint64 cell, address device, uint40 start, Answer calldata answer) external {
        uint40 end = start + 1 days - 1;
        Span memory span = Span(0, Metrics.AIR_TEMPERATURE, cell, device, start, end, end + 1 days);
        Tally memory found = ProvenAnswers.prove(batches, span, answer);
        ProvenAnswers.requireFinal(batches, found);
        wasHot = ProvenAnswers.isMeanAbove(found, 35 * Metrics.AIR_TEMPERATURE_SCALE);
    }
}
