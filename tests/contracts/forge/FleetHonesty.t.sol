// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { DisputeFixture } from "./DisputeFixture.sol";
import {
    Demand,
    Evidence,
    Fraud,
    IBatchChallenges,
    Shown,
    Witness
} from "../../../contracts/interfaces/IBatchChallenges.sol";
import { IDisputes } from "../../../contracts/interfaces/IDisputes.sol";
import { FleetTree } from "../../../contracts/libraries/FleetTree.sol";
import { InvalidProof } from "../../../contracts/libraries/PositionalTree.sol";

/// given a batch with a report of a device that a fleet lists and that has no slot when the batch is committed
///   ├── when the report is honest
///   │   ├── whatever the device does afterwards, the fleet's proof answers for its registration
///   │   └── neither it nor a later fleet makes a bad signature of a good one, on whichever curve
///   ├── when the report is forged
///   │   └── the fleet's proof takes the bond, whatever the device does afterwards
///   ├── a key on P-256 is part of the answer, with a slot as without
///   └── a fleet that is later, that nobody enrolled or that does not list the device proves nothing
contract FleetHonestyTest is DisputeFixture {
    uint256 internal constant DEVICE = 7;
    uint8 internal constant SECP256K1 = 1;
    uint8 internal constant P256 = 2;
    address internal attacker = makeAddr("attacker");
    address internal device = vm.addr(DEVICE);
    bytes internal none = new bytes(64);
    /// The secp256k1 public key of the private key 7.
    bytes internal keyOfSeven = hex"5cbdf0646e5db4eaa398f365f2ea7a0e3d419b7e0330e39ce92bddedcac4f9bc"
        hex"6aebca40ba255960a3178d6d861a54dba813d0b813fde7b5a5082628087264da";

    function setUp() public {
        _deploy();
        _activate(0, address(this));
        token.mint(attacker, FEE);
        vm.prank(attacker);
        token.approve(address(batches), FEE);
        registry.setEnroller(address(this), true);
    }

    // ------------------------------------------------------------------------------------------- helpers

    function _enrol(address member, uint8 keyType) internal returns (bytes26) {
        return registry.enrolFleet(attacker, keyType, abi.encodePacked(member));
    }

    /// A fleet of one: no siblings, and nobody else in the leaf.
    function _listed(bytes26 fleet) internal pure returns (bytes memory) {
        return abi.encodePacked(fleet, uint16(0), new bytes(60));
    }

    /// Enrolled at the start, committed 100 s later; it is 200 s later now.
    function _enrolAndCommit(bytes memory signature) internal returns (bytes26 fleet) {
        fleet = _enrol(device, SECP256K1);
        vm.warp(START + 100);
        _commitReport(device, signature);
        vm.warp(START + 200);
    }

    function _enrolAndCommitHonest() internal returns (bytes26) {
        return _enrolAndCommit(signedCompact(DEVICE, _reportDigest(device)));
    }

    function _enrolAndCommitForged() internal returns (bytes26) {
        return _enrolAndCommit(signedCompact(DEVICE + 1, _reportDigest(device)));
    }

    function _demand() internal returns (bytes32 demandId, bytes32 subject) {
        Witness[] memory witnesses = new Witness[](1);
        witnesses[0] = Witness(1, batch, _place(1));
        bytes26 commitment = batches.commitmentOf(1);
        Evidence memory evidence = Evidence(_shown(report), witnesses, "");
        vm.prank(attacker);
        demandId = batches.demand(Demand.Registration, 1, commitment, _place(1), evidence);
        subject = bytes32(uint256(uint160(bytes20(report))) << 96 | (START + 100));
    }

    function _answer(bytes32 subject, bytes memory listed) internal {
        Evidence memory evidence = Evidence(new Shown[](0), new Witness[](0), listed);
        bytes26 commitment = batches.commitmentOf(1);
        batches.answer(Demand.Registration, 1, commitment, subject, evidence);
    }

    function _refuseAnswer(bytes32 subject, bytes memory listed, bytes4 refusal) internal {
        Evidence memory evidence = Evidence(new Shown[](0), new Witness[](0), listed);
        bytes26 commitment = batches.commitmentOf(1);
        vm.expectRevert(abi.encodeWithSelector(refusal));
        batches.answer(Demand.Registration, 1, commitment, subject, evidence);
    }

    /// Demanded, answered, and nothing is left that could expire.
    function _expectAnswered(bytes26 fleet) internal {
        _expectAnsweredBy(abi.encodePacked(none, _listed(fleet)));
    }

    function _expectAnsweredBy(bytes memory who) internal {
        (bytes32 demandId, bytes32 subject) = _demand();
        _answer(subject, who);
        vm.warp(START + 201 + ANSWER);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.UnknownDemand.selector, demandId));
        batches.expire(demandId);
        assertEq(batches.bondOf(0).amount, BOND);
    }

    function _challenge(bytes memory extra) internal {
        vm.prank(attacker);
        batches.challenge(Fraud.BadSignature, 1, batch, _place(1), _evidence(report, extra));
    }

    function _refuseChallenge(bytes memory extra, bytes memory refusal) internal {
        vm.prank(attacker);
        vm.expectRevert(refusal);
        batches.challenge(Fraud.BadSignature, 1, batch, _place(1), _evidence(report, extra));
        assertEq(batches.bondOf(0).amount, BOND);
    }

    function _notFraud() internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IBatchChallenges.NotFraud.selector, Fraud.BadSignature);
    }

    function _unknown(address who) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IBatchChallenges.UnknownDevice.selector, who);
    }

    function _activateDevice() internal {
        vm.prank(device);
        registry.activate(attacker);
    }

    function _succeedAnother() internal {
        address old = vm.addr(9);
        vm.prank(old);
        registry.activate(attacker);
        bytes32 rotation = keccak256("Rotation(address oldDevice,address newDevice,address owner)");
        bytes32 structHash = keccak256(abi.encode(rotation, old, device, attacker));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", registry.domainSeparator(), structHash));
        bytes memory signature = signed(DEVICE, digest);
        vm.prank(attacker);
        registry.rotate(old, device, SECP256K1, 0, 0, signature);
    }

    function _materialise(bytes26 fleet, address member) internal {
        registry.materialise(fleet, member, 0, new bytes(60));
    }

    // ----------------------------------------------------------------------------- honest: registration

    function test_a_fleet_device_that_stays_as_it_is_costs_nobody_the_bond() public {
        _expectAnswered(_enrolAndCommitHonest());
    }

    function test_a_fleet_device_that_registers_after_the_commit_costs_nobody_the_bond() public {
        bytes26 fleet = _enrolAndCommitHonest();
        _activateDevice();
        _expectAnswered(fleet);
    }

    function test_a_fleet_device_that_registers_after_the_demand_costs_nobody_the_bond() public {
        bytes26 fleet = _enrolAndCommitHonest();
        (, bytes32 subject) = _demand();
        _activateDevice();
        _answer(subject, abi.encodePacked(none, _listed(fleet)));
        assertEq(batches.bondOf(0).openDemands, 0);
    }

    function test_a_fleet_device_that_succeeds_another_after_the_commit_costs_nobody_the_bond() public {
        bytes26 fleet = _enrolAndCommitHonest();
        _succeedAnother();
        _expectAnswered(fleet);
    }

    function test_a_fleet_device_that_is_revoked_after_the_commit_costs_nobody_the_bond() public {
        bytes26 fleet = _enrolAndCommitHonest();
        _activateDevice();
        vm.prank(attacker);
        registry.revoke(device);
        _expectAnswered(fleet);
    }

    /// An enroller that errs, or worse: the device again, in a later fleet.
    function test_a_device_in_a_second_fleet_costs_nobody_the_bond() public {
        bytes26 fleet = _enrolAndCommitHonest();
        _materialise(registry.enrolFleet(address(7), SECP256K1, abi.encodePacked(device)), device);
        _expectAnswered(fleet);
    }

    function test_a_materialised_device_needs_no_proof() public {
        bytes26 fleet = _enrolAndCommitHonest();
        (, bytes32 subject) = _demand();
        _materialise(fleet, device);
        _answer(subject, "");
        assertEq(batches.bondOf(0).openDemands, 0);
    }

    function test_a_fleet_of_the_very_second_of_the_commit_counts() public {
        vm.warp(START + 100);
        bytes26 fleet = _enrol(device, SECP256K1);
        _commitReport(device, signedCompact(DEVICE, _reportDigest(device)));
        vm.warp(START + 200);
        _expectAnswered(fleet);
    }

    // ------------------------------------------------------------------------------- honest: signatures

    function test_no_registration_makes_a_bad_signature_of_a_good_one() public {
        bytes memory listed = _listed(_enrolAndCommitHonest());
        _refuseChallenge(abi.encodePacked(none, listed), _notFraud());
        _refuseChallenge(none, _unknown(device));
        _activateDevice();
        _refuseChallenge(abi.encodePacked(none, listed), _notFraud());
        _refuseChallenge(none, _unknown(device));
    }

    /// The id is the hash of the key on either curve: who names the wrong one says nothing about the signature.
    function test_a_fleet_of_another_key_type_costs_nobody_the_bond() public {
        bytes26 wrong = _enrol(device, P256);
        _enrolAndCommitHonest();
        _refuseChallenge(abi.encodePacked(keyOfSeven, _listed(wrong)), _notFraud());
        _materialise(wrong, device);
        _refuseChallenge(keyOfSeven, _notFraud());
    }

    function test_a_later_fleet_of_another_key_type_costs_no_secure_element_the_bond() public {
        (address secure, bytes32 x, bytes32 y) = _p256();
        bytes26 fleet = _enrol(secure, P256);
        vm.warp(START + 100);
        _commitReport(secure, _signP256(_reportDigest(secure)));
        vm.warp(START + 200);
        bytes26 later = _enrol(secure, SECP256K1);
        _refuseChallenge(abi.encodePacked(none, _listed(later)), _unknown(secure));
        _materialise(later, secure);
        _refuseChallenge("", _unknown(secure));
        _refuseChallenge(abi.encodePacked(x, y, _listed(fleet)), _notFraud());
        _expectAnsweredBy(abi.encodePacked(x, y, _listed(fleet)));
    }

    /// How a submitter need not trust enrollers: a slot counts before any fleet.
    function test_a_slot_of_one_fleet_is_a_shield_against_another() public {
        (address secure, bytes32 x, bytes32 y) = _p256();
        _materialise(_enrol(secure, P256), secure);
        bytes26 wrong = _enrol(secure, SECP256K1);
        vm.warp(START + 100);
        _commitReport(secure, _signP256(_reportDigest(secure)));
        _refuseChallenge(abi.encodePacked(none, _listed(wrong)), _keyMismatch(secure));
        _refuseChallenge(abi.encodePacked(x, y, _listed(wrong)), _notFraud());
    }

    function _keyMismatch(address who) internal pure returns (bytes memory) {
        address ofZeros = address(uint160(uint256(keccak256(new bytes(64)))));
        return abi.encodeWithSelector(IBatchChallenges.KeyMismatch.selector, who, ofZeros);
    }

    // ------------------------------------------------------------------------------------------- forged

    function test_a_forged_report_of_a_fleet_device_takes_the_bond() public {
        _challenge(abi.encodePacked(none, _listed(_enrolAndCommitForged())));
        assertEq(batches.bondOf(0).amount, 0);
    }

    function test_a_forged_report_takes_the_bond_also_when_the_device_registers_later() public {
        bytes26 fleet = _enrolAndCommitForged();
        _activateDevice();
        _challenge(abi.encodePacked(none, _listed(fleet)));
        assertEq(batches.bondOf(0).amount, 0);
    }

    function test_a_slot_of_the_very_second_of_the_commit_counts() public {
        vm.warp(START + 100);
        _activateDevice();
        _commitReport(device, signedCompact(DEVICE + 1, _reportDigest(device)));
        vm.warp(START + 200);
        _challenge("");
        assertEq(batches.bondOf(0).amount, 0);
    }

    /// Who forged it sees the challenge coming, and materialises the device to spoil the evidence.
    function test_a_forged_report_takes_the_bond_also_when_the_device_is_materialised_meanwhile() public {
        bytes26 fleet = _enrolAndCommitForged();
        _materialise(fleet, device);
        _challenge(abi.encodePacked(none, _listed(fleet)));
        assertEq(batches.bondOf(0).amount, 0);
    }

    function test_a_forged_report_of_a_secure_element_in_a_fleet_takes_the_bond() public {
        (address secure, bytes32 x, bytes32 y) = _p256();
        bytes memory listed = _listed(_enrol(secure, P256));
        vm.warp(START + 100);
        _commitReport(secure, signedCompact(DEVICE, _reportDigest(secure)));
        bytes memory short = abi.encodePacked(x, bytes31(y));
        _refuseChallenge(short, _unknown(secure));
        _refuseChallenge(abi.encodePacked(none, listed), _keyMismatch(secure));
        _challenge(abi.encodePacked(x, y, listed));
        assertEq(batches.bondOf(0).amount, 0);
    }

    /// In no fleet: its own slot comes too late to answer for it.
    function test_a_device_that_registers_itself_after_the_commit_was_unknown() public {
        bytes memory stranger = abi.encodePacked(none, _listed(_enrol(address(9), SECP256K1)));
        vm.warp(START + 100);
        _commitReport(device, signedCompact(DEVICE, _reportDigest(device)));
        vm.warp(START + 200);
        _activateDevice();
        (bytes32 demandId, bytes32 subject) = _demand();
        _refuseAnswer(subject, "", IBatchChallenges.NotAnAnswer.selector);
        _refuseAnswer(subject, stranger, InvalidProof.selector);
        bytes memory late = abi.encodePacked(none, _listed(_enrol(device, SECP256K1)));
        _refuseAnswer(subject, late, IBatchChallenges.NotAnAnswer.selector);
        vm.warp(START + 201 + ANSWER);
        batches.expire(demandId);
        assertEq(batches.bondOf(0).amount, 0);
    }

    // ------------------------------------------------------------------------------------------- proofs

    /// Of owner, date and key type zero the registry says just that of any root that nobody enrolled.
    function test_a_fleet_that_nobody_enrolled_proves_nothing() public {
        vm.warp(START + 100);
        _commitReport(device, signedCompact(DEVICE, _reportDigest(device)));
        vm.warp(START + 200);
        (, bytes32 subject) = _demand();
        bytes26 top = bytes26(keccak256(abi.encodePacked(device, new bytes(60))));
        for (uint8 keyType = 0; keyType < 3; ++keyType) {
            bytes26 invented = FleetTree.seal(top, address(0), keyType);
            _refuseAnswer(subject, abi.encodePacked(none, _listed(invented)), InvalidProof.selector);
        }
    }

    function test_a_proof_is_of_its_device_its_place_and_its_form(uint16 position, bytes memory other)
        public
    {
        bytes26 fleet = _enrolAndCommitHonest();
        (, bytes32 subject) = _demand();
        if (position != 0) {
            bytes memory elsewhere = abi.encodePacked(none, fleet, position, new bytes(60));
            _refuseAnswer(subject, elsewhere, InvalidProof.selector);
        }
        bytes4 refusal =
            other.length < 28 ? IBatchChallenges.MalformedEvidence.selector : InvalidProof.selector;
        if (other.length != 0) _refuseAnswer(subject, abi.encodePacked(none, other), refusal);
        _refuseAnswer(subject, abi.encodePacked(none, _listed(fleet), uint8(0)), InvalidProof.selector);
        _answer(subject, abi.encodePacked(none, _listed(fleet)));
    }

    // ------------------------------------------------------------------------------------- keys on P-256

    /// A list of ids holds no keys: who committed the report has seen it, nobody else need have.
    function test_the_key_of_a_secure_element_is_part_of_the_answer(bool slot) public {
        (address secure, bytes32 x, bytes32 y) = _p256();
        bytes26 fleet = _enrol(secure, P256);
        vm.warp(START + 100);
        if (slot) _materialise(fleet, secure);
        _commitReport(secure, signedCompact(DEVICE, _reportDigest(secure)));
        vm.warp(START + 200);
        (, bytes32 subject) = _demand();
        bytes memory listed = slot ? bytes("") : _listed(fleet);
        _refuseAnswer(subject, slot ? bytes("") : new bytes(63), _silence(slot));
        bytes memory ofNobody = abi.encodePacked(none, listed);
        vm.expectRevert(_keyMismatch(secure));
        this.answer(subject, ofNobody);
        _answer(subject, abi.encodePacked(x, y, listed));
        _challenge(abi.encodePacked(x, y, listed));
        assertEq(batches.bondOf(0).amount, 0);
    }

    function answer(bytes32 subject, bytes memory who) external {
        _answer(subject, who);
    }

    function _silence(bool slot) internal pure returns (bytes4) {
        return slot ? IBatchChallenges.MalformedEvidence.selector : IBatchChallenges.NotAnAnswer.selector;
    }

    /// Its fleet says P-256, its signatures are of secp256k1: they tell the key, which hashes to the id on either curve.
    function test_who_was_listed_on_the_wrong_curve_still_has_a_key_to_show() public {
        bytes26 wrong = _enrol(device, P256);
        vm.warp(START + 100);
        _commitReport(device, signedCompact(DEVICE, _reportDigest(device)));
        vm.warp(START + 200);
        _expectAnsweredBy(abi.encodePacked(keyOfSeven, _listed(wrong)));
    }
}
