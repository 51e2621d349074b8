// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Key, Statistics } from "../../../../contracts/interfaces/BatchTypes.sol";
import { StatisticsTree } from "../../../../contracts/libraries/StatisticsTree.sol";

contract StatisticsTreeCaller {
    function verify(
        bytes26 root,
        uint256 count,
        Key[2] calldata bounds,
        uint256 from,
        uint256 to,
        bytes calldata leaves,
        bytes calldata nodes
    ) external pure returns (Statistics memory) {
        return StatisticsTree.verify(root, count, bounds[0], bounds[1], from, to, leaves, nodes);
    }
}
