// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { RegistryFixture } from "./RegistryFixture.sol";

/// A registry with an enroller, lists of ids, and what a fleet's tree is without the library.
abstract contract FleetFixture is RegistryFixture {
    address internal enroller = makeAddr("enroller");

    function setUp() public virtual {
        _start();
        registry.setEnroller(enroller, true);
    }

    /// Strictly ascending, far apart or side by side.
    function _ids(uint256 seed, uint256 count) internal pure returns (bytes memory ids) {
        uint256 step = seed % 3 == 0 ? 1 : 1 + seed % (type(uint160).max / (count + 1));
        uint256 id = 0;
        ids = new bytes(count * 20);
        for (uint256 i = 0; i < count; ++i) {
            id += 1 + uint256(keccak256(abi.encode(seed, i))) % step;
            bytes20 packed = bytes20(uint160(id));
            for (uint256 k = 0; k < 20; ++k) {
                ids[20 * i + k] = packed[k];
            }
        }
    }

    function _id(bytes memory ids, uint256 position) internal pure returns (address) {
        return address(bytes20(_cut(ids, 20 * position, 20)));
    }

    function _cut(bytes memory from, uint256 start, uint256 size) internal pure returns (bytes memory part) {
        part = new bytes(size);
        for (uint256 i = 0; i < size && start + i < from.length; ++i) {
            part[i] = from[start + i];
        }
    }

    function _parent(bytes26 left, bytes26 right) internal pure returns (bytes26) {
        return left == 0 && right == 0 ? bytes26(0) : bytes26(keccak256(bytes.concat(left, right)));
    }

    /// The protocol read word for word: leaves padded to a power of two with the zero node.
    function _leaves(bytes memory ids) internal pure returns (bytes26[] memory level) {
        uint256 count = (ids.length + 79) / 80;
        uint256 width = 1;
        while (width < count) width *= 2;
        level = new bytes26[](width);
        for (uint256 i = 0; i < count; ++i) {
            level[i] = bytes26(keccak256(_cut(ids, 80 * i, 80)));
        }
    }

    function _above(bytes26[] memory level) internal pure returns (bytes26[] memory next) {
        next = new bytes26[](level.length / 2);
        for (uint256 i = 0; i < next.length; ++i) {
            next[i] = _parent(level[2 * i], level[2 * i + 1]);
        }
    }

    function _top(bytes memory ids) internal pure returns (bytes26) {
        bytes26[] memory level = _leaves(ids);
        while (level.length > 1) level = _above(level);
        return level[0];
    }

    function _root(bytes memory ids, address of_, uint8 keyType) internal pure returns (bytes26) {
        return bytes26(keccak256(abi.encodePacked(_top(ids), of_, keyType)));
    }

    function _proof(bytes memory ids, uint256 position) internal pure returns (bytes memory proof) {
        bytes memory leaf = _cut(ids, position / 4 * 80, 80);
        uint256 place = position % 4 * 20;
        proof = bytes.concat(_cut(leaf, 0, place), _cut(leaf, place + 20, 60 - place));
        bytes26[] memory level = _leaves(ids);
        for (uint256 node = position / 4; level.length > 1; node /= 2) {
            proof = bytes.concat(proof, level[node ^ 1]);
            level = _above(level);
        }
    }

    function _enrol(bytes memory ids) internal returns (bytes26) {
        vm.prank(enroller);
        return registry.enrolFleet(owner, 1, ids);
    }

    /// A device with a key among strangers, and where it stands.
    function _with(address device, uint256 seed) internal pure returns (bytes memory ids, uint256 position) {
        position = seed % 9;
        for (uint256 i = 0; i < position; ++i) {
            ids = bytes.concat(ids, bytes20(uint160(i + 1)));
        }
        ids = bytes.concat(ids, bytes20(device), bytes20(type(uint160).max));
    }
}
