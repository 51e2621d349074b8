// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { RegistryFixture } from "./RegistryFixture.sol";
import { DeviceRegistry } from "../../../contracts/DeviceRegistry.sol";
import { IDeviceRegistry } from "../../../contracts/interfaces/IDeviceRegistry.sol";
import { HighS, InvalidSignature } from "../../../contracts/libraries/Signatures.sol";

/// given a device key
///   when registered with the device's signature
///     ├── it has the owner that was signed, whoever sent it
///     ├── it cannot be registered again
///     ├── it reports verify; other sequence, data, chain or contract do not
///     └── it is transferred and revoked by its owner only; after revocation nothing verifies
///   when the signature is of another key, another owner, high-s or of a wrong length
///     └── it is refused
///   when the key is on P-256
///     ├── it needs the key that hashes to the id
///     └── without the precompile nothing verifies
contract DeviceRegistryTest is RegistryFixture {
    function setUp() public {
        _start();
    }

    function test_a_device_consents_to_its_owner_and_anyone_may_send_it(uint256 seed, address sender) public {
        uint256 key = _key(seed);
        address device = vm.addr(key);
        bytes memory signature = signedCompact(key, _activation(device, owner));
        vm.expectEmit(address(registry));
        emit IDeviceRegistry.DeviceRegistered(device, owner, 1, 0, 0);
        vm.prank(sender);
        registry.register(device, owner, 1, 0, 0, signature);
        (address found, uint8 keyType, uint40 registeredAt, uint40 revokedAt) = registry.deviceOf(device);
        assertEq(found, owner);
        assertEq(keyType, 1);
        assertEq(registeredAt, block.timestamp);
        assertEq(revokedAt, 0);
    }

    function test_nobody_registers_a_device_that_is_not_theirs(uint256 seed, address thief) public {
        vm.assume(thief != owner && thief != address(0));
        uint256 key = _key(seed);
        address device = vm.addr(key);
        bytes memory signature = signed(key, _activation(device, owner));
        vm.expectRevert(InvalidSignature.selector);
        registry.register(device, thief, 1, 0, 0, signature);
    }

    function test_a_device_is_registered_once(uint256 seed) public {
        uint256 key = _key(seed);
        address device = _register(key);
        bytes memory signature = signed(key, _activation(device, owner));
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.AlreadyRegistered.selector, device));
        registry.register(device, owner, 1, 0, 0, signature);
    }

    function test_a_high_s_signature_is_refused(uint256 seed) public {
        uint256 key = _key(seed);
        address device = vm.addr(key);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, _activation(device, owner));
        bytes memory twin =
            abi.encodePacked(r, bytes32(SECP256K1_ORDER - uint256(s)), v == 27 ? uint8(28) : uint8(27));
        vm.expectRevert(HighS.selector);
        registry.register(device, owner, 1, 0, 0, twin);
    }

    function test_a_signature_of_a_wrong_length_is_refused(bytes calldata garbage) public {
        vm.assume(garbage.length != 64 && garbage.length != 65);
        vm.expectRevert(InvalidSignature.selector);
        registry.register(vm.addr(1), owner, 1, 0, 0, garbage);
    }

    function test_an_unknown_key_type_is_refused(uint8 keyType) public {
        vm.assume(keyType != 1 && keyType != 2);
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.UnknownKeyType.selector, keyType));
        registry.register(vm.addr(1), owner, keyType, 0, 0, new bytes(64));
    }

    function test_a_report_verifies_only_as_it_was_signed(uint256 seed, uint64 sequence, bytes calldata data)
        public
    {
        uint256 key = _key(seed);
        address device = _register(key);
        bytes memory signature = signedCompact(key, registry.hashReport(device, sequence, data));
        registry.verifyReport(device, sequence, data, signature, 0, 0);
        vm.expectRevert(InvalidSignature.selector);
        registry.verifyReport(device, sequence ^ 1, data, signature, 0, 0);
        vm.expectRevert(InvalidSignature.selector);
        registry.verifyReport(device, sequence, bytes.concat(data, hex"00"), signature, 0, 0);
    }

    function test_a_report_of_another_chain_or_contract_is_refused(uint256 seed) public {
        uint256 key = _key(seed);
        address device = _register(key);
        bytes memory signature = signed(key, registry.hashReport(device, 1, hex"01"));
        vm.chainId(block.chainid + 1);
        vm.expectRevert(InvalidSignature.selector);
        registry.verifyReport(device, 1, hex"01", signature, 0, 0);
        DeviceRegistry other = new DeviceRegistry(address(this));
        assertTrue(other.hashReport(device, 1, hex"01") != registry.hashReport(device, 1, hex"01"));
    }

    function test_only_the_owner_transfers_and_revokes(uint256 seed, address stranger) public {
        vm.assume(stranger != owner && stranger != address(0));
        address device = _register(_key(seed));
        vm.startPrank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.NotOwner.selector, owner, stranger));
        registry.transfer(device, stranger);
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.NotOwner.selector, owner, stranger));
        registry.revoke(device);
    }

    function test_a_revoked_device_verifies_nothing(uint256 seed) public {
        uint256 key = _key(seed);
        address device = _register(key);
        bytes memory signature = signed(key, registry.hashReport(device, 1, hex"01"));
        vm.prank(owner);
        registry.revoke(device);
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.RevokedDevice.selector, device));
        registry.verifyReport(device, 1, hex"01", signature, 0, 0);
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.RevokedDevice.selector, device));
        registry.revoke(device);
    }

    function test_the_new_owner_takes_over_after_a_transfer(uint256 seed, address next) public {
        vm.assume(next != address(0) && next != owner);
        address device = _register(_key(seed));
        vm.prank(owner);
        registry.transfer(device, next);
        (address found,,,) = registry.deviceOf(device);
        assertEq(found, next);
        vm.prank(next);
        registry.revoke(device);
    }

    function test_an_unknown_device_verifies_nothing(address device) public {
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.UnknownDevice.selector, device));
        registry.verifyReport(device, 1, hex"01", new bytes(64), 0, 0);
    }

    function test_a_secure_element_registers_and_reports(uint256 seed) public {
        (uint256 key, bytes32 x, bytes32 y, address device) = _p256(seed);
        registry.register(device, owner, 2, x, y, _signP256(key, _activation(device, owner)));
        bytes memory signature = _signP256(key, registry.hashReport(device, 9, hex"02"));
        registry.verifyReport(device, 9, hex"02", signature, x, y);
        vm.expectRevert(InvalidSignature.selector);
        registry.verifyReport(device, 8, hex"02", signature, x, y);
    }

    function test_a_secure_element_needs_the_key_of_its_id(uint256 seed) public {
        (uint256 key, bytes32 x, bytes32 y, address device) = _p256(seed);
        bytes memory signature = _signP256(key, _activation(device, owner));
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.KeyMismatch.selector, vm.addr(1), device));
        registry.register(vm.addr(1), owner, 2, x, y, signature);
    }

    function test_a_high_s_signature_of_a_secure_element_is_refused(uint256 seed) public {
        (uint256 key, bytes32 x, bytes32 y, address device) = _p256(seed);
        (bytes32 r, bytes32 s) = vm.signP256(key, _activation(device, owner));
        uint256 high = uint256(s) > P256_ORDER / 2 ? uint256(s) : P256_ORDER - uint256(s);
        vm.expectRevert(HighS.selector);
        registry.register(device, owner, 2, x, y, abi.encodePacked(r, high));
    }

    function test_without_the_precompile_no_secure_element_is_believed(uint256 seed) public {
        (uint256 key, bytes32 x, bytes32 y, address device) = _p256(seed);
        bytes memory signature = _signP256(key, _activation(device, owner));
        // An address without code answers "success" with nothing: what an absent precompile does.
        vm.mockCall(address(0x100), bytes(""), bytes(""));
        vm.expectRevert(InvalidSignature.selector);
        registry.register(device, owner, 2, x, y, signature);
    }

    function test_the_zero_address_owns_nothing(uint256 seed) public {
        uint256 key = _key(seed);
        bytes memory signature = signed(key, _activation(vm.addr(key), address(0)));
        vm.expectRevert(IDeviceRegistry.ZeroOwner.selector);
        registry.register(vm.addr(key), address(0), 1, 0, 0, signature);
        address device = _register(key);
        vm.prank(owner);
        vm.expectRevert(IDeviceRegistry.ZeroOwner.selector);
        registry.transfer(device, address(0));
    }

    function test_nobody_transfers_or_revokes_what_is_not_registered(address device) public {
        bytes memory refusal = abi.encodeWithSelector(IDeviceRegistry.UnknownDevice.selector, device);
        vm.expectRevert(refusal);
        registry.transfer(device, owner);
        vm.expectRevert(refusal);
        registry.revoke(device);
    }

    /// r = 0 recovers nobody, and nobody is the zero address.
    function test_a_signature_of_nobody_is_refused(uint256 s) public {
        s = bound(s, 1, SECP256K1_ORDER / 2);
        bytes memory signature = abi.encodePacked(bytes32(0), s);
        vm.expectRevert(InvalidSignature.selector);
        registry.register(address(0), owner, 1, 0, 0, signature);
    }

    function test_a_secure_elements_signature_has_64_bytes(uint256 seed, uint8 extra) public {
        (uint256 key, bytes32 x, bytes32 y, address device) = _p256(seed);
        bytes memory longer =
            bytes.concat(_signP256(key, _activation(device, owner)), new bytes(bound(extra, 1, 32)));
        vm.expectRevert(InvalidSignature.selector);
        registry.register(device, owner, 2, x, y, longer);
    }

    function test_a_secure_element_that_signed_something_else_is_refused(uint256 seed, bytes32 digest)
        public
    {
        (uint256 key, bytes32 x, bytes32 y, address device) = _p256(seed);
        vm.assume(digest != _activation(device, owner));
        bytes memory signature = _signP256(key, digest);
        vm.expectRevert(InvalidSignature.selector);
        registry.register(device, owner, 2, x, y, signature);
    }

    function test_a_device_activates_itself_by_its_own_transaction(address device) public {
        vm.assume(device != address(0));
        vm.expectEmit(address(registry));
        emit IDeviceRegistry.DeviceRegistered(device, owner, 1, 0, 0);
        vm.prank(device);
        registry.activate(owner);
        _assertDevice(device, owner, 1, uint40(block.timestamp), 0);
        vm.startPrank(device);
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.AlreadyRegistered.selector, device));
        registry.activate(makeAddr("another owner"));
        vm.expectRevert(IDeviceRegistry.ZeroOwner.selector);
        registry.activate(address(0));
    }

    function test_an_activation_for_another_chain_or_contract_is_refused(uint256 seed, uint64 chain) public {
        vm.assume(chain != block.chainid && chain != 0);
        uint256 key = _key(seed);
        address device = vm.addr(key);
        bytes memory signature = signed(key, _activation(device, owner));
        DeviceRegistry other = new DeviceRegistry(address(this));
        vm.expectRevert(InvalidSignature.selector);
        other.register(device, owner, 1, 0, 0, signature);
        vm.chainId(chain);
        vm.expectRevert(InvalidSignature.selector);
        registry.register(device, owner, 1, 0, 0, signature);
    }

    function test_a_revoked_device_never_comes_back(uint256 seed) public {
        uint256 key = _key(seed);
        address device = _register(key);
        vm.prank(owner);
        registry.revoke(device);
        bytes memory refusal = abi.encodeWithSelector(IDeviceRegistry.AlreadyRegistered.selector, device);
        bytes memory signature = signed(key, _activation(device, owner));
        vm.expectRevert(refusal);
        registry.register(device, owner, 1, 0, 0, signature);
        vm.prank(device);
        vm.expectRevert(refusal);
        registry.activate(owner);
    }

    function test_the_slot_tells_when_it_began_and_ended(uint256 seed, uint40 began, uint40 ended) public {
        began = uint40(bound(began, 1, type(uint40).max));
        ended = uint40(bound(ended, began, type(uint40).max));
        vm.warp(began);
        address device = _register(_key(seed));
        _assertDevice(device, owner, 1, began, 0);
        vm.warp(ended);
        vm.expectEmit(address(registry));
        emit IDeviceRegistry.DeviceRevoked(device, ended);
        vm.prank(owner);
        registry.revoke(device);
        _assertDevice(device, owner, 1, began, ended);
    }

    /// Cut off to 40 bits, this time would be zero: not revoked.
    function test_a_time_beyond_40_bits_does_not_undo_a_revocation(uint256 seed, uint8 laps) public {
        address device = _register(_key(seed));
        vm.warp(uint256(bound(laps, 1, 255)) << 40);
        vm.prank(owner);
        registry.revoke(device);
        _assertDevice(device, owner, 1, 1, type(uint40).max);
    }

    /// No neighbour in the slot is touched by a change.
    function test_the_fields_of_a_slot_do_not_touch_each_other(uint256 seed, address next, uint40 time)
        public
    {
        vm.assume(next != address(0));
        time = uint40(bound(time, 1, type(uint40).max));
        vm.warp(time);
        (uint256 key, bytes32 x, bytes32 y, address device) = _p256(seed);
        registry.register(device, owner, 2, x, y, _signP256(key, _activation(device, owner)));
        vm.prank(owner);
        registry.transfer(device, next);
        _assertDevice(device, next, 2, time, 0);
        assertEq(registry.transferNonceOf(device), 1);
        vm.prank(next);
        registry.revoke(device);
        _assertDevice(device, next, 2, time, time);
        assertEq(registry.transferNonceOf(device), 1);
    }
}
