// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Log } from "./Base.sol";
import { FleetFixture } from "./FleetFixture.sol";
import { IDeviceRegistry } from "../../../contracts/interfaces/IDeviceRegistry.sol";
import { FleetTree } from "../../../contracts/libraries/FleetTree.sol";
import { InvalidProof } from "../../../contracts/libraries/PositionalTree.sol";

/// given an enroller
///   when it enrols a fleet
///     ├── owner, time and key type are in one slot, the list in the log, and the list makes the root
///     ├── it is refused when it was enrolled before, is unsorted, repeats an id, is empty, too long or cut off
///     └── it is refused to anybody else
///   when a device of the fleet is materialised
///     ├── its slot says what the fleet says, whoever sends it, and from then on its owner acts on it
///     └── it is refused without a proof: of another fleet, device, position or shape, of a node, of the zero id
///   when the device registers itself first
///     └── its own word counts: it cannot be materialised any more, nor by any other fleet
contract FleetsTest is FleetFixture {
    // --------------------------------------------------------------------------------------- enrolment

    function test_a_fleet_is_a_slot_and_its_list_is_in_the_log(
        uint256 seed,
        uint16 size,
        bool secure,
        uint40 time
    ) public {
        bytes memory ids = _ids(seed, bound(size, 1, 150));
        uint8 keyType = secure ? 2 : 1;
        vm.warp(time);
        vm.recordLogs();
        vm.prank(enroller);
        bytes26 fleet = registry.enrolFleet(owner, keyType, ids);
        assertEq(bytes32(fleet), bytes32(_root(ids, owner, keyType)));
        (address found, uint40 registeredAt, uint8 foundType) = registry.fleetOf(fleet);
        assertEq(found, owner);
        assertEq(registeredAt, time);
        assertEq(foundType, keyType);
        Log[] memory logs = _logsOf(address(registry));
        assertEq(logs.length, 1);
        assertEq(logs[0].topics[0], IDeviceRegistry.FleetEnrolled.selector);
        assertEq(logs[0].topics[1], bytes32(fleet));
        assertEq(logs[0].topics[2], bytes32(uint256(uint160(owner))));
        (uint8 typeInLog, bytes memory list) = abi.decode(logs[0].data, (uint8, bytes));
        assertEq(typeInLog, keyType);
        assertEq(bytes32(_root(list, owner, typeInLog)), bytes32(fleet));
        assertEq(keccak256(list), keccak256(ids));
    }

    function test_a_fleet_has_at_most_4096_devices() public {
        bytes memory ids = _ids(1, FleetTree.MAX_DEVICES);
        assertEq(bytes32(_enrol(ids)), bytes32(_root(ids, owner, 1)));
        bytes memory more = _ids(1, FleetTree.MAX_DEVICES + 1);
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.MalformedList.selector, more.length));
        _enrol(more);
    }

    function test_a_list_is_whole_ids_and_at_least_one(uint256 seed, uint8 size, uint8 extra) public {
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.MalformedList.selector, 0));
        _enrol("");
        bytes memory ids = bytes.concat(_ids(seed, bound(size, 0, 9)), new bytes(bound(extra, 1, 19)));
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.MalformedList.selector, ids.length));
        _enrol(ids);
    }

    function test_a_fleet_is_enrolled_once_and_keeps_its_date(uint256 seed, uint8 size) public {
        bytes memory ids = _ids(seed, bound(size, 1, 30));
        bytes26 fleet = _enrol(ids);
        vm.warp(1000);
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.AlreadyEnrolled.selector, fleet));
        _enrol(ids);
        (, uint40 registeredAt,) = registry.fleetOf(fleet);
        assertEq(registeredAt, 1);
    }

    /// Nobody's list can stand in the way of another owner's.
    function test_the_same_list_of_another_owner_or_type_is_another_fleet(uint256 seed, address other)
        public
    {
        vm.assume(other != owner && other != address(0));
        bytes memory ids = _ids(seed, 9);
        bytes26 fleet = _enrol(ids);
        vm.startPrank(enroller);
        assertTrue(registry.enrolFleet(other, 1, ids) != fleet);
        assertTrue(registry.enrolFleet(owner, 2, ids) != fleet);
    }

    function test_a_swapped_pair_of_ids_is_refused(uint256 seed, uint8 size, uint8 where) public {
        uint256 count = bound(size, 2, 60);
        bytes memory ids = _ids(seed, count);
        uint256 start = bound(where, 0, count - 2) * 20;
        bytes memory swapped = bytes.concat(
            _cut(ids, 0, start),
            _cut(ids, start + 20, 20),
            _cut(ids, start, 20),
            _cut(ids, start + 40, ids.length - start - 40)
        );
        vm.expectRevert(IDeviceRegistry.NotAscending.selector);
        _enrol(swapped);
    }

    function test_a_repeated_id_is_refused(uint256 seed, uint8 size, uint8 where) public {
        uint256 count = bound(size, 1, 60);
        bytes memory ids = _ids(seed, count);
        uint256 start = bound(where, 1, count) * 20;
        bytes memory repeated = bytes.concat(
            _cut(ids, 0, start), _cut(ids, start - 20, 20), _cut(ids, start, ids.length - start)
        );
        vm.expectRevert(IDeviceRegistry.NotAscending.selector);
        _enrol(repeated);
    }

    function test_the_zero_id_is_no_device(uint256 seed, uint8 size) public {
        bytes memory ids = bytes.concat(new bytes(20), _ids(seed, bound(size, 0, 20)));
        vm.expectRevert(IDeviceRegistry.NotAscending.selector);
        _enrol(ids);
    }

    /// What stands behind the list in the calldata is no part of it.
    function test_calldata_behind_the_list_changes_nothing(uint256 seed, uint8 size, bytes calldata behind)
        public
    {
        bytes memory ids = _ids(seed, bound(size, 1, 30));
        bytes memory data = abi.encodeCall(registry.enrolFleet, (owner, 1, ids));
        // Right behind the last id: the ABI's filling up to a word is taken away too.
        data = bytes.concat(_cut(data, 0, 132 + ids.length), behind);
        vm.assume(behind.length >= 31);
        vm.prank(enroller);
        (bool success, bytes memory answer) = address(registry).call(data);
        assertTrue(success);
        assertEq(bytes32(answer), bytes32(_root(ids, owner, 1)));
    }

    function test_only_an_enroller_enrols(address stranger) public {
        vm.assume(stranger != enroller);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.NotEnroller.selector, stranger));
        registry.enrolFleet(owner, 1, _ids(1, 3));
    }

    function test_a_fleet_has_an_owner_and_a_key_type_that_exists(uint8 keyType) public {
        vm.assume(keyType != 1 && keyType != 2);
        vm.startPrank(enroller);
        vm.expectRevert(IDeviceRegistry.ZeroOwner.selector);
        registry.enrolFleet(address(0), 1, _ids(1, 3));
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.UnknownKeyType.selector, keyType));
        registry.enrolFleet(owner, keyType, _ids(1, 3));
    }

    // --------------------------------------------------------------------------------- materialisation

    function test_every_device_of_a_fleet_can_be_materialised(
        uint256 seed,
        uint16 size,
        uint16 where,
        address sender
    ) public {
        uint256 count = bound(size, 1, 300);
        uint256 position = bound(where, 0, count - 1);
        bytes memory ids = _ids(seed, count);
        address device = _id(ids, position);
        bytes26 fleet = _enrol(ids);
        vm.warp(5000);
        vm.expectEmit(address(registry));
        emit IDeviceRegistry.DeviceMaterialised(device, owner, 1, fleet);
        vm.prank(sender);
        registry.materialise(fleet, device, position, _proof(ids, position));
        // A dispute about the past sees the fleet's date.
        _assertDevice(device, owner, 1, 1, 0);
        bytes memory proof = _proof(ids, position);
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.AlreadyRegistered.selector, device));
        registry.materialise(fleet, device, position, proof);
    }

    function test_the_last_device_of_the_largest_fleet_can_be_materialised() public {
        bytes memory ids = _ids(2, FleetTree.MAX_DEVICES);
        bytes26 fleet = _enrol(ids);
        uint256 last = FleetTree.MAX_DEVICES - 1;
        registry.materialise(fleet, _id(ids, last), last, _proof(ids, last));
        _assertDevice(_id(ids, last), owner, 1, 1, 0);
    }

    function test_a_device_outside_the_fleet_has_no_proof(
        uint256 seed,
        uint8 size,
        uint8 where,
        address other
    ) public {
        uint256 count = bound(size, 1, 40);
        uint256 position = bound(where, 0, count - 1);
        bytes memory ids = _ids(seed, count);
        vm.assume(other != _id(ids, position));
        bytes26 fleet = _enrol(ids);
        bytes memory proof = _proof(ids, position);
        vm.expectRevert(InvalidProof.selector);
        registry.materialise(fleet, other, position, proof);
    }

    function test_a_device_stands_at_one_position_only(uint256 seed, uint8 size, uint8 where, uint256 other)
        public
    {
        uint256 count = bound(size, 1, 40);
        uint256 position = bound(where, 0, count - 1);
        vm.assume(other != position);
        bytes memory ids = _ids(seed, count);
        bytes26 fleet = _enrol(ids);
        bytes memory proof = _proof(ids, position);
        address device = _id(ids, position);
        vm.expectRevert(InvalidProof.selector);
        registry.materialise(fleet, device, other, proof);
    }

    function test_a_proof_of_another_fleet_is_refused(uint256 seed, uint8 size) public {
        bytes memory ids = _ids(seed, bound(size, 2, 40));
        bytes26 fleet = _enrol(ids);
        bytes26 other = _enrol(_cut(ids, 20, ids.length - 20));
        bytes memory proof = _proof(ids, 0);
        address device = _id(ids, 0);
        vm.expectRevert(InvalidProof.selector);
        registry.materialise(other, device, 0, proof);
        // Same list, other owner: the tree is the same, the fleet is not.
        vm.prank(enroller);
        bytes26 foreign = registry.enrolFleet(makeAddr("other"), 1, ids);
        registry.materialise(foreign, device, 0, proof);
        _assertDevice(device, makeAddr("other"), 1, 1, 0);
        assertTrue(foreign != fleet);
    }

    function test_an_unknown_fleet_proves_nothing(bytes26 fleet, address device) public {
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.UnknownFleet.selector, fleet));
        registry.materialise(fleet, device, 0, new bytes(60));
    }

    /// The places after the last id hold zeros, and zeros are no device.
    function test_the_filling_of_the_last_leaf_is_no_device(uint256 seed, uint8 size) public {
        uint256 count = bound(size, 1, 40);
        vm.assume(count % 4 != 0);
        bytes memory ids = _ids(seed, count);
        bytes26 fleet = _enrol(ids);
        bytes memory proof = _proof(ids, count);
        vm.expectRevert(InvalidProof.selector);
        registry.materialise(fleet, address(0), count, proof);
    }

    /// A node is 26 bytes of hash, two are 52: cut into ids they are no leaf, which has 80.
    function test_a_node_does_not_pass_as_a_leaf(uint256 seed) public {
        bytes memory ids = _ids(seed, 8);
        bytes26 fleet = _enrol(ids);
        bytes26[] memory leaves = _leaves(ids);
        bytes memory pair = bytes.concat(leaves[0], leaves[1]);
        address device = address(bytes20(pair));
        // The fitting 52 bytes less the device are 32, and a leaf's other ids are 60.
        bytes memory rest = _cut(pair, 20, 32);
        vm.expectRevert(InvalidProof.selector);
        registry.materialise(fleet, device, 0, rest);
        vm.expectRevert(InvalidProof.selector);
        registry.materialise(fleet, device, 0, bytes.concat(rest, new bytes(28)));
    }

    function test_a_proof_of_a_wrong_shape_is_refused(uint256 seed, uint8 size, uint16 length) public {
        uint256 count = bound(size, 1, 40);
        bytes memory ids = _ids(seed, count);
        bytes26 fleet = _enrol(ids);
        bytes memory proof = _proof(ids, 0);
        length = uint16(bound(length, 0, 400));
        vm.assume(length != proof.length);
        address device = _id(ids, 0);
        vm.expectRevert(InvalidProof.selector);
        registry.materialise(fleet, device, 0, _cut(proof, 0, length));
    }

    // -------------------------------------------------------------------------------------- precedence

    function test_a_device_in_a_strangers_fleet_frees_itself(uint256 seed) public {
        uint256 key = _key(seed);
        address device = vm.addr(key);
        address rightful = makeAddr("rightful owner");
        (bytes memory ids, uint256 position) = _with(device, seed);
        bytes26 fleet = _enrol(ids);
        registry.register(device, rightful, 1, 0, 0, signed(key, _activation(device, rightful)));
        _assertDevice(device, rightful, 1, 1, 0);
        bytes memory proof = _proof(ids, position);
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.AlreadyRegistered.selector, device));
        registry.materialise(fleet, device, position, proof);
    }

    function test_a_registered_device_is_out_of_reach_of_every_enroller(uint256 seed) public {
        uint256 key = _key(seed);
        address device = _register(key);
        (bytes memory ids, uint256 position) = _with(device, seed);
        vm.prank(enroller);
        bytes26 fleet = registry.enrolFleet(makeAddr("thief"), 1, ids);
        bytes memory proof = _proof(ids, position);
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.AlreadyRegistered.selector, device));
        registry.materialise(fleet, device, position, proof);
        _assertDevice(device, owner, 1, 1, 0);
    }

    /// The trust in an enroller, exactly: of two claims to a device that was never heard of, the first slot stands.
    function test_a_materialised_device_stays_with_its_fleets_owner(uint256 seed) public {
        uint256 key = _key(seed);
        address device = vm.addr(key);
        (bytes memory ids, uint256 position) = _with(device, seed);
        registry.materialise(_enrol(ids), device, position, _proof(ids, position));
        bytes memory signature = signed(key, _activation(device, makeAddr("late")));
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.AlreadyRegistered.selector, device));
        registry.register(device, makeAddr("late"), 1, 0, 0, signature);
    }

    function test_the_owner_revokes_a_device_of_its_fleet_in_one_transaction(uint256 seed) public {
        uint256 key = _key(seed);
        address device = vm.addr(key);
        (bytes memory ids, uint256 position) = _with(device, seed);
        bytes26 fleet = _enrol(ids);
        bytes[] memory calls = new bytes[](2);
        calls[0] = abi.encodeCall(registry.materialise, (fleet, device, position, _proof(ids, position)));
        calls[1] = abi.encodeCall(registry.revoke, (device));
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.NotOwner.selector, owner, address(this)));
        registry.multicall(calls);
        _assertDevice(device, address(0), 0, 0, 0);
        vm.warp(77);
        vm.prank(owner);
        registry.multicall(calls);
        _assertDevice(device, owner, 1, 1, 77);
        bytes memory signature = signed(key, _activation(device, owner));
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.AlreadyRegistered.selector, device));
        registry.register(device, owner, 1, 0, 0, signature);
    }

    function test_a_device_that_only_a_fleet_knows_does_nothing_yet(uint256 seed) public {
        uint256 key = _key(seed);
        address device = vm.addr(key);
        (bytes memory ids,) = _with(device, seed);
        _enrol(ids);
        bytes memory refusal = abi.encodeWithSelector(IDeviceRegistry.UnknownDevice.selector, device);
        bytes memory signature = signed(key, registry.hashReport(device, 1, hex"01"));
        vm.expectRevert(refusal);
        registry.verifyReport(device, 1, hex"01", signature, 0, 0);
        vm.startPrank(owner);
        vm.expectRevert(refusal);
        registry.transfer(device, enroller);
        vm.expectRevert(refusal);
        registry.revoke(device);
    }

    function test_a_materialised_device_reports_and_is_sold(uint256 seed, address buyer) public {
        vm.assume(buyer != address(0));
        uint256 key = _key(seed);
        address device = vm.addr(key);
        (bytes memory ids, uint256 position) = _with(device, seed);
        registry.materialise(_enrol(ids), device, position, _proof(ids, position));
        bytes memory report = signed(key, registry.hashReport(device, 1, hex"01"));
        registry.verifyReport(device, 1, hex"01", report, 0, 0);
        bytes memory consent = signed(key, registry.hashTransfer(device, owner, buyer, 0, 9));
        vm.prank(owner);
        registry.transferWithSignature(device, buyer, 9, 0, 0, consent, "");
        _assertDevice(device, buyer, 1, 1, 0);
    }
}
