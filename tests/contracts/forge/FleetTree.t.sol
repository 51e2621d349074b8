// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "./Base.sol";
import { FleetTree } from "../../../contracts/libraries/FleetTree.sol";
import { InvalidProof } from "../../../contracts/libraries/PositionalTree.sol";

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
///   ├── the top does not depend on what memory held before, and has 26 bytes
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

    function test_a_proof_is_whole_siblings_and_at_most_ten(bytes32 seed, uint16 length) public {
        uint256 beyond = bound(length, 0, 600);
        vm.assume(beyond % 26 != 0 || beyond > 260);
        bytes memory proof = bytes.concat(_list(seed, 3), new bytes(beyond));
        vm.expectRevert(InvalidProof.selector);
        tree.fromProof(address(1), 0, proof);
    }
}
