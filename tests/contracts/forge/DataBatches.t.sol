// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "./Base.sol";
import { DataBatches } from "../../../contracts/DataBatches.sol";
import {
    BatchHeader,
    IDataBatches,
    Key,
    Reading,
    Statistics
} from "../../../contracts/interfaces/IDataBatches.sol";
import { InvalidProof } from "../../../contracts/libraries/PositionalTree.sol";

/// given a lane with a submitter
///   when the submitter commits
///     ├── it is provable, in any order within a lap
///     ├── it is committed once
///     ├── it takes the place of exactly the batch one lap earlier
///     └── many in one transaction are the same as one by one
///   when somebody else commits, or on another lane
///     └── it is refused
/// given a batch of readings
///   ├── every reading is proven at its position, and only there
///   ├── a changed reading, node, header or batch is not proven
///   ├── an inner node cannot pass as a reading
///   ├── statistics of any range are those of its readings
///   ├── value cannot be moved between siblings (statistics forged in the tree)
///   └── a range that omits a reading at its edge is refused
contract DataBatchesTest is Test {
    uint256 internal constant RING = 8192;
    DataBatches internal batches;
    address internal submitter = makeAddr("submitter");

    bytes[] internal leaves;
    BatchHeader internal header;
    bytes26 internal readingsRoot;

    function setUp() public {
        batches = new DataBatches(address(this));
        batches.assignLane(0, submitter);
    }

    function _commit(uint48 batchId, bytes26 commitment) internal {
        vm.prank(submitter);
        batches.commit(batchId, commitment);
    }

    // ---------------------------------------------------------------- commitments

    function test_a_committed_batch_is_provable(uint32 number, bytes26 commitment) public {
        number = uint32(bound(number, 1, RING));
        vm.assume(commitment != 0);
        _commit(number, commitment);
        assertEq(bytes32(batches.commitmentOf(number)), bytes32(commitment));
    }

    function test_a_batch_is_committed_once(uint32 number, bytes26 one, bytes26 two) public {
        number = uint32(bound(number, 1, RING));
        vm.assume(one != 0 && two != 0);
        _commit(number, one);
        vm.prank(submitter);
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.AlreadyCommitted.selector, uint48(number)));
        batches.commit(number, two);
    }

    function test_batches_may_overtake_each_other_within_a_lap() public {
        _commit(3, bytes26(uint208(3)));
        _commit(1, bytes26(uint208(1)));
        _commit(2, bytes26(uint208(2)));
        assertEq(bytes32(batches.commitmentOf(2)), bytes32(bytes26(uint208(2))));
    }

    function test_a_slot_moves_on_by_exactly_one_lap(uint32 number) public {
        number = uint32(bound(number, 1, RING));
        _commit(number, bytes26(uint208(1)));
        uint48 next = uint48(number + RING);
        uint48 after2 = uint48(number + 2 * RING);
        vm.prank(submitter);
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.OutOfOrder.selector, after2, uint48(number)));
        batches.commit(after2, bytes26(uint208(2)));
        _commit(next, bytes26(uint208(3)));
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.UnknownBatch.selector, uint48(number)));
        batches.commitmentOf(number);
        vm.prank(submitter);
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.AlreadyCommitted.selector, uint48(number)));
        batches.commit(number, bytes26(uint208(4)));
    }

    function test_an_empty_slot_takes_only_its_first_lap(uint32 number) public {
        number = uint32(bound(number, RING + 1, type(uint32).max));
        vm.prank(submitter);
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.OutOfOrder.selector, uint48(number), uint48(0)));
        batches.commit(number, bytes26(uint208(1)));
    }

    function test_only_the_lanes_submitter_commits(address stranger, uint16 lane) public {
        vm.assume(stranger != submitter && stranger != address(0));
        uint48 batchId = uint48(uint256(lane) << 32 | 1);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.NotSubmitter.selector, lane, stranger));
        batches.commit(batchId, bytes26(uint208(1)));
    }

    function test_lanes_do_not_share_slots() public {
        batches.assignLane(7, submitter);
        uint48 other = uint48(uint256(7) << 32 | 1);
        _commit(1, bytes26(uint208(1)));
        _commit(other, bytes26(uint208(2)));
        assertEq(bytes32(batches.commitmentOf(1)), bytes32(bytes26(uint208(1))));
        assertEq(bytes32(batches.commitmentOf(other)), bytes32(bytes26(uint208(2))));
    }

    function test_number_zero_and_the_zero_commitment_are_refused() public {
        vm.startPrank(submitter);
        vm.expectRevert(IDataBatches.ZeroNumber.selector);
        batches.commit(0, bytes26(uint208(1)));
        vm.expectRevert(IDataBatches.ZeroCommitment.selector);
        batches.commit(1, 0);
    }

    function test_many_at_once_are_the_same_as_one_by_one(uint8 count) public {
        bytes26[] memory many = new bytes26[](bound(count, 1, 40));
        for (uint256 i = 0; i < many.length; ++i) {
            many[i] = bytes26(keccak256(abi.encode(i)));
        }
        vm.prank(submitter);
        batches.commitMany(1, many);
        for (uint256 i = 0; i < many.length; ++i) {
            assertEq(bytes32(batches.commitmentOf(uint48(i + 1))), bytes32(many[i]));
        }
    }

    function test_many_at_once_stay_in_their_lane() public {
        batches.assignLane(0, submitter);
        bytes26[] memory many = new bytes26[](2);
        vm.prank(submitter);
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.OutOfOrder.selector, type(uint32).max, uint48(0)));
        batches.commitMany(type(uint32).max, many);
    }

    function test_the_admin_role_goes_over_in_two_steps(address next, address stranger) public {
        vm.assume(next != address(this) && stranger != next && stranger != address(this));
        batches.offerAdmin(next);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.NotAdmin.selector, next, stranger));
        batches.acceptAdmin();
        vm.prank(next);
        batches.acceptAdmin();
        assertEq(batches.admin(), next);
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.NotAdmin.selector, next, address(this)));
        batches.assignLane(1, submitter);
    }

    // ---------------------------------------------------------------------- trees

    function _reading(uint256 i, int32 value) internal pure returns (Reading memory) {
        return Reading(1, 2, address(3), uint40(1000 + i), value, 1);
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

    function test_every_reading_is_proven_at_its_position_only(uint8 size, uint256 seed, uint8 at) public {
        uint256 count = bound(size, 1, 33);
        _seal(count, seed);
        uint256 position = bound(at, 0, count - 1);
        Reading memory reading = _reading(position, _value(position));
        bytes26[] memory proof = _plainProof(position);
        batches.verifyReading(1, reading, uint32(position), _rest(), proof);
        for (uint256 other = 0; other < 2 ** proof.length; ++other) {
            if (other == position) continue;
            vm.expectRevert(InvalidProof.selector);
            batches.verifyReading(1, reading, uint32(other), _rest(), proof);
        }
    }

    function test_a_changed_reading_is_not_proven(uint8 size, uint256 seed, int32 value) public {
        uint256 count = bound(size, 1, 33);
        _seal(count, seed);
        vm.assume(value != _value(0));
        bytes26[] memory proof = _plainProof(0);
        bytes32 rest = _rest();
        vm.expectRevert(InvalidProof.selector);
        batches.verifyReading(1, _reading(0, value), 0, rest, proof);
    }

    function test_a_changed_node_or_header_is_not_proven(uint256 seed, uint8 level, bytes26 node) public {
        _seal(17, seed);
        bytes26[] memory proof = _plainProof(5);
        Reading memory reading = _reading(5, _value(5));
        bytes32 rest = _rest();
        vm.expectRevert(InvalidProof.selector);
        batches.verifyReading(1, reading, 5, keccak256(abi.encode(rest)), proof);
        uint256 chosen = bound(level, 0, proof.length - 1);
        vm.assume(node != proof[chosen]);
        proof[chosen] = node;
        vm.expectRevert(InvalidProof.selector);
        batches.verifyReading(1, reading, 5, rest, proof);
    }

    function test_a_position_outside_the_tree_is_refused(uint256 seed, uint32 position) public {
        _seal(8, seed);
        position = uint32(bound(position, 8, type(uint32).max));
        bytes26[] memory proof = _plainProof(0);
        bytes32 rest = _rest();
        Reading memory reading = _reading(0, _value(0));
        vm.expectRevert(InvalidProof.selector);
        batches.verifyReading(1, reading, position, rest, proof);
    }

    /// A node's preimage has 52 bytes, a reading's 40: no choice of fields makes one the other.
    function test_an_inner_node_cannot_pass_as_a_reading(uint256 seed) public {
        _seal(4, seed);
        bytes memory preimage = abi.encodePacked(_plain(0, 0), _plain(0, 1));
        assertEq(preimage.length, 52);
        assertEq(leaves[0].length, 40);
        bytes26[] memory shorter = new bytes26[](1);
        shorter[0] = _plain(1, 1);
        Reading memory forged = Reading(uint16(bytes2(preimage)), 0, address(0), 0, 0, 0);
        bytes32 rest = _rest();
        vm.expectRevert(InvalidProof.selector);
        batches.verifyReading(1, forged, 0, rest, shorter);
    }

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
        return Key(1, 2, address(3), uint40(1000 + i));
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

    function test_an_empty_range_is_proven_by_its_neighbours(uint256 seed) public {
        _seal(9, seed);
        Key memory high = Key(1, 2, address(4), 0);
        Statistics memory found = _verify(9, 9, Key(1, 2, address(3), 2000), high);
        assertEq(found.count, 0);
        assertEq(found.sum, int256(0));
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
        uint256 at = node * 42 + 26;
        uint64 sum = 0;
        for (uint256 i = 0; i < 8; ++i) {
            sum = sum << 8 | uint8(nodes[at + i]);
        }
        unchecked {
            sum = uint64(int64(sum) + amount);
        }
        for (uint256 i = 0; i < 8; ++i) {
            nodes[at + 7 - i] = bytes1(uint8(sum >> (8 * i)));
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
}
