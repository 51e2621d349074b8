// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { BatchHeaders } from "../../../contracts/libraries/BatchHeaders.sol";
import { PositionalTree } from "../../../contracts/libraries/PositionalTree.sol";
import { Reports } from "../../../contracts/libraries/Reports.sol";

/// For all bytes there are: a tree is climbed and built as docs/protocol.md tells, and a report is read as it is laid out.
contract BatchProofs {
    /// Of three levels.
    function check_a_tree_is_climbed_as_its_nodes_are_hashed(
        bytes26 leaf,
        uint8 position,
        bytes26[3] calldata side
    ) public view {
        if (leaf == 0 || position >= 8) return;
        bytes26 node = leaf;
        for (uint256 level = 0; level < 3; ++level) {
            bool right = position >> level & 1 == 1;
            node = right ? _node(side[level], node) : _node(node, side[level]);
        }
        bytes26[] memory proof = new bytes26[](3);
        (proof[0], proof[1], proof[2]) = (side[0], side[1], side[2]);
        assert(this.climb(leaf, position, proof) == node);
        assert(this.climbPacked(leaf, position, bytes.concat(side[0], side[1], side[2])) == node);
    }

    function check_no_leaf_and_no_position_beyond_the_tree_leads_anywhere(
        bytes26 leaf,
        uint256 position,
        bytes26[3] calldata side
    ) public view {
        bytes26[] memory proof = new bytes26[](3);
        (proof[0], proof[1], proof[2]) = (side[0], side[1], side[2]);
        try this.climb(leaf, position, proof) returns (bytes26) {
            assert(leaf != 0 && position < 8);
        } catch {
            assert(leaf == 0 || position >= 8);
        }
    }

    /// Of one to four batches; the padding is zero, whatever memory held.
    function check_a_group_is_the_tree_over_its_batches(uint48 first, bytes26[4] calldata c, bytes32 dirt)
        public
        view
    {
        bytes26[4] memory leaf;
        for (uint48 i = 0; i < 4; ++i) {
            if (first > type(uint48).max - 3) return;
            leaf[i] = bytes26(keccak256(abi.encodePacked(c[i], first + i)));
        }
        assert(this.group(first, bytes.concat(c[0]), dirt) == leaf[0]);
        assert(this.group(first, bytes.concat(c[0], c[1]), dirt) == _node(leaf[0], leaf[1]));
        bytes26 three = _node(_node(leaf[0], leaf[1]), _node(leaf[2], 0));
        assert(this.group(first, bytes.concat(c[0], c[1], c[2]), dirt) == three);
        bytes26 four = _node(_node(leaf[0], leaf[1]), _node(leaf[2], leaf[3]));
        assert(this.group(first, bytes.concat(c[0], c[1], c[2], c[3]), dirt) == four);
    }

    function check_a_report_of_one_observation_is_read_as_laid_out(
        address device,
        uint64 sequence,
        uint16 count,
        bytes19 one,
        bytes32[2] calldata signature
    ) public view {
        bytes memory report = abi.encodePacked(device, sequence, count, one, signature[0], signature[1]);
        assert(this.isReport(report) == (count == 1));
        if (count == 1) assert(this.isRead(report, device, sequence, one));
    }

    function check_a_report_is_as_long_as_its_count_says(bytes calldata report) public pure {
        if (!Reports.isCanonical(report)) return;
        uint256 count = Reports.countOf(report);
        assert(count >= 1 && count <= 1024 && report.length == 94 + 19 * count);
    }

    function climb(bytes26 leaf, uint256 position, bytes26[] calldata proof) external pure returns (bytes26) {
        return PositionalTree.rootOf(leaf, position, proof);
    }

    function climbPacked(bytes26 leaf, uint256 position, bytes calldata proof)
        external
        pure
        returns (bytes26)
    {
        return PositionalTree.rootOfPacked(leaf, position, proof);
    }

    function group(uint48 first, bytes calldata commitments, bytes32 dirt) external pure returns (bytes26) {
        assembly ("memory-safe") {
            let free := mload(0x40)
            for { let i := 0 } lt(i, 256) { i := add(i, 32) } { mstore(add(free, i), dirt) }
        }
        return BatchHeaders.groupRoot(first, commitments, commitments.length / 26);
    }

    function isReport(bytes calldata report) external pure returns (bool) {
        return Reports.isCanonical(report);
    }

    function isRead(bytes calldata report, address device, uint64 sequence, bytes19 one)
        external
        pure
        returns (bool)
    {
        uint224 place = uint224(uint160(device)) << 64 | sequence;
        return Reports.deviceOf(report) == device && Reports.sequenceOf(report) == sequence
            && Reports.placeOf(report) == place && Reports.observation(report, 0) == one;
    }

    function _node(bytes26 left, bytes26 right) private pure returns (bytes26) {
        return bytes26(keccak256(bytes.concat(left, right)));
    }
}
