// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "./Base.sol";
import { DeviceRegistry } from "../../../contracts/DeviceRegistry.sol";

/// A registry whose admin is the test, and devices on both curves.
abstract contract RegistryFixture is Test {
    uint256 internal constant P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551;
    DeviceRegistry internal registry;
    address internal owner = makeAddr("owner");

    function _start() internal {
        registry = new DeviceRegistry(address(this));
    }

    function _digest(bytes32 structHash) internal view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", registry.domainSeparator(), structHash));
    }

    function _activation(address device, address to) internal view returns (bytes32) {
        return
            _digest(keccak256(abi.encode(keccak256("Activation(address device,address owner)"), device, to)));
    }

    /// Not so large that it could be the key of somebody with a name: the fuzzer finds the owner's, and tries it.
    function _key(uint256 seed) internal pure returns (uint256) {
        return bound(seed, 1, type(uint128).max);
    }

    function _register(uint256 key) internal returns (address device) {
        device = vm.addr(key);
        registry.register(device, owner, 1, 0, 0, signed(key, _activation(device, owner)));
    }

    function _p256(uint256 seed) internal pure returns (uint256 key, bytes32 x, bytes32 y, address device) {
        key = bound(seed, 1, P256_ORDER - 1);
        (uint256 px, uint256 py) = vm.publicKeyP256(key);
        (x, y) = (bytes32(px), bytes32(py));
        device = address(uint160(uint256(keccak256(abi.encode(x, y)))));
    }

    function _signP256(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (bytes32 r, bytes32 s) = vm.signP256(key, digest);
        uint256 low = uint256(s) > P256_ORDER / 2 ? P256_ORDER - uint256(s) : uint256(s);
        return abi.encodePacked(r, low);
    }

    function _assertDevice(
        address device,
        address expectedOwner,
        uint8 expectedType,
        uint40 registered,
        uint40 revoked
    ) internal view {
        (address found, uint8 keyType, uint40 registeredAt, uint40 revokedAt) = registry.deviceOf(device);
        assertEq(found, expectedOwner);
        assertEq(keyType, expectedType);
        assertEq(registeredAt, registered);
        assertEq(revokedAt, revoked);
    }
}
