// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { StatisticsPath } from "../../../contracts/libraries/StatisticsPath.sol";

/// For all nodes there are: who can show the way down to each reading of a tree has told their statistics.
contract StatisticsProofs {
    struct Node {
        bytes26 hash;
        int64 sum;
        int32 min;
        int32 max;
    }

    /// Of two readings. Both ways show the same pair: 26 bytes of keccak-256 have no second preimage that anybody could show.
    function check_ways_down_to_both_readings_tell_their_statistics(
        Node calldata top,
        Node[2] calldata pair,
        int32[2] calldata values
    ) public view {
        bytes26 root = bytes26(keccak256(_pack(top)));
        if (!_holds(root, 2, _way(0, top, pair), 0, values[0])) return;
        if (!_holds(root, 2, _way(1, top, pair), 1, values[1])) return;
        assert(int256(top.sum) == int256(values[0]) + values[1]);
        assert(top.min == (values[0] < values[1] ? values[0] : values[1]));
        assert(top.max == (values[0] > values[1] ? values[0] : values[1]));
    }

    function check_the_way_down_of_an_honest_tree_holds(int32[2] calldata values) public view {
        Node[2] memory leaves = [_leaf(values[0]), _leaf(values[1])];
        if (leaves[0].hash == 0 || leaves[1].hash == 0) return; // nobody has seen such a reading
        bytes memory pair = bytes.concat(_pack(leaves[0]), _pack(leaves[1]));
        int32 min = values[0] < values[1] ? values[0] : values[1];
        int32 max = values[0] > values[1] ? values[0] : values[1];
        Node memory top = Node(bytes26(keccak256(pair)), int64(values[0]) + values[1], min, max);
        bytes26 root = bytes26(keccak256(_pack(top)));
        for (uint32 i = 0; i < 2; ++i) {
            assert(_holds(root, 2, bytes.concat(bytes4(i), _pack(top), pair), i, values[i]));
        }
    }

    /// Of one reading, which has padding beside it when the header counts it as the third.
    function check_a_last_reading_stands_beside_nothing(
        Node calldata top,
        Node[2] calldata upper,
        Node[2] calldata lower,
        int32 value
    ) public view {
        bytes26 root = bytes26(keccak256(_pack(top)));
        bytes memory path = bytes.concat(_way(2, top, upper), _pack(lower[0]), _pack(lower[1]));
        if (!_holds(root, 3, path, 2, value)) return;
        assert(upper[1].sum == value && upper[1].min == value && upper[1].max == value);
        assert(lower[1].hash == 0 && lower[1].sum == 0 && lower[1].min == 0 && lower[1].max == 0);
        assert(int256(top.sum) == int256(upper[0].sum) + value);
    }

    function holds(bytes26 root, uint256 count, bytes calldata path, uint256 position, bytes calldata reading)
        external
        pure
        returns (bool)
    {
        return StatisticsPath.holds(root, count, path, position, reading);
    }

    function _holds(bytes26 root, uint256 count, bytes memory path, uint256 position, int32 value)
        private
        view
        returns (bool)
    {
        try this.holds(root, count, path, position, _reading(value)) returns (bool found) {
            return found;
        } catch {
            return false;
        }
    }

    function _reading(int32 value) private pure returns (bytes memory) {
        return abi.encodePacked(uint16(1), uint64(2), address(3), uint40(4), value, uint8(1));
    }

    function _leaf(int32 value) private pure returns (Node memory) {
        return Node(bytes26(keccak256(_reading(value))), value, value, value);
    }

    function _way(uint32 index, Node calldata top, Node[2] calldata pair)
        private
        pure
        returns (bytes memory)
    {
        return bytes.concat(bytes4(index), _pack(top), _pack(pair[0]), _pack(pair[1]));
    }

    function _pack(Node memory node) private pure returns (bytes memory) {
        return abi.encodePacked(node.hash, node.sum, node.min, node.max);
    }
}
