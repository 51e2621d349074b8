// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { BatchHeader, Key, Receipt, Statistics } from "../interfaces/BatchTypes.sol";
import { BatchHeaders } from "../libraries/BatchHeaders.sol";
import { Eip712 } from "../libraries/Eip712.sol";
import { PositionalTree } from "../libraries/PositionalTree.sol";
import { Receipts } from "../libraries/Receipts.sol";
import { StatisticsTree } from "../libraries/StatisticsTree.sol";

/// @title The pure libraries, many cases a call: to be compared with their Python twins. Tests only.
contract Libraries {
    struct Inclusion {
        bytes leaf;
        uint32 position;
        bytes26[] proof;
    }

    struct Range {
        bytes26 root;
        uint32 count;
        Key low;
        Key high;
        uint32 from;
        uint32 to;
        bytes leaves;
        bytes nodes;
    }

    function leaves(bytes[] calldata preimages) external pure returns (bytes26[] memory found) {
        found = new bytes26[](preimages.length);
        for (uint256 i = 0; i < preimages.length; ++i) {
            found[i] = PositionalTree.hash26(preimages[i]);
        }
    }

    function roots(Inclusion[] calldata cases) external pure returns (bytes26[] memory found) {
        found = new bytes26[](cases.length);
        for (uint256 i = 0; i < cases.length; ++i) {
            Inclusion calldata one = cases[i];
            found[i] = PositionalTree.rootOf(bytes26(keccak256(one.leaf)), one.position, one.proof);
        }
    }

    function groups(uint48[] calldata firsts, bytes[] calldata packed)
        external
        pure
        returns (bytes26[] memory found)
    {
        found = new bytes26[](firsts.length);
        for (uint256 i = 0; i < firsts.length; ++i) {
            found[i] = BatchHeaders.groupRoot(firsts[i], packed[i], packed[i].length / 26);
        }
    }

    function commitments(BatchHeader[] calldata headers, bytes26[] calldata readings)
        external
        pure
        returns (bytes26[] memory found)
    {
        found = new bytes26[](headers.length);
        for (uint256 i = 0; i < headers.length; ++i) {
            found[i] = BatchHeaders.commitment(readings[i], BatchHeaders.restHash(headers[i]));
        }
    }

    function ancestors(uint48[] calldata batchIds) external pure returns (uint48[] memory found) {
        found = new uint48[](batchIds.length);
        for (uint256 i = 0; i < batchIds.length; ++i) {
            found[i] = BatchHeaders.ancestorOf(batchIds[i]);
        }
    }

    function ranges(Range[] calldata cases) external pure returns (Statistics[] memory found) {
        found = new Statistics[](cases.length);
        for (uint256 i = 0; i < cases.length; ++i) {
            Range calldata one = cases[i];
            found[i] = StatisticsTree.verify(
                one.root, one.count, one.low, one.high, one.from, one.to, one.leaves, one.nodes
            );
        }
    }

    function receipts(Receipt[] calldata cases, address batches)
        external
        view
        returns (bytes32[] memory found)
    {
        found = new bytes32[](cases.length);
        for (uint256 i = 0; i < cases.length; ++i) {
            found[i] = Receipts.digest(cases[i], batches);
        }
    }

    function digests(bytes32 nameHash, bytes32[] calldata structHashes)
        external
        view
        returns (bytes32[] memory found)
    {
        found = new bytes32[](structHashes.length);
        for (uint256 i = 0; i < structHashes.length; ++i) {
            found[i] = Eip712.digest(nameHash, structHashes[i]);
        }
    }
}
