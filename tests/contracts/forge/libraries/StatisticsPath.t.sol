// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { StatisticsFixture } from "./StatisticsFixture.sol";
import { InvalidProof } from "../../../../contracts/libraries/PositionalTree.sol";
import { StatisticsPath } from "../../../../contracts/libraries/StatisticsPath.sol";

contract StatisticsPathCaller {
    function hasWrongParent(bytes26 root, uint256 count, bytes calldata path) external pure returns (bool) {
        return StatisticsPath.hasWrongParent(root, count, path);
    }

    function hasOtherLeaf(
        bytes26 root,
        uint256 count,
        bytes calldata path,
        uint256 position,
        bytes calldata reading
    ) external pure returns (bool) {
        return StatisticsPath.hasOtherLeaf(root, count, path, position, reading);
    }

    function holds(bytes26 root, uint256 count, bytes calldata path, uint256 position, bytes calldata reading)
        external
        pure
        returns (bool)
    {
        return StatisticsPath.holds(root, count, path, position, reading);
    }
}

/// given a statistics tree
///   ├── no node of an honest one is a wrong parent, no leaf another's
///   ├── a parent with another sum, minimum or maximum is one, and so is one with readings where padding belongs or the other way round
///   ├── a leaf with another hash, sum, minimum or maximum is another's
///   ├── a way down holds if no node on it is wrong and the leaf is the reading's
///   └── a path that does not lead there, by shape or by hash, is refused
contract StatisticsPathTest is StatisticsFixture {
    StatisticsPathCaller internal paths = new StatisticsPathCaller();

    /// The path to the children of a node.
    function _path(uint256 level, uint256 index) private view returns (bytes memory path) {
        path = bytes.concat(bytes4(uint32(index)), _node(_depth(), 0));
        for (uint256 above = _depth(); above >= level && above > 0; --above) {
            path = bytes.concat(path, _children(above, index >> (above - level)));
        }
    }

    function _isWrong(uint256 level, uint256 index) private view returns (bool) {
        return paths.hasWrongParent(_root(), leaves.length, _path(level, index));
    }

    /// The path to a leaf is that to its parent's children, with the leaf's own position.
    function _leafPath(uint256 position) private view returns (bytes memory path) {
        return
            _depth() == 0 ? bytes.concat(bytes4(0), _node(0, 0)) : _indexed(_path(1, position / 2), position);
    }

    function _indexed(bytes memory path, uint256 index) private pure returns (bytes memory) {
        for (uint256 i = 0; i < 4; ++i) {
            path[3 - i] = bytes1(uint8(index >> (8 * i)));
        }
        return path;
    }

    function _isOther(uint256 position) private view returns (bool) {
        return paths.hasOtherLeaf(_root(), leaves.length, _leafPath(position), position, leaves[position]);
    }

    function _refused(bytes26 root, uint256 count, bytes memory path) private {
        vm.expectRevert(InvalidProof.selector);
        paths.hasWrongParent(root, count, path);
    }

    function test_an_honest_tree_has_no_wrong_parent_and_no_other_leaf(bytes32 seed, uint8 size) public {
        _seal(bound(size, 1, 9), seed);
        for (uint256 level = 1; level <= _depth(); ++level) {
            for (uint256 index = 0; index << level < leaves.length; ++index) {
                assertFalse(_isWrong(level, index));
            }
        }
        for (uint256 i = 0; i < leaves.length; ++i) {
            assertFalse(_isOther(i));
        }
    }

    function _forgedAt(uint256 level, uint256 index, int64 sum, int32 min, int32 max) private returns (bool) {
        _forge(level, index, sum, min, max);
        bool wrong = _isWrong(level, index);
        delete forged[level][index];
        return wrong;
    }

    function test_a_parent_with_other_statistics_is_wrong(bytes32 seed, uint8 size, uint8 place) public {
        _seal(bound(size, 2, 9), seed);
        for (uint256 level = 1; level <= _depth(); ++level) {
            uint256 index = bound(place, 0, (leaves.length - 1) >> level);
            (int64 sum, int32 min, int32 max) = _statistics(index << level, (index + 1) << level);
            unchecked {
                assertTrue(_forgedAt(level, index, sum + 1, min, max), "sum");
                assertTrue(_forgedAt(level, index, sum - 1, min, max), "sum");
                assertTrue(_forgedAt(level, index, sum, min + 1, max), "minimum");
                assertTrue(_forgedAt(level, index, sum, min - 1, max), "minimum");
                assertTrue(_forgedAt(level, index, sum, min, max + 1), "maximum");
                assertTrue(_forgedAt(level, index, sum, min, max - 1), "maximum");
            }
        }
    }

    function test_readings_in_place_of_padding_are_wrong(bytes32 seed) public {
        _seal(5, seed);
        forged[1][3] = abi.encodePacked(bytes26(uint208(1)), int64(0), int32(0), int32(0));
        assertTrue(_isWrong(2, 1), "hash");
        _forge(1, 3, 1, 0, 0);
        assertTrue(_isWrong(2, 1), "sum");
        _forge(1, 3, 0, -1, 0);
        assertTrue(_isWrong(2, 1), "minimum");
        _forge(1, 3, 0, 0, 1);
        assertTrue(_isWrong(2, 1), "maximum");
    }

    /// Padding has no statistics: zero must not count as a minimum or a maximum.
    function test_padding_in_place_of_readings_is_wrong(bytes32 seed) public {
        _seal(8, seed);
        (int64 sum, int32 min, int32 max) = _statistics(4, 6);
        forged[1][3] = new bytes(42);
        _forge(2, 1, sum, min < 0 ? min : int32(0), max > 0 ? max : int32(0));
        assertTrue(_isWrong(2, 1), "right");
        delete forged[1][3];
        forged[1][2] = new bytes(42);
        (sum, min, max) = _statistics(6, 8);
        _forge(2, 1, sum, min < 0 ? min : int32(0), max > 0 ? max : int32(0));
        assertTrue(_isWrong(2, 1), "left");
    }

    function test_a_forged_sum_does_not_hide_behind_an_overflow() public {
        _seal(4, 0);
        _forge(1, 0, type(int64).max, 0, 0);
        _forge(1, 1, 1, 0, 0);
        _forge(2, 0, type(int64).min, 0, 0);
        assertTrue(_isWrong(2, 0));
    }

    function test_a_path_without_a_pair_or_below_the_leaves_is_refused(bytes32 seed) public {
        _seal(4, seed);
        bytes memory path = _path(2, 0);
        _refused(_root(), 4, bytes.concat(bytes4(0), _node(2, 0)));
        _refused(_root(), 2, _path(1, 0));
        assertFalse(paths.hasWrongParent(_root(), 4, path));
        _refused(_root(), 1, path);
    }

    function test_an_index_beyond_its_level_is_refused(bytes32 seed) public {
        _seal(8, seed);
        for (uint256 level = 1; level <= 3; ++level) {
            uint256 behind = 8 >> level;
            _refused(_root(), 8, _indexed(_path(level, behind - 1), 2 * behind - 1));
            _refused(_root(), 8, _indexed(_path(level, 0), behind));
        }
    }

    function test_a_path_has_whole_pairs(bytes32 seed, uint16 length) public {
        _seal(4, seed);
        bytes memory path = bytes.concat(_path(1, 1), _path(1, 1));
        uint256 cut = bound(length, 0, 350);
        assembly ("memory-safe") {
            mstore(path, cut)
        }
        vm.assume(cut < 46 || (cut - 46) % 84 != 0);
        _refused(_root(), 4, path);
        vm.expectRevert(InvalidProof.selector);
        paths.hasOtherLeaf(_root(), 4, path, 2, leaves[2]);
    }

    function test_every_byte_of_a_path_counts(bytes32 seed, uint16 place, uint8 change) public {
        _seal(5, seed);
        vm.assume(change != 0);
        bytes memory path = _path(1, 1);
        path[bound(place, 4, path.length - 1)] ^= bytes1(change);
        _refused(_root(), 5, path);
        path = _leafPath(2);
        path[bound(place, 4, path.length - 1)] ^= bytes1(change);
        vm.expectRevert(InvalidProof.selector);
        paths.hasOtherLeaf(_root(), 5, path, 2, leaves[2]);
    }

    function test_a_path_to_the_wrong_side_is_refused(bytes32 seed) public {
        _seal(8, seed);
        for (uint32 index = 0; index < 4; ++index) {
            if (index == 1) continue;
            _refused(_root(), 8, _indexed(_path(1, 1), index));
        }
        _refused(bytes26(uint208(1)), 8, _path(1, 1));
    }

    /// A padding node whose "children" somebody knows must not become a parent of readings.
    function _hasNoChildren(uint256 level, uint256 index) private {
        bytes memory pair = bytes.concat(_node(0, 0), _node(0, 1));
        forged[level][index] = abi.encodePacked(bytes26(keccak256(pair)), int64(0), int32(0), int32(0));
        bytes memory path = _path(level + 1, index / 2);
        _refused(_root(), leaves.length, bytes.concat(_indexed(path, index), pair));
        delete forged[level][index];
    }

    function test_padding_has_no_children(bytes32 seed) public {
        _seal(5, seed);
        for (uint256 count = 5; count < 13; ++count) {
            for (uint256 level = 1; level < _depth(); ++level) {
                for (uint256 index = 0; index < 2 ** (_depth() - level); ++index) {
                    if (index << level >= count) _hasNoChildren(level, index);
                }
            }
            leaves.push(_leaf(1, 2, 3, uint40(2000 + count), 7));
        }
    }

    function _otherAt(uint256 i, int64 sum, int32 min, int32 max) private returns (bool) {
        _forge(0, i, sum, min, max);
        bool other = _isOther(i);
        delete forged[0][i];
        return other;
    }

    function test_a_leaf_with_another_value_is_anothers(bytes32 seed, uint8 size, uint8 place) public {
        _seal(bound(size, 1, 9), seed);
        uint256 i = bound(place, 0, leaves.length - 1);
        int32 value = _value(i);
        vm.assume(value < type(int32).max);
        assertTrue(_otherAt(i, int64(value) + 1, value, value), "sum");
        assertTrue(_otherAt(i, value, value + 1, value), "minimum");
        assertTrue(_otherAt(i, value, value, value + 1), "maximum");
        forged[0][i] = abi.encodePacked(bytes26(uint208(1)), int64(value), value, value);
        assertTrue(_isOther(i), "hash");
    }

    function test_a_leaf_stands_at_its_position_at_full_depth(bytes32 seed) public {
        _seal(4, seed);
        (bytes26 root, bytes memory path) = (_root(), _leafPath(2));
        bytes memory short = _indexed(_path(2, 0), 2);
        vm.expectRevert(InvalidProof.selector);
        paths.hasOtherLeaf(root, 4, path, 3, leaves[3]);
        vm.expectRevert(InvalidProof.selector);
        paths.hasOtherLeaf(root, 4, short, 2, leaves[2]);
        vm.expectRevert(InvalidProof.selector);
        paths.hasOtherLeaf(root, 5, path, 2, leaves[2]);
    }

    // ---------------------------------------------------------------------------------- the whole way down

    function _holds(uint256 i) private view returns (bool) {
        return paths.holds(_root(), leaves.length, _leafPath(i), i, leaves[i]);
    }

    function test_every_way_down_an_honest_tree_holds(bytes32 seed, uint8 size) public {
        _seal(bound(size, 1, 17), seed);
        for (uint256 i = 0; i < leaves.length; ++i) {
            assertTrue(_holds(i));
        }
    }

    function _heldBelow(uint256 level, uint256 index, int64 sum, int32 min, int32 max) private {
        _forge(level, index, sum, min, max);
        for (uint256 i = 0; i < leaves.length; ++i) {
            if (i >> level == index) assertFalse(_holds(i));
        }
        delete forged[level][index];
    }

    function test_no_way_down_holds_past_a_wrong_node(bytes32 seed, uint8 size, uint8 place) public {
        _seal(bound(size, 1, 9), seed);
        uint256 level = place % (_depth() + 1);
        uint256 index = bound(place, 0, (leaves.length - 1) >> level);
        (int64 sum, int32 min, int32 max) = _statistics(index << level, (index + 1) << level);
        vm.assume(min > type(int32).min && max < type(int32).max);
        _heldBelow(level, index, sum + 1, min, max);
        _heldBelow(level, index, sum, min - 1, max);
        _heldBelow(level, index, sum, min, max + 1);
    }

    /// What is forged on a way is seen from that way, and the rest of the tree holds: so each position is asked for.
    function test_a_forged_node_that_agrees_with_its_parent_is_seen_from_below_only(bytes32 seed) public {
        _seal(8, seed);
        (int64 sum, int32 min, int32 max) = _statistics(0, 2);
        _forge(1, 0, sum + 1, min, max);
        (sum, min, max) = _statistics(0, 4);
        _forge(2, 0, sum + 1, min, max);
        (sum, min, max) = _statistics(0, 8);
        _forge(3, 0, sum + 1, min, max);
        for (uint256 i = 0; i < 8; ++i) {
            assertTrue(_holds(i) == (i >= 2));
        }
    }

    function test_readings_behind_the_last_one_do_not_hold(bytes32 seed) public {
        _seal(5, seed);
        forged[1][3] = abi.encodePacked(bytes26(uint208(1)), int64(0), int32(0), int32(0));
        assertFalse(_holds(4));
        delete forged[1][3];
        forged[0][5] = _node(0, 4);
        assertFalse(_holds(4));
    }

    function test_a_way_down_is_of_its_position_at_full_depth(bytes32 seed, uint16 place, uint8 change)
        public
    {
        _seal(5, seed);
        (bytes26 root, bytes memory path) = (_root(), _leafPath(2));
        bytes memory short = _indexed(_path(2, 0), 2);
        vm.expectRevert(InvalidProof.selector);
        paths.holds(root, 5, path, 3, leaves[3]);
        vm.expectRevert(InvalidProof.selector);
        paths.holds(root, 5, short, 2, leaves[2]);
        vm.expectRevert(InvalidProof.selector);
        paths.holds(root, 9, path, 2, leaves[2]);
        vm.expectRevert(InvalidProof.selector);
        paths.holds(bytes26(uint208(1)), 5, path, 2, leaves[2]);
        assertFalse(paths.holds(root, 5, path, 2, leaves[3]));
        vm.assume(change != 0);
        path[bound(place, 4, path.length - 1)] ^= bytes1(change);
        vm.expectRevert(InvalidProof.selector);
        paths.holds(root, 5, path, 2, leaves[2]);
    }
}
