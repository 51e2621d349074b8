// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "./Base.sol";
import { DeviceRegistry } from "../../../contracts/DeviceRegistry.sol";

/// given the golden vectors of fleets (tests/vectors/make.py)
///   ├── the contract computes the same roots, and takes the same proofs
///   └── it asks for the same signatures of a transfer and of a rotation
contract FleetVectorsTest is Test {
    string internal json;
    DeviceRegistry internal registry;
    address internal owner;

    function setUp() public {
        json = vm.readFile("tests/vectors/fleets.json");
        address place = vm.parseJsonAddress(json, ".domain.registry");
        // Code alone, as if built by another constructor: the admin is set where it stands, in the first slot.
        deployCodeTo("DeviceRegistry.sol:DeviceRegistry", place);
        vm.store(place, 0, bytes32(uint256(uint160(address(this)))));
        registry = DeviceRegistry(place);
        registry.setEnroller(address(this), true);
        owner = vm.parseJsonAddress(json, ".owner");
    }

    function _fleet(uint256 i, string memory field) internal pure returns (string memory) {
        return string.concat(".fleets[", vm.toString(i), "].", field);
    }

    function _item(uint256 i, string memory field, uint256 k) internal pure returns (string memory) {
        return string.concat(_fleet(i, field), "[", vm.toString(k), "]");
    }

    function test_a_fleet_of_python_is_the_fleet_of_the_contract() public {
        for (uint256 i = 0; i < 4; ++i) {
            bytes memory ids = vm.parseJsonBytes(json, _fleet(i, "ids"));
            uint8 keyType = uint8(vm.parseJsonUint(json, _fleet(i, "keyType")));
            bytes26 fleet = registry.enrolFleet(owner, keyType, ids);
            assertEq(bytes32(fleet), bytes32(bytes26(vm.parseJsonBytes(json, _fleet(i, "root")))));
        }
    }

    function test_a_proof_of_python_materialises() public {
        // The lists share ids, and a device has one slot: the largest fleet is tried alone.
        bytes26 fleet = registry.enrolFleet(owner, 2, vm.parseJsonBytes(json, _fleet(3, "ids")));
        for (uint256 k = 0; k < 3; ++k) {
            address device = vm.parseJsonAddress(json, _item(3, "devices", k));
            uint256 position = vm.parseJsonUint(json, _item(3, "positions", k));
            registry.materialise(fleet, device, position, vm.parseJsonBytes(json, _item(3, "proofs", k)));
            (address found,,,) = registry.deviceOf(device);
            assertEq(found, owner);
        }
    }

    function test_the_contract_asks_for_what_python_signs() public {
        (address device, address next) =
            (vm.parseJsonAddress(json, ".device"), vm.parseJsonAddress(json, ".successor"));
        bytes32 digest = registry.hashTransfer(
            device,
            owner,
            vm.parseJsonAddress(json, ".transferTo"),
            vm.parseJsonUint(json, ".transferNonce"),
            uint40(vm.parseJsonUint(json, ".transferDeadline"))
        );
        assertEq(digest, vm.parseJsonBytes32(json, ".transferDigest"));
        vm.prank(device);
        registry.activate(owner);
        vm.prank(owner);
        registry.rotate(device, next, 1, 0, 0, vm.parseJsonBytes(json, ".rotationSignature"));
    }
}
