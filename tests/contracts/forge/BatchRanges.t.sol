// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ReadingsFixture } from "./ReadingsFixture.sol";
import { BatchHeader, Key, Reading, Statistics } from "../../../contracts/interfaces/BatchTypes.sol";
import { IDataBatches } from "../../../contracts/interfaces/IDataBatches.sol";
import { InvalidProof } from "../../../contracts/libraries/PositionalTree.sol";

/// given a batch of readings
///   ├── statistics of any range are those of its readings
///   ├── value cannot be moved between siblings (statistics forged in the tree)
///   ├── a proof that is too short, too long, or of nodes that no readings have is refused
///   └── a range that omits a reading at its edge is refused, and so is a range that is called empty
contract BatchRangesTest is ReadingsFixture {
    function _shown(uint256 position, uint256 from, uint256 to) internal pure returns (bool) {
        if (position + 1 == from || position == to) return true;
        return from != to && (position == from || position + 1 == to);
    }

    function _anyShown(uint256 first, uint256 behind, uint256 from, uint256 to) internal view returns (bool) {
        for (uint256 i = first; i < behind && i < leaves.length; ++i) {
            if (_shown(i, from, to)) return true;
        }
        return false;
    }

    function _cover(uint256 level, uint256 index, uint256 from, uint256 to)
        internal
        view
        returns (bytes memory)
    {
        uint256 first = index << level;
        if (first >= leaves.length) return "";
        if (!_anyShown(first, first + (1 << level), from, to)) return _node(level, index);
        if (level == 0) return "";
        return
            bytes.concat(_cover(level - 1, 2 * index, from, to), _cover(level - 1, 2 * index + 1, from, to));
    }

    function _shownLeaves(uint256 from, uint256 to) internal view returns (bytes memory shown) {
        for (uint256 i = 0; i < leaves.length; ++i) {
            if (_shown(i, from, to)) shown = bytes.concat(shown, leaves[i]);
        }
    }

    function _keyAt(uint256 i) internal pure returns (Key memory) {
        return Key(1, 2, address(3), uint40(1000 + 2 * i));
    }

    function _verify(uint256 from, uint256 to, Key memory low, Key memory high)
        internal
        view
        returns (Statistics memory)
    {
        bytes memory nodes = _cover(_depth(), 0, from, to);
        bytes memory shown = _shownLeaves(from, to);
        return batches.verifyRange(header, readingsRoot, low, high, uint32(from), uint32(to), shown, nodes);
    }

    function test_statistics_are_those_of_the_readings(uint8 size, uint256 seed, uint8 a, uint8 b) public {
        uint256 count = bound(size, 1, 20);
        _seal(count, seed);
        uint256 from = bound(a, 0, count - 1);
        uint256 to = bound(b, from + 1, count);
        Statistics memory found = _verify(from, to, _keyAt(from), _keyAt(to - 1));
        (int64 sum, int32 low, int32 high) = _statistics(from, to);
        assertEq(found.count, to - from);
        assertEq(found.sum, sum);
        assertEq(found.min, low);
        assertEq(found.max, high);
    }

    function test_an_empty_range_is_proven_by_its_neighbours(uint8 size, uint256 seed, uint8 where) public {
        uint256 count = bound(size, 1, 20);
        _seal(count, seed);
        uint256 gap = bound(where, 0, count);
        Key memory between = Key(1, 2, address(3), uint40(999 + 2 * gap));
        Statistics memory found = _verify(gap, gap, between, between);
        assertEq(found.count, 0);
        assertEq(found.sum, int256(0));
        assertEq(found.min, int256(0));
        assertEq(found.max, int256(0));
    }

    function test_a_range_that_is_not_empty_cannot_be_shown_as_empty(uint8 size, uint256 seed, uint8 where)
        public
    {
        uint256 count = bound(size, 1, 20);
        _seal(count, seed);
        uint256 gap = bound(where, 0, count - 1);
        (bytes memory nodes, bytes memory shown) = (_cover(_depth(), 0, gap, gap), _shownLeaves(gap, gap));
        Key memory key = _keyAt(gap);
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.RangeIncomplete.selector, uint32(gap)));
        batches.verifyRange(header, readingsRoot, key, key, uint32(gap), uint32(gap), shown, nodes);
    }

    function test_a_range_that_omits_a_reading_is_refused(uint8 size, uint256 seed, uint8 a) public {
        uint256 count = bound(size, 3, 20);
        _seal(count, seed);
        uint256 from = bound(a, 1, count - 2);
        Key memory low = _keyAt(from - 1);
        Key memory high = _keyAt(count - 1);
        bytes memory nodes = _cover(_depth(), 0, from, count);
        bytes memory shown = _shownLeaves(from, count);
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.RangeIncomplete.selector, uint32(from - 1)));
        batches.verifyRange(header, readingsRoot, low, high, uint32(from), uint32(count), shown, nodes);
    }

    function test_value_moved_between_siblings_is_refused(uint256 seed, int64 moved) public {
        vm.assume(moved != 0 && moved > -1e15 && moved < 1e15);
        _seal(16, seed);
        bytes memory nodes = _cover(_depth(), 0, 8, 16);
        bytes memory shown = _shownLeaves(8, 16);
        // The first two nodes lie side by side outside the range: take from one, give to the other.
        _addToSum(nodes, 0, moved);
        _addToSum(nodes, 1, -moved);
        vm.expectRevert(InvalidProof.selector);
        batches.verifyRange(header, readingsRoot, _keyAt(8), _keyAt(15), 8, 16, shown, nodes);
    }

    function _addToSum(bytes memory nodes, uint256 node, int64 amount) internal pure {
        uint256 start = node * 42 + 26;
        uint64 sum = 0;
        for (uint256 i = 0; i < 8; ++i) {
            sum = sum << 8 | uint8(nodes[start + i]);
        }
        unchecked {
            sum = uint64(int64(sum) + amount);
        }
        for (uint256 i = 0; i < 8; ++i) {
            nodes[start + 7 - i] = bytes1(uint8(sum >> (8 * i)));
        }
    }

    function test_a_range_proof_with_something_left_over_is_refused(uint256 seed) public {
        _seal(16, seed);
        bytes memory nodes = bytes.concat(_cover(_depth(), 0, 4, 8), _node(0, 0));
        bytes memory shown = _shownLeaves(4, 8);
        vm.expectRevert(InvalidProof.selector);
        batches.verifyRange(header, readingsRoot, _keyAt(4), _keyAt(7), 4, 8, shown, nodes);
    }

    function test_a_batch_that_is_not_in_the_ring_proves_nothing(uint48 batchId) public {
        vm.assume(batchId != 1);
        _seal(2, 1);
        bytes26[] memory proof = _plainProof(0);
        bytes32 rest = _rest();
        Reading memory reading = _reading(0, _value(0));
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.UnknownBatch.selector, batchId));
        batches.verifyReading(batchId, reading, 0, rest, proof);
    }

    function test_a_proof_that_ends_early_is_refused(uint256 seed, uint8 cut) public {
        _seal(16, seed);
        bytes memory nodes = _cover(_depth(), 0, 4, 8);
        bytes memory shown = _shownLeaves(4, 8);
        (Key memory low, Key memory high) = (_keyAt(4), _keyAt(7));
        bytes memory shorter = _cut(nodes, bound(cut, 0, nodes.length - 1));
        vm.expectRevert(InvalidProof.selector);
        batches.verifyRange(header, readingsRoot, low, high, 4, 8, shown, shorter);
        shorter = _cut(shown, bound(cut, 0, shown.length - 1));
        vm.expectRevert(InvalidProof.selector);
        batches.verifyRange(header, readingsRoot, low, high, 4, 8, shorter, nodes);
    }

    function _cut(bytes memory whole, uint256 size) internal pure returns (bytes memory part) {
        part = new bytes(size);
        for (uint256 i = 0; i < size; ++i) {
            part[i] = whole[i];
        }
    }

    function test_a_range_outside_the_batch_is_refused(uint256 seed, uint32 from, uint32 to) public {
        _seal(4, seed);
        vm.assume(from > to || to > 4);
        (Key memory low, Key memory high) = (_keyAt(0), _keyAt(3));
        vm.expectRevert(InvalidProof.selector);
        batches.verifyRange(header, readingsRoot, low, high, from, to, leaves[0], "");
    }

    function test_keys_must_be_in_order(uint256 seed) public {
        _seal(4, seed);
        (bytes memory nodes, bytes memory shown) = (_cover(_depth(), 0, 1, 3), _shownLeaves(1, 3));
        (Key memory low, Key memory high) = (_keyAt(2), _keyAt(1));
        vm.expectRevert(InvalidProof.selector);
        batches.verifyRange(header, readingsRoot, low, high, 1, 3, shown, nodes);
    }

    function test_another_header_proves_nothing(uint256 seed, bytes32 dataHash) public {
        vm.assume(dataHash != 0);
        _seal(4, seed);
        (bytes memory nodes, bytes memory shown) = (_cover(_depth(), 0, 1, 3), _shownLeaves(1, 3));
        (Key memory low, Key memory high) = (_keyAt(1), _keyAt(2));
        BatchHeader memory other = header;
        other.dataHash = dataHash;
        vm.expectRevert(InvalidProof.selector);
        batches.verifyRange(other, readingsRoot, low, high, 1, 3, shown, nodes);
    }

    function test_a_padding_node_cannot_stand_for_readings(uint256 seed) public {
        _seal(16, seed);
        bytes memory nodes = _cover(_depth(), 0, 8, 16);
        for (uint256 i = 0; i < 42; ++i) {
            nodes[i] = 0;
        }
        (bytes memory shown, Key memory low, Key memory high) = (_shownLeaves(8, 16), _keyAt(8), _keyAt(15));
        vm.expectRevert(InvalidProof.selector);
        batches.verifyRange(header, readingsRoot, low, high, 8, 16, shown, nodes);
    }

    /// A forged leaf is no proof at all, wherever its key lies: the same answer as in Python.
    function test_a_forged_boundary_is_an_invalid_proof_not_an_incomplete_range(uint256 seed, uint40 time)
        public
    {
        vm.assume(time != 1008);
        _seal(16, seed);
        bytes memory nodes = _cover(_depth(), 0, 4, 16);
        Reading memory forged = _reading(4, _value(4));
        forged.observedAt = time;
        bytes memory shown = bytes.concat(leaves[3], _pack(forged), leaves[15]);
        (Key memory low, Key memory high) = (_keyAt(4), _keyAt(15));
        vm.expectRevert(InvalidProof.selector);
        batches.verifyRange(header, readingsRoot, low, high, 4, 16, shown, nodes);
    }

    function _forged(bytes26 hash, int64 sum) internal pure returns (bytes memory) {
        return abi.encodePacked(hash, sum, int32(0), int32(0));
    }

    function _parent(bytes memory left, bytes memory right, int64 sum, int32 low, int32 high)
        internal
        pure
        returns (bytes memory)
    {
        return abi.encodePacked(bytes26(keccak256(bytes.concat(left, right))), sum, low, high);
    }

    /// A submitter that forges its own tree: huge sums inside, balanced outside, so that every node fits its type.
    function test_a_sum_that_no_readings_have_is_refused() public {
        for (uint256 i = 0; i < 8; ++i) {
            leaves.push(_pack(_reading(i, 0)));
        }
        (int64 huge, bytes26 any) = (2 ** 62, bytes26(uint208(1)));
        bytes memory down = _forged(any, -huge);
        bytes memory up = _forged(any, huge);
        bytes memory left =
            _parent(_parent(down, _node(0, 1), -huge, 0, 0), _parent(_node(0, 2), up, huge, 0, 0), 0, 0, 0);
        bytes memory right =
            _parent(_parent(up, _node(0, 5), huge, 0, 0), _parent(_node(0, 6), down, -huge, 0, 0), 0, 0, 0);
        header.batchId = 1;
        header.readingCount = 8;
        header.statisticsRoot = bytes26(keccak256(_parent(left, right, 0, 0, 0)));
        _commit(1, bytes26(keccak256(abi.encodePacked(readingsRoot, keccak256(abi.encode(header))))));
        bytes memory nodes = bytes.concat(down, up, up, down);
        (bytes memory shown, Key memory low, Key memory high) = (_shownLeaves(2, 6), _keyAt(2), _keyAt(5));
        vm.expectRevert(InvalidProof.selector);
        batches.verifyRange(header, readingsRoot, low, high, 2, 6, shown, nodes);
    }

    function test_sums_that_leave_their_type_on_the_way_are_refused(uint256 seed) public {
        _seal(16, seed);
        bytes memory nodes = _cover(_depth(), 0, 8, 16);
        bytes memory most = abi.encodePacked(type(int64).max);
        for (uint256 i = 0; i < 8; ++i) {
            (nodes[26 + i], nodes[68 + i]) = (most[i], most[i]);
        }
        (bytes memory shown, Key memory low, Key memory high) = (_shownLeaves(8, 16), _keyAt(8), _keyAt(15));
        vm.expectRevert(InvalidProof.selector);
        batches.verifyRange(header, readingsRoot, low, high, 8, 16, shown, nodes);
    }
}
