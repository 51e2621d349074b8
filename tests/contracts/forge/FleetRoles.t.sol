// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Log } from "./Base.sol";
import { FleetFixture } from "./FleetFixture.sol";
import { DeviceRegistry } from "../../../contracts/DeviceRegistry.sol";
import { IDeviceRegistry } from "../../../contracts/interfaces/IDeviceRegistry.sol";

/// given anybody
///   └── it publishes keys, whole and not too many at a time
/// given the admin
///   └── it names enrollers and hands its role over in two steps
contract FleetRolesTest is FleetFixture {
    // -------------------------------------------------------------------------------------------- keys

    function test_anyone_publishes_keys(address sender, uint8 count, bytes32 seed) public {
        bytes memory keys;
        for (uint256 i = 0; i < bound(count, 1, 20); ++i) {
            keys = bytes.concat(keys, keccak256(abi.encode(seed, i)), keccak256(abi.encode(i, seed)));
        }
        vm.expectEmit(address(registry));
        emit IDeviceRegistry.KeysPublished(keys);
        vm.prank(sender);
        registry.publishKeys(keys);
    }

    function test_keys_are_published_whole_and_1024_at_a_time(uint16 length) public {
        vm.assume(length == 0 || length % 64 != 0);
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.MalformedList.selector, length));
        registry.publishKeys(new bytes(length));
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.MalformedList.selector, 1025 * 64));
        registry.publishKeys(new bytes(1025 * 64));
    }

    // ------------------------------------------------------------------------------------------- roles

    function test_only_the_admin_names_enrollers(address stranger) public {
        vm.assume(stranger != address(this));
        bytes memory refusal =
            abi.encodeWithSelector(IDeviceRegistry.NotAdmin.selector, address(this), stranger);
        vm.startPrank(stranger);
        vm.expectRevert(refusal);
        registry.setEnroller(stranger, true);
        vm.expectRevert(refusal);
        registry.offerAdmin(stranger);
    }

    function test_a_dismissed_enroller_enrols_no_more_and_its_fleets_stay(uint256 seed) public {
        bytes26 fleet = _enrol(_ids(seed, 5));
        vm.expectEmit(address(registry));
        emit IDeviceRegistry.EnrollerSet(enroller, false);
        registry.setEnroller(enroller, false);
        assertFalse(registry.isEnroller(enroller));
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.NotEnroller.selector, enroller));
        _enrol(_ids(seed, 6));
        (address found,,) = registry.fleetOf(fleet);
        assertEq(found, owner);
    }

    function test_the_admin_hands_over_in_two_steps(address next, address stranger) public {
        vm.assume(next != address(0) && stranger != next && next != address(this));
        vm.expectEmit(address(registry));
        emit IDeviceRegistry.AdminOffered(address(this), next);
        registry.offerAdmin(next);
        assertEq(registry.admin(), address(this));
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.NotAdmin.selector, next, stranger));
        registry.acceptAdmin();
        vm.expectEmit(address(registry));
        emit IDeviceRegistry.AdminChanged(address(this), next);
        vm.prank(next);
        registry.acceptAdmin();
        assertEq(registry.admin(), next);
        assertEq(registry.adminCandidate(), address(0));
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.NotAdmin.selector, next, address(this)));
        registry.setEnroller(next, true);
    }

    function test_the_admin_of_a_new_registry_is_announced(address first) public {
        vm.recordLogs();
        DeviceRegistry fresh = new DeviceRegistry(first);
        Log[] memory logs = _logsOf(address(fresh));
        assertEq(logs[0].topics[0], IDeviceRegistry.AdminChanged.selector);
        assertEq(logs[0].topics[2], bytes32(uint256(uint160(first))));
        assertEq(fresh.admin(), first);
    }
}
