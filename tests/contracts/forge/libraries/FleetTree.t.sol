// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "../Base.sol";
import { PlainTree } from "./PlainTree.sol";
import { FleetTree } from "../../../../contracts/libraries/FleetTree.sol";
import { InvalidProof } from "../../../../contracts/libraries/PositionalTree.sol";

/// The library by itself, for callers that are not the registry.
contract FleetTreeCaller {
    /// With memory that was used before and is not zero any more.
    function topInDirtyMemory(bytes calldata ids) external pure returns (bytes32 raw) {
        assembly ("memory-safe") {
            let place := mload(0x40)
            for { let i := 0 } lt(i, 4096) { i := add(i, 32) } {
                mstore(add(place, i), not(0))
            }
        }
        bytes26 found = FleetTree.topOf(ids);
        assembly ("memory-safe") {
            raw := found
        }
    }

    function top(bytes calldata ids) external pure returns (bytes26) {
        return FleetTree.topOf(ids);
    }

    function seal(bytes26 top_, address owner, uint8 keyType) external pure returns (bytes26) {
        return FleetTree.seal(top_, owner, keyType);
    }

    /// What stands before and behind the list in the call must not count.
    function isAscending(bytes calldata, bytes calldata ids, bytes calldata) external pure returns (bool) {
        return FleetTree.isAscending(ids);
    }

    function fromProof(address device, uint256 position, bytes calldata proof)
        external
        pure
        returns (bytes32 raw)
    {
        bytes26 found = FleetTree.topFromProof(device, position, proof);
        assembly ("memory-safe") {
            raw := found
        }
    }
}

/// given any list
///   ├── it is ascending when each id is above the one before it, the first above zero
///   ├── its top is that of the plain tree over leaves of four ids, the last one filled up with zeros
///   ├── every device leads to the top from its position, and from no other
///   ├── the top does not depend on what memory held before, and has 26 bytes
///   ├── the name of a fleet covers top, owner and key type
///   └── a proof is three ids and up to ten whole siblings, nothing else
contract FleetTreeTest is Test {
    FleetTreeCaller internal tree = new FleetTreeCaller();

    function _list(bytes32 seed, uint256 count) internal pure returns (bytes memory ids) {
        for (uint256 i = 0; i < count; ++i) {
            ids = bytes.concat(ids, bytes20(keccak256(abi.encode(seed, i))));
        }
    }

    function test_used_memory_does_not_get_into_the_tree(bytes32 seed, uint8 size) public view {
        bytes memory ids = _list(seed, bound(size, 1, 100));
        assertEq(tree.topInDirtyMemory(ids), bytes32(tree.top(ids)));
    }

    function test_a_proof_leads_to_26_bytes(address device, bytes32 seed, uint8 depth) public view {
        vm.assume(device != address(0));
        bytes memory proof = bytes.concat(_list(seed, 3), new bytes(26 * bound(depth, 0, 10)));
        assertEq(uint256(tree.fromProof(device, 0, proof)) & type(uint48).max, 0);
    }

    function test_eleven_siblings_are_one_too_many(bytes32 seed) public {
        bytes memory proof = bytes.concat(_list(seed, 3), new bytes(26 * 11));
        vm.expectRevert(InvalidProof.selector);
        tree.fromProof(address(1), 0, proof);
    }

    function test_a_proof_is_whole_siblings_and_at_most_ten(bytes32 seed, uint16 length) public {
        uint256 beyond = bound(length, 0, 600);
        vm.assume(beyond % 26 != 0 || beyond > 260);
        bytes memory proof = bytes.concat(_list(seed, 3), new bytes(beyond));
        vm.expectRevert(InvalidProof.selector);
        tree.fromProof(address(1), 0, proof);
    }

    /// Ids in an order of their own: the high byte counts.
    function _ascending(bytes32 seed, uint256 count) private pure returns (bytes memory ids) {
        for (uint256 i = 0; i < count; ++i) {
            bytes20 any = bytes20(keccak256(abi.encode(seed, i)));
            ids = bytes.concat(ids, bytes20((uint160(any) & type(uint152).max) | (uint160(i + 1) << 152)));
        }
    }

    function _isAscending(bytes memory ids) private view returns (bool) {
        return tree.isAscending(hex"ffff", ids, hex"ff");
    }

    function _swapped(bytes memory ids, uint256 i) private pure returns (bytes memory other) {
        other = bytes.concat(ids);
        for (uint256 k = 0; k < 20; ++k) {
            (other[20 * i + k], other[20 * i + 20 + k]) = (ids[20 * i + 20 + k], ids[20 * i + k]);
        }
    }

    function _repeated(bytes memory ids, uint256 i) private pure returns (bytes memory other) {
        other = bytes.concat(ids);
        for (uint256 k = 0; k < 20; ++k) {
            other[20 * i + 20 + k] = ids[20 * i + k];
        }
    }

    function test_ids_ascend_strictly(bytes32 seed) public view {
        for (uint256 count = 0; count < 14; ++count) {
            bytes memory ids = _ascending(seed, count);
            assertTrue(_isAscending(ids));
            for (uint256 i = 0; i + 1 < count; ++i) {
                assertFalse(_isAscending(_swapped(ids, i)), "swapped");
                assertFalse(_isAscending(_repeated(ids, i)), "repeated");
            }
        }
    }

    function test_ids_that_differ_in_the_last_bit_ascend() public view {
        bytes memory ids;
        for (uint160 i = 1; i < 11; ++i) {
            ids = bytes.concat(ids, bytes20(i));
            assertTrue(_isAscending(ids));
        }
    }

    function test_a_long_list_ascends() public view {
        bytes memory ids = new bytes(20 * 395);
        for (uint256 i = 0; i < 395; ++i) {
            (ids[20 * i], ids[20 * i + 1]) = (bytes1(uint8((i + 1) >> 8)), bytes1(uint8(i + 1)));
        }
        assertTrue(_isAscending(ids));
    }

    function test_the_zero_id_is_no_device(bytes32 seed) public view {
        for (uint256 count = 0; count < 6; ++count) {
            assertFalse(_isAscending(bytes.concat(bytes20(0), _ascending(seed, count))));
        }
    }

    function _leaves(bytes memory ids) private pure returns (bytes26[] memory leaves) {
        leaves = new bytes26[]((ids.length + 79) / 80);
        for (uint256 i = 0; i < leaves.length; ++i) {
            leaves[i] = bytes26(keccak256(_four(ids, i)));
        }
    }

    function _four(bytes memory ids, uint256 leaf) private pure returns (bytes memory four) {
        four = new bytes(80);
        for (uint256 k = 0; k < 80 && 80 * leaf + k < ids.length; ++k) {
            four[k] = ids[80 * leaf + k];
        }
    }

    function _proof(bytes memory ids, uint256 position) private pure returns (bytes memory proof) {
        bytes memory four = _four(ids, position / 4);
        for (uint256 k = 0; k < 80; ++k) {
            if (k / 20 != position % 4) proof = bytes.concat(proof, four[k]);
        }
        return bytes.concat(proof, PlainTree.packed(PlainTree.proof(_leaves(ids), position / 4)));
    }

    function test_the_top_is_that_of_the_plain_tree(bytes32 seed) public view {
        for (uint256 count = 1; count < 46; count += count < 12 ? 1 : 3) {
            bytes memory ids = _list(seed, count);
            assertEq(tree.topInDirtyMemory(ids), bytes32(PlainTree.root(_leaves(ids))));
        }
    }

    /// One id begins a leaf of its own, however long the list.
    function test_the_top_of_a_long_list_is_that_of_the_plain_tree() public view {
        uint16[2] memory counts = [uint16(77), 509];
        for (uint256 i = 0; i < 2; ++i) {
            bytes memory ids = new bytes(20 * uint256(counts[i]));
            for (uint256 k = 0; k < counts[i]; ++k) {
                (ids[20 * k], ids[20 * k + 1]) = (bytes1(uint8(k >> 8)), bytes1(uint8(k)));
            }
            assertEq(tree.topInDirtyMemory(ids), bytes32(PlainTree.root(_leaves(ids))));
        }
    }

    function _id(bytes memory ids, uint256 i) private pure returns (address id) {
        assembly ("memory-safe") {
            id := shr(96, mload(add(add(ids, 32), mul(20, i))))
        }
    }

    function test_every_device_leads_to_the_top_from_its_position_only(bytes32 seed, uint8 size) public {
        bytes memory ids = _list(seed, bound(size, 1, 22));
        bytes32 top = bytes32(PlainTree.root(_leaves(ids)));
        uint256 width = 4 * 2 ** PlainTree.depth((ids.length + 79) / 80);
        for (uint256 i = 0; i < ids.length / 20; ++i) {
            (address id, bytes memory proof) = (_id(ids, i), _proof(ids, i));
            assertEq(tree.fromProof(id, i, proof), top);
            assertTrue(tree.fromProof(id, i ^ 1, proof) != top);
            assertTrue(width < 8 || tree.fromProof(id, i ^ 4, proof) != top);
            vm.expectRevert(InvalidProof.selector);
            tree.fromProof(id, i + width, proof);
        }
    }

    function test_a_proof_without_the_other_three_ids_is_refused(bytes32 seed, uint8 length) public {
        bytes memory proof = _list(seed, 3);
        uint256 cut = bound(length, 0, 59);
        assembly ("memory-safe") {
            mstore(proof, cut)
        }
        vm.expectRevert(InvalidProof.selector);
        tree.fromProof(address(1), 0, proof);
    }

    function test_filling_is_no_device(bytes32 seed) public {
        bytes memory proof = _proof(_list(seed, 3), 3);
        vm.expectRevert(InvalidProof.selector);
        tree.fromProof(address(0), 3, proof);
    }

    function test_the_name_of_a_fleet_covers_all_of_it(bytes26 top, address owner, uint8 keyType)
        public
        view
    {
        bytes memory preimage = bytes.concat(top, bytes20(owner), bytes1(keyType));
        assertEq(bytes32(tree.seal(top, owner, keyType)), bytes32(bytes26(keccak256(preimage))));
    }

    /// Ten levels over leaves of four hold them all.
    function test_a_fleet_has_4096_devices_at_most() public pure {
        assertEq(FleetTree.MAX_DEVICES, 4 * 2 ** 10);
        assertEq(FleetTree.ID_BYTES, 20);
    }
}
