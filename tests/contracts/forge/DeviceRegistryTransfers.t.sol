// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { RegistryFixture } from "./RegistryFixture.sol";
import { DeviceRegistry } from "../../../contracts/DeviceRegistry.sol";
import { IDeviceRegistry } from "../../../contracts/interfaces/IDeviceRegistry.sol";
import { InvalidSignature } from "../../../contracts/libraries/Signatures.sol";
import { KeyWallet } from "../../../contracts/mocks/Wallets.sol";

/// given a registered device
///   when it is transferred with its signature
///     ├── its owner sends it, or has signed it too and anyone sends it
///     ├── neither the device alone nor a stranger moves it; the owner alone does, without the device's word
///     ├── consent is used up by any transfer, and bound to chain, contract, device, both owners and a deadline
///     └── it is not when the device was revoked
///   when it is rotated
///     ├── the old id is revoked and the new one registered, at once, for the same owner
///     ├── only its owner can, only once, only to a device that has no slot
///     └── the signature is of no use to anybody else, and an activation is of none here
contract DeviceRegistryTransfersTest is RegistryFixture {
    uint40 internal constant DEADLINE = 1000;
    uint256 internal ownerKey = keyOf("owner");
    address internal buyer = makeAddr("buyer");
    address internal relayer = makeAddr("relayer");

    function setUp() public {
        _start();
    }

    function _consent(address device, address from, address to) internal view returns (bytes32) {
        return registry.hashTransfer(device, from, to, registry.transferNonceOf(device), DEADLINE);
    }

    function _send(address sender, address device, address to, bytes memory ofDevice, bytes memory ofOwner)
        internal
    {
        vm.prank(sender);
        registry.transferWithSignature(device, to, DEADLINE, 0, 0, ofDevice, ofOwner);
    }

    function _rotation(address oldDevice, address newDevice, address of_) internal view returns (bytes32) {
        bytes32 typeHash = keccak256("Rotation(address oldDevice,address newDevice,address owner)");
        return _digest(keccak256(abi.encode(typeHash, oldDevice, newDevice, of_)));
    }

    /// In the encoding that the wallet understands.
    function _forWallet(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encode(r, s, v);
    }

    // ---------------------------------------------------------------------------------------- transfer

    function test_what_is_signed_for_a_transfer_is_its_eip712_digest(
        address device,
        address from,
        address to,
        uint256 nonce,
        uint40 deadline
    ) public view {
        bytes32 typeHash = keccak256(
            "Transfer(address device,address from,address to,uint256 nonce,uint40 deadline)"
        );
        bytes32 expected = _digest(keccak256(abi.encode(typeHash, device, from, to, nonce, deadline)));
        assertEq(registry.hashTransfer(device, from, to, nonce, deadline), expected);
    }

    function test_a_sold_device_moves_with_its_signature_sent_by_the_owner(uint256 seed) public {
        uint256 key = _key(seed);
        address device = _register(key);
        bytes memory ofDevice = signedCompact(key, _consent(device, owner, buyer));
        vm.expectEmit(address(registry));
        emit IDeviceRegistry.DeviceTransferred(device, owner, buyer);
        _send(owner, device, buyer, ofDevice, "");
        _assertDevice(device, buyer, 1, 1, 0);
    }

    function test_anyone_sends_a_transfer_that_owner_and_device_have_signed(uint256 seed, address sender)
        public
    {
        vm.assume(sender != owner);
        uint256 key = _key(seed);
        address device = _register(key);
        bytes32 digest = _consent(device, owner, buyer);
        _send(sender, device, buyer, signed(key, digest), signed(ownerKey, digest));
        _assertDevice(device, buyer, 1, 1, 0);
    }

    function test_a_secure_element_moves_with_its_signature(uint256 seed) public {
        (uint256 key, bytes32 x, bytes32 y, address device) = _p256(seed);
        registry.register(device, owner, 2, x, y, _signP256(key, _activation(device, owner)));
        bytes memory ofDevice = _signP256(key, _consent(device, owner, buyer));
        vm.prank(owner);
        registry.transferWithSignature(device, buyer, DEADLINE, x, y, ofDevice, "");
        _assertDevice(device, buyer, 2, 1, 0);
    }

    function test_a_contract_that_owns_a_device_consents_by_erc1271(uint256 seed) public {
        uint256 key = _key(seed);
        address device = vm.addr(key);
        address wallet = address(new KeyWallet(owner));
        registry.register(device, wallet, 1, 0, 0, signed(key, _activation(device, wallet)));
        bytes32 digest = _consent(device, wallet, buyer);
        bytes memory ofDevice = signed(key, digest);
        bytes memory ofStranger = _forWallet(keyOf("buyer"), digest);
        vm.expectRevert(InvalidSignature.selector);
        _send(relayer, device, buyer, ofDevice, ofStranger);
        _send(relayer, device, buyer, ofDevice, _forWallet(ownerKey, digest));
        _assertDevice(device, buyer, 1, 1, 0);
    }

    function test_a_stolen_device_cannot_move_itself(uint256 seed, address thief) public {
        vm.assume(thief != owner && thief != address(0));
        uint256 key = _key(seed);
        address device = _register(key);
        bytes memory ofDevice = signed(key, _consent(device, owner, thief));
        vm.expectRevert(InvalidSignature.selector);
        _send(thief, device, thief, ofDevice, "");
        vm.expectRevert(InvalidSignature.selector);
        _send(thief, device, thief, ofDevice, ofDevice);
        bytes memory refusal = abi.encodeWithSelector(IDeviceRegistry.NotOwner.selector, owner, device);
        vm.prank(device);
        vm.expectRevert(refusal);
        registry.transfer(device, thief);
    }

    function test_an_owner_cannot_pretend_that_it_holds_the_device(uint256 seed) public {
        address device = _register(_key(seed));
        bytes memory ofOwner = signed(ownerKey, _consent(device, owner, buyer));
        vm.expectRevert(InvalidSignature.selector);
        _send(owner, device, buyer, ofOwner, ofOwner);
        vm.prank(owner);
        registry.transfer(device, buyer);
        _assertDevice(device, buyer, 1, 1, 0);
    }

    /// The consent of a former sale must not move the device again once it has come back.
    function test_a_transfer_is_not_replayed_after_the_device_has_come_back(uint256 seed, bool isSigned)
        public
    {
        uint256 key = _key(seed);
        address device = _register(key);
        bytes32 digest = _consent(device, owner, buyer);
        (bytes memory ofDevice, bytes memory ofOwner) = (signed(key, digest), signed(ownerKey, digest));
        if (isSigned) {
            _send(relayer, device, buyer, ofDevice, ofOwner);
        } else {
            vm.prank(owner);
            registry.transfer(device, buyer);
        }
        vm.prank(buyer);
        registry.transfer(device, owner);
        vm.expectRevert(InvalidSignature.selector);
        _send(relayer, device, buyer, ofDevice, ofOwner);
    }

    /// The counter in the slot has 8 bits: 256 transfers later it is the same, and the nonce must not be.
    function test_a_consent_is_not_replayed_after_256_transfers() public {
        uint256 key = keyOf("device");
        address device = _register(key);
        bytes32 digest = _consent(device, owner, buyer);
        vm.startPrank(owner);
        for (uint256 i = 0; i < 256; ++i) {
            assertEq(registry.transferNonceOf(device), i);
            registry.transfer(device, owner);
        }
        vm.stopPrank();
        assertEq(registry.transferNonceOf(device), 256);
        _assertDevice(device, owner, 1, 1, 0);
        bytes memory stale = signed(key, digest);
        vm.expectRevert(InvalidSignature.selector);
        _send(owner, device, buyer, stale, "");
    }

    function test_consent_to_one_buyer_is_not_consent_to_another(uint256 seed, address other) public {
        vm.assume(other != buyer && other != address(0));
        uint256 key = _key(seed);
        address device = _register(key);
        bytes memory ofDevice = signed(key, _consent(device, owner, buyer));
        vm.expectRevert(InvalidSignature.selector);
        _send(owner, device, other, ofDevice, "");
    }

    function test_consent_of_one_device_does_not_move_another(uint256 seed) public {
        uint256 key = _key(seed);
        vm.assume(key > 1);
        address device = _register(key);
        address other = _register(key - 1);
        bytes memory ofDevice = signed(key, _consent(device, owner, buyer));
        vm.expectRevert(InvalidSignature.selector);
        _send(owner, other, buyer, ofDevice, "");
    }

    function test_a_transfer_of_another_chain_or_contract_is_refused(uint256 seed, uint64 chain) public {
        vm.assume(chain != block.chainid && chain != 0);
        uint256 key = _key(seed);
        address device = _register(key);
        DeviceRegistry first = registry;
        bytes memory ofDevice = signed(key, _consent(device, owner, buyer));
        _start();
        _register(key);
        vm.expectRevert(InvalidSignature.selector);
        _send(owner, device, buyer, ofDevice, "");
        registry = first;
        vm.chainId(chain);
        vm.expectRevert(InvalidSignature.selector);
        _send(owner, device, buyer, ofDevice, "");
    }

    function test_a_transfer_is_good_in_its_last_second_and_not_after(uint256 seed) public {
        uint256 key = _key(seed);
        address device = _register(key);
        bytes memory ofDevice = signed(key, _consent(device, owner, buyer));
        vm.warp(DEADLINE + 1);
        vm.expectRevert(
            abi.encodeWithSelector(IDeviceRegistry.TransferExpired.selector, DEADLINE, DEADLINE + 1)
        );
        _send(owner, device, buyer, ofDevice, "");
        vm.warp(DEADLINE);
        _send(owner, device, buyer, ofDevice, "");
        _assertDevice(device, buyer, 1, 1, 0);
    }

    function test_a_revoked_or_unknown_device_proves_no_possession(uint256 seed) public {
        uint256 key = _key(seed);
        address device = vm.addr(key);
        bytes memory ofDevice = signed(key, _consent(device, owner, buyer));
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.UnknownDevice.selector, device));
        _send(owner, device, buyer, ofDevice, "");
        _register(key);
        vm.prank(owner);
        registry.revoke(device);
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.RevokedDevice.selector, device));
        _send(owner, device, buyer, ofDevice, "");
    }

    function test_a_device_is_not_sold_to_nobody(uint256 seed) public {
        uint256 key = _key(seed);
        address device = _register(key);
        bytes memory ofDevice = signed(key, _consent(device, owner, address(0)));
        vm.expectRevert(IDeviceRegistry.ZeroOwner.selector);
        _send(owner, device, address(0), ofDevice, "");
    }

    // ---------------------------------------------------------------------------------------- rotation

    function test_a_rotated_device_goes_on_under_its_new_key(uint256 seed, uint40 later) public {
        uint256 key = _key(seed);
        vm.assume(key > 1);
        (address device, address next) = (_register(key), vm.addr(key - 1));
        later = uint40(bound(later, 1, type(uint40).max));
        bytes memory signature = signed(key - 1, _rotation(device, next, owner));
        vm.warp(later);
        vm.expectEmit(address(registry));
        emit IDeviceRegistry.DeviceRevoked(device, later);
        vm.expectEmit(address(registry));
        emit IDeviceRegistry.DeviceRegistered(next, owner, 1, 0, 0);
        vm.expectEmit(address(registry));
        emit IDeviceRegistry.DeviceRotated(device, next);
        vm.prank(owner);
        registry.rotate(device, next, 1, 0, 0, signature);
        _assertDevice(device, owner, 1, 1, later);
        _assertDevice(next, owner, 1, later, 0);
    }

    function test_a_device_rotates_into_a_secure_element(uint256 seed) public {
        address device = _register(_key(seed));
        (uint256 key, bytes32 x, bytes32 y, address next) = _p256(seed);
        bytes memory signature = _signP256(key, _rotation(device, next, owner));
        vm.prank(owner);
        registry.rotate(device, next, 2, x, y, signature);
        _assertDevice(next, owner, 2, 1, 0);
    }

    function test_only_the_owner_rotates(uint256 seed, address stranger) public {
        vm.assume(stranger != owner);
        uint256 key = _key(seed);
        vm.assume(key > 1);
        (address device, address next) = (_register(key), vm.addr(key - 1));
        bytes memory signature = signed(key - 1, _rotation(device, next, stranger));
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.NotOwner.selector, owner, stranger));
        registry.rotate(device, next, 1, 0, 0, signature);
    }

    function test_a_rotation_is_no_activation_and_the_other_way_round(uint256 seed) public {
        uint256 key = _key(seed);
        vm.assume(key > 1);
        (address device, address next) = (_register(key), vm.addr(key - 1));
        bytes memory rotation = signed(key - 1, _rotation(device, next, owner));
        bytes memory activation = signed(key - 1, _activation(next, owner));
        vm.prank(relayer);
        vm.expectRevert(InvalidSignature.selector);
        registry.register(next, owner, 1, 0, 0, rotation);
        vm.prank(owner);
        vm.expectRevert(InvalidSignature.selector);
        registry.rotate(device, next, 1, 0, 0, activation);
        vm.prank(owner);
        registry.rotate(device, next, 1, 0, 0, rotation);
    }

    function test_a_revoked_device_has_no_successor_and_a_known_one_is_none(uint256 seed) public {
        uint256 key = _key(seed);
        vm.assume(key > 1);
        (address device, address next) = (_register(key), _register(key - 1));
        bytes memory signature = signed(key - 1, _rotation(device, next, owner));
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.AlreadyRegistered.selector, next));
        registry.rotate(device, next, 1, 0, 0, signature);
        registry.revoke(device);
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.RevokedDevice.selector, device));
        registry.rotate(device, next, 1, 0, 0, signature);
    }

    function test_a_device_does_not_succeed_itself(uint256 seed) public {
        uint256 key = _key(seed);
        address device = _register(key);
        bytes memory signature = signed(key, _rotation(device, device, owner));
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.AlreadyRegistered.selector, device));
        registry.rotate(device, device, 1, 0, 0, signature);
    }
}
