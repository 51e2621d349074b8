// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "../Base.sol";
import { PlainTree } from "./PlainTree.sol";

/// A statistics tree, one node at a time, of which any node can be forged.
abstract contract StatisticsFixture is Test {
    bytes[] internal leaves;
    mapping(uint256 level => mapping(uint256 index => bytes packed)) internal forged;

    function _leaf(uint16 metric, uint64 cell, uint160 device, uint40 time, int32 value)
        internal
        pure
        returns (bytes memory)
    {
        return abi.encodePacked(metric, cell, device, time, value, uint8(1));
    }

    /// Leaves of one device, two seconds apart from 1000 on, their values any.
    function _seal(uint256 count, bytes32 seed) internal {
        for (uint256 i = 0; i < count; ++i) {
            int32 value = int32(int256(uint256(keccak256(abi.encode(seed, i)))));
            leaves.push(_leaf(1, 2, 3, uint40(1000 + 2 * i), value));
        }
    }

    function _value(uint256 i) internal view returns (int32 value) {
        bytes memory leaf = leaves[i];
        assembly ("memory-safe") {
            value := sar(224, mload(add(leaf, 67)))
        }
    }

    function _depth() internal view returns (uint256) {
        return PlainTree.depth(leaves.length);
    }

    /// hash 26 ‖ sum 8 ‖ min 4 ‖ max 4
    function _node(uint256 level, uint256 index) internal view returns (bytes memory) {
        if (forged[level][index].length != 0) return forged[level][index];
        if (index << level >= leaves.length) return new bytes(42);
        (int64 sum, int32 min, int32 max) = _statistics(index << level, (index + 1) << level);
        return abi.encodePacked(_hash(level, index), sum, min, max);
    }

    function _hash(uint256 level, uint256 index) internal view returns (bytes26) {
        if (level == 0) return bytes26(keccak256(leaves[index]));
        return bytes26(keccak256(_children(level, index)));
    }

    function _children(uint256 level, uint256 index) internal view returns (bytes memory) {
        return bytes.concat(_node(level - 1, 2 * index), _node(level - 1, 2 * index + 1));
    }

    function _statistics(uint256 from, uint256 to) internal view returns (int64 sum, int32 min, int32 max) {
        for (uint256 i = from; i < to && i < leaves.length; ++i) {
            int32 value = _value(i);
            sum += value;
            min = i == from || value < min ? value : min;
            max = i == from || value > max ? value : max;
        }
    }

    function _root() internal view returns (bytes26) {
        return bytes26(keccak256(_node(_depth(), 0)));
    }

    /// The same hash with other statistics.
    function _forge(uint256 level, uint256 index, int64 sum, int32 min, int32 max) internal {
        bytes26 hash = index << level < leaves.length ? _hash(level, index) : bytes26(0);
        forged[level][index] = abi.encodePacked(hash, sum, min, max);
    }
}
