// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import { Place } from "@corechain/contracts/interfaces/BatchTypes.sol";
import { ILaneBonds } from "@corechain/contracts/interfaces/ILaneBonds.sol";

/// @title As much of DataBatches as the tests of `Hot` ask
contract Stub {
    uint40 public constant challengeWindow = 1 hours;
    uint40 public constant answerWindow = 1 hours;
    mapping(uint48 => uint40) public committedAt;

    function commit(uint48 batchId, uint40 time) external {
        committedAt[batchId] = time;
    }

    function requireCommitted(uint48 batchId, bytes26, Place calldata) external view returns (uint40) {
        return committedAt[batchId];
    }

    function bondOf(uint16) external pure returns (ILaneBonds.Bond memory bond) {
        bond.amount = 1;
    }
}
