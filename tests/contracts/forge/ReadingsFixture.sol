// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { BatchFixture } from "./BatchFixture.sol";
import { BatchHeader, Reading } from "../../../contracts/interfaces/BatchTypes.sol";

/// A batch of readings, with both trees told without the libraries.
abstract contract ReadingsFixture is BatchFixture {
    bytes[] internal leaves;
    BatchHeader internal header;
    bytes26 internal readingsRoot;

    function setUp() public {
        _deploy();
        _activate(0, address(this));
    }

    function _commit(uint48 batchId, bytes26 commitment) internal {
        batches.commit(batchId, commitment);
    }

    function _reading(uint256 i, int32 value) internal pure returns (Reading memory) {
        return Reading(1, 2, address(3), uint40(1000 + 2 * i), value, 1);
    }

    function _pack(Reading memory r) internal pure returns (bytes memory) {
        return abi.encodePacked(r.metric, r.cell, r.device, r.observedAt, r.value, r.flag);
    }

    function _depth() internal view returns (uint256 depth) {
        while ((1 << depth) < leaves.length) ++depth;
    }

    function _plain(uint256 level, uint256 index) internal view returns (bytes26) {
        if (index << level >= leaves.length) return 0;
        if (level == 0) return bytes26(keccak256(leaves[index]));
        bytes26 left = _plain(level - 1, 2 * index);
        return bytes26(keccak256(abi.encodePacked(left, _plain(level - 1, 2 * index + 1))));
    }

    function _value(uint256 i) internal view returns (int32) {
        bytes memory leaf = leaves[i];
        return int32(
            uint32(uint8(leaf[35])) << 24 | uint32(uint8(leaf[36])) << 16 | uint32(uint8(leaf[37])) << 8
                | uint32(uint8(leaf[38]))
        );
    }

    /// The packed node of a subtree: 42 bytes.
    function _node(uint256 level, uint256 index) internal view returns (bytes memory) {
        if (index << level >= leaves.length) return new bytes(42);
        if (level == 0) {
            int32 value = _value(index);
            return abi.encodePacked(bytes26(keccak256(leaves[index])), int64(value), value, value);
        }
        bytes memory left = _node(level - 1, 2 * index);
        bytes memory right = _node(level - 1, 2 * index + 1);
        (int64 sum, int32 low, int32 high) = _statistics(index << level, (index + 1) << level);
        return abi.encodePacked(bytes26(keccak256(bytes.concat(left, right))), sum, low, high);
    }

    function _statistics(uint256 from, uint256 to) internal view returns (int64 sum, int32 low, int32 high) {
        for (uint256 i = from; i < to && i < leaves.length; ++i) {
            int32 value = _value(i);
            sum += value;
            low = i == from || value < low ? value : low;
            high = i == from || value > high ? value : high;
        }
    }

    function _plainProof(uint256 position) internal view returns (bytes26[] memory proof) {
        proof = new bytes26[](_depth());
        for (uint256 level = 0; level < proof.length; ++level) {
            proof[level] = _plain(level, (position >> level) ^ 1);
        }
    }

    function _seal(uint256 count, uint256 seed) internal {
        for (uint256 i = 0; i < count; ++i) {
            leaves.push(_pack(_reading(i, int32(int256(uint256(keccak256(abi.encode(seed, i))))))));
        }
        readingsRoot = _plain(_depth(), 0);
        header.batchId = 1;
        header.statisticsRoot = bytes26(keccak256(_node(_depth(), 0)));
        header.readingCount = uint32(count);
        _commit(1, bytes26(keccak256(abi.encodePacked(readingsRoot, keccak256(abi.encode(header))))));
    }

    function _rest() internal view returns (bytes32) {
        return keccak256(abi.encode(header));
    }
}
