// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { StatisticsFixture } from "./StatisticsFixture.sol";
import { Key, Statistics } from "../../../../contracts/interfaces/BatchTypes.sol";
import { IDataBatches } from "../../../../contracts/interfaces/IDataBatches.sol";
import { InvalidProof } from "../../../../contracts/libraries/PositionalTree.sol";

/// Of StatisticsTreeHost.sol, which is not imported: so a mutant of the library compiles without its tests. (Alone: `forge build` first.)
interface IStatisticsTreeCaller {
    function verify(
        bytes26 root,
        uint256 count,
        Key[2] calldata bounds,
        uint256 from,
        uint256 to,
        bytes calldata leaves,
        bytes calldata nodes
    ) external pure returns (Statistics memory);
}

/// given a statistics tree and a range of keys
///   ├── statistics of every range are those of its readings
///   ├── keys are compared by metric, cell, device and time, in this order
///   ├── the first boundary leaf on the wrong side is named
///   ├── a proof that is too short, too long, out of range, or of another tree is refused
///   └── a sum that leaves its type is refused wherever it is formed
contract StatisticsTreeTest is StatisticsFixture {
    struct Proof {
        bytes26 root;
        uint256 count;
        Key[2] bounds;
        uint256 from;
        uint256 to;
        bytes leaves;
        bytes nodes;
    }

    IStatisticsTreeCaller internal tree = IStatisticsTreeCaller(address(0x40577));

    function setUp() public {
        deployCodeTo("StatisticsTreeHost.sol:StatisticsTreeCaller", address(tree));
    }

    function _at(uint256 time) private pure returns (Key memory) {
        return Key(1, 2, address(3), uint40(time));
    }

    function _isShown(uint256 i, uint256 from, uint256 to) private pure returns (bool) {
        if (i + 1 == from || i == to) return true;
        return from != to && (i == from || i + 1 == to);
    }

    /// Leaves and nodes of a range, from the left.
    function _cover(Proof memory proof, uint256 level, uint256 index) private view {
        bool shows = false;
        if (index << level >= leaves.length) return;
        for (uint256 i = index << level; i < (index + 1) << level && i < leaves.length; ++i) {
            shows = shows || _isShown(i, proof.from, proof.to);
        }
        if (!shows) {
            proof.nodes = bytes.concat(proof.nodes, _node(level, index));
        } else if (level == 0) {
            proof.leaves = bytes.concat(proof.leaves, leaves[index]);
        } else {
            _cover(proof, level - 1, 2 * index);
            _cover(proof, level - 1, 2 * index + 1);
        }
    }

    /// Bounds lie between the readings, as wide as they may.
    function _prove(uint256 from, uint256 to) private view returns (Proof memory proof) {
        Key[2] memory bounds = [_at(999 + 2 * from), _at(999 + 2 * to)];
        proof = Proof(_root(), leaves.length, bounds, from, to, "", "");
        _cover(proof, _depth(), 0);
    }

    function _ask(Proof memory p) private view returns (Statistics memory) {
        return tree.verify(p.root, p.count, p.bounds, p.from, p.to, p.leaves, p.nodes);
    }

    function _refused(Proof memory p) private {
        vm.expectRevert(InvalidProof.selector);
        tree.verify(p.root, p.count, p.bounds, p.from, p.to, p.leaves, p.nodes);
    }

    function _incomplete(Proof memory p, uint256 position) private {
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.RangeIncomplete.selector, uint32(position)));
        tree.verify(p.root, p.count, p.bounds, p.from, p.to, p.leaves, p.nodes);
    }

    function _same(Statistics memory found, uint256 from, uint256 to) private view {
        (int64 sum, int32 min, int32 max) = _statistics(from, to);
        assertEq(found.count, to - from);
        assertEq(found.sum, sum);
        assertEq(found.min, min);
        assertEq(found.max, max);
    }

    function test_statistics_of_every_range_are_those_of_its_readings(bytes32 seed, uint8 size) public {
        _seal(bound(size, 1, 11), seed);
        for (uint256 from = 0; from <= leaves.length; ++from) {
            for (uint256 to = from; to <= leaves.length; ++to) {
                _same(_ask(_prove(from, to)), from, to);
            }
        }
    }

    function test_bounds_may_be_the_keys_of_the_first_and_the_last(bytes32 seed, uint8 a, uint8 b) public {
        _seal(9, seed);
        uint256 from = bound(a, 0, 8);
        uint256 to = bound(b, from + 1, 9);
        Proof memory proof = _prove(from, to);
        proof.bounds = [_at(1000 + 2 * from), _at(998 + 2 * to)];
        _same(_ask(proof), from, to);
    }

    function test_the_first_leaf_on_the_wrong_side_is_named(bytes32 seed, uint8 a, uint8 b) public {
        _seal(9, seed);
        uint256 from = bound(a, 1, 7);
        uint256 to = bound(b, from, 8);
        Proof memory proof = _prove(from, to);
        Key[2] memory bounds = proof.bounds;
        proof.bounds = [_at(998 + 2 * from), bounds[1]];
        _incomplete(proof, from - 1);
        proof.bounds = [bounds[0], _at(1000 + 2 * to)];
        _incomplete(proof, to);
        proof.bounds = [_at(0), _at(9999)];
        _incomplete(proof, from - 1);
        if (from == to) return;
        proof.bounds = [_at(1001 + 2 * from), _at(1001 + 2 * to)];
        _incomplete(proof, from);
        proof.bounds = [bounds[0], _at(997 + 2 * to)];
        if (from + 1 < to) _incomplete(proof, to - 1);
    }

    /// A step of −1, 0 or 1 in each field.
    function _near(uint256 steps) private pure returns (Key memory key) {
        key.metric = uint16(6 + steps % 3);
        key.cell = uint64(2 ** 63 + (steps / 3) % 3);
        key.device = address(uint160(2 ** 159 + (steps / 9) % 3));
        key.observedAt = uint40(2 ** 39 + (steps / 27) % 3);
    }

    /// The order as one number: a digit a field.
    function _line(Key memory key) private pure returns (uint256) {
        uint256 cell = key.cell - 2 ** 63;
        uint256 device = uint160(key.device) - 2 ** 159;
        return uint256(key.metric) * 1000 + cell * 100 + device * 10 + (key.observedAt - 2 ** 39);
    }

    function test_keys_are_compared_field_by_field(bytes32 seed) public {
        leaves.push("");
        for (uint256 i = 0; i < 24; ++i) {
            bytes32 steps = keccak256(abi.encode(seed, i));
            _compare(_near(uint8(steps[0])), _near(uint8(steps[1])), _near(uint8(steps[2])));
        }
    }

    function _compare(Key memory key, Key memory low, Key memory high) private {
        leaves[0] = _leaf(key.metric, key.cell, uint160(key.device), key.observedAt, 5);
        Proof memory proof = Proof(_root(), 1, [low, high], 0, 1, leaves[0], "");
        if (_line(high) < _line(low)) return _refused(proof);
        bool inside = _line(low) <= _line(key) && _line(key) <= _line(high);
        if (inside) assertEq(_ask(proof).count, 1);
        else _incomplete(proof, 0);
        proof.to = 0;
        if (_line(high) < _line(key)) assertEq(_ask(proof).count, 0);
        else _incomplete(proof, 0);
        (proof.from, proof.to) = (1, 1);
        if (_line(key) < _line(low)) assertEq(_ask(proof).count, 0);
        else _incomplete(proof, 0);
    }

    function test_a_range_lies_in_the_batch(bytes32 seed) public {
        _seal(4, seed);
        Proof memory proof = _prove(4, 4);
        (proof.to, proof.from) = (5, 5);
        _refused(proof);
        (proof.from, proof.to) = (3, 2);
        _refused(proof);
        proof = Proof(bytes26(keccak256(new bytes(42))), 0, [_at(0), _at(1)], 0, 0, "", "");
        _refused(proof);
    }

    function test_a_range_needs_a_root_and_a_count_of_its_own(bytes32 seed, bytes26 other) public {
        _seal(5, seed);
        Proof memory proof = _prove(2, 4);
        vm.assume(other != proof.root);
        proof.root = other;
        _refused(proof);
        proof = _prove(2, 4);
        proof.count = 6;
        _refused(proof);
    }

    function test_a_proof_has_no_byte_less_and_none_more(bytes32 seed) public {
        _seal(9, seed);
        Proof memory proof = _prove(3, 7);
        (bytes memory shown, bytes memory nodes) = (proof.leaves, proof.nodes);
        proof.nodes = bytes.concat(nodes, hex"00");
        _refused(proof);
        proof.nodes = _shorter(nodes);
        _refused(proof);
        (proof.leaves, proof.nodes) = (bytes.concat(shown, hex"00"), nodes);
        _refused(proof);
        proof.leaves = _shorter(shown);
        _refused(proof);
    }

    function _shorter(bytes memory whole) private pure returns (bytes memory part) {
        part = bytes.concat(whole);
        assembly ("memory-safe") {
            mstore(part, sub(mload(part), 1))
        }
    }

    /// A node without a hash would hide its readings, also under parents that were made for it.
    function test_a_padding_node_cannot_stand_for_readings(bytes32 seed) public {
        _seal(8, seed);
        forged[1][3] = new bytes(42);
        _refused(_prove(3, 5));
        (int64 sum, int32 min, int32 max) = _statistics(4, 6);
        _forge(2, 1, sum, min, max);
        (sum, min, max) = _statistics(0, 6);
        _forge(3, 0, sum, min, max);
        _refused(_prove(3, 5));
    }

    /// Readings that are all zero, of which only those of the boundary are shown.
    function _sparse(Proof memory proof, uint256 level, uint256 index) private pure returns (bytes memory) {
        (uint256 first, uint256 behind) = (index << level, (index + 1) << level);
        bytes26 hash = bytes26(uint208(7));
        if (first > proof.from && behind < proof.to) {
            proof.nodes = bytes.concat(proof.nodes, hash, new bytes(16));
        } else if (level == 0) {
            bytes memory leaf = _leaf(1, 2, 3, uint40(1000 + 2 * index), 0);
            proof.leaves = bytes.concat(proof.leaves, leaf);
            hash = bytes26(keccak256(leaf));
        } else {
            bytes memory left = _sparse(proof, level - 1, 2 * index);
            hash = bytes26(keccak256(bytes.concat(left, _sparse(proof, level - 1, 2 * index + 1))));
        }
        return bytes.concat(hash, new bytes(16));
    }

    function test_a_batch_may_have_more_readings_than_16_bits_count() public {
        uint256 count = 2 ** 17;
        Proof memory proof = Proof(0, count, [_at(0), _at(1e9)], 0, count, "", "");
        proof.root = bytes26(keccak256(_sparse(proof, 17, 0)));
        assertEq(_ask(proof).count, count);
        proof.bounds[1] = _at(1001);
        _incomplete(proof, count - 1);
    }

    function test_statistics_outside_the_range_are_bound_to_the_root(bytes32 seed, uint8 place) public {
        _seal(16, seed);
        Proof memory proof = _prove(8, 16);
        uint256 spot = bound(place, 0, proof.nodes.length - 1);
        proof.nodes[spot] ^= 0x01;
        _refused(proof);
    }

    /// A subtree that nobody has shown, beside one of small readings. The root is what an unchecked, cut sum would lead to.
    function _sums(int64 huge, int32 value) private {
        for (uint256 i = 0; i < 8; ++i) {
            leaves.push(_leaf(1, 2, 3, uint40(1000 + 2 * i), value));
        }
        _forge(2, 1, huge, value, value);
        unchecked {
            _forge(3, 0, huge + 4 * value, value, value);
        }
    }

    function test_a_sum_above_its_type_is_refused() public {
        _sums(type(int64).max, 1);
        _refused(_prove(1, 3));
    }

    function test_a_sum_below_its_type_is_refused() public {
        _sums(type(int64).min, -1);
        _refused(_prove(1, 3));
    }

    function test_the_largest_and_the_smallest_sum_are_sums() public {
        for (uint256 i = 0; i < 4; ++i) {
            leaves.push(_leaf(1, 2, 3, uint40(1000 + 2 * i), 0));
        }
        (int64[2] memory ends) = [type(int64).max, type(int64).min];
        for (uint256 i = 0; i < 2; ++i) {
            // A parent's sum is not shown, so nothing else has to be forged for it.
            forged[1][1] = abi.encodePacked(bytes26(uint208(7)), ends[i], int32(0), int32(0));
            _forge(2, 0, ends[i], 0, 0);
            Proof memory proof = Proof(_root(), 4, [_at(1001), _at(1001)], 1, 1, "", "");
            _cover(proof, 2, 0);
            assertEq(_ask(proof).count, 0);
        }
    }

    /// Huge inside, balanced outside: every node fits its type, and the range does not.
    function _balanced(int64 huge) private {
        for (uint256 i = 0; i < 16; ++i) {
            leaves.push(_leaf(1, 2, 3, uint40(1000 + 2 * i), 0));
        }
        (forged[1][0], forged[1][7]) = (_sum(1, -huge), _sum(2, -huge));
        (forged[2][1], forged[2][2]) = (_sum(3, huge), _sum(4, huge));
        _forge(2, 0, -huge, 0, 0);
        _forge(2, 3, -huge, 0, 0);
    }

    function _sum(uint208 hash, int64 sum) private pure returns (bytes memory) {
        return abi.encodePacked(bytes26(hash), sum, int32(0), int32(0));
    }

    function test_a_range_whose_sum_leaves_its_type_is_refused() public {
        _balanced(2 ** 62);
        _refused(_prove(3, 13));
    }

    function test_a_range_whose_sum_falls_below_its_type_is_refused() public {
        _balanced(-(2 ** 62) - 1);
        _refused(_prove(3, 13));
    }

    function test_a_range_with_a_large_sum_is_told() public {
        _balanced(2 ** 61);
        assertEq(_ask(_prove(3, 13)).sum, int256(2 ** 62));
    }
}
