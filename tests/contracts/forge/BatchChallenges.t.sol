// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { BatchFixture } from "./BatchFixture.sol";
import { BatchHeader, Revealed } from "../../../contracts/interfaces/BatchTypes.sol";
import {
    Demand,
    Evidence,
    Fraud,
    IBatchChallenges,
    Shown,
    Witness
} from "../../../contracts/interfaces/IBatchChallenges.sol";

/// given a batch of one report and one reading (all kinds of fraud: tests/contracts/anvil/test_disputes.py)
///   ├── a chain that cannot verify P-256 judges nobody by it
///   ├── whatever bytes the evidence has, the honest batch keeps its bond
///   └── a demand is about a position, and only positions can be demanded so
contract BatchChallengesTest is BatchFixture {
    uint256 internal constant DEVICE = 7;
    uint256 internal constant DEVICE_P256 = 8;
    Revealed internal batch;
    bytes internal report;
    bytes internal reading;

    function setUp() public {
        _deploy();
        _activate(0, address(this));
    }

    function _p256() internal pure returns (address device, bytes32 x, bytes32 y) {
        (uint256 a, uint256 b) = vm.publicKeyP256(DEVICE_P256);
        (x, y) = (bytes32(a), bytes32(b));
        device = address(uint160(uint256(keccak256(abi.encode(x, y)))));
    }

    function _registerP256() internal {
        (address device, bytes32 x, bytes32 y) = _p256();
        bytes32 activation = keccak256(
            abi.encode(keccak256("Activation(address device,address owner)"), device, address(this))
        );
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", registry.domainSeparator(), activation));
        registry.register(device, address(this), 2, x, y, _signP256(digest));
    }

    function _signP256(bytes32 digest) internal pure returns (bytes memory) {
        (bytes32 r, bytes32 s) = vm.signP256(DEVICE_P256, digest);
        uint256 order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551;
        uint256 low = uint256(s) > order / 2 ? order - uint256(s) : uint256(s);
        return abi.encodePacked(r, low);
    }

    /// A batch of one report with one observation, signed by the P-256 device.
    function _commitHonest() internal {
        (address device,,) = _p256();
        bytes memory observations = abi.encodePacked(uint16(1), uint64(2), uint40(1_900_000_000), int32(5));
        bytes32 digest = registry.hashReport(device, 1, observations);
        report = abi.encodePacked(device, uint64(1), uint16(1), observations, _signP256(digest));
        reading = abi.encodePacked(uint16(1), uint64(2), device, uint40(1_900_000_000), int32(5), uint8(1));
        bytes26 readings = bytes26(keccak256(reading));
        bytes26 statistics = bytes26(keccak256(abi.encodePacked(readings, int64(5), int32(5), int32(5))));
        batch.header = BatchHeader(
            1, 0, 0, statistics, bytes26(keccak256(report)), 0, 0, 1, 1, 1_900_000_000, 1_900_000_000
        );
        batch.readingsRoot = readings;
        bytes32 rest = keccak256(abi.encode(batch.header));
        batches.commit(1, bytes26(keccak256(abi.encodePacked(readings, rest))));
    }

    function _shown(bytes memory content) internal pure returns (Shown[] memory shown) {
        shown = new Shown[](1);
        shown[0] = Shown(0, content, new bytes26[](0));
    }

    function _evidence(bytes memory content, bytes memory extra) internal pure returns (Evidence memory) {
        return Evidence(_shown(content), new Witness[](0), extra);
    }

    function test_a_chain_that_cannot_verify_p256_judges_nobody_by_it() public {
        _registerP256();
        _commitHonest();
        (, bytes32 x, bytes32 y) = _p256();
        Evidence memory evidence = _evidence(report, abi.encodePacked(x, y));
        vm.expectRevert(abi.encodeWithSelector(IBatchChallenges.NotFraud.selector, Fraud.BadSignature));
        batches.challenge(Fraud.BadSignature, 1, batch, _place(1), evidence);
        // A chain without the precompile: the call succeeds and returns nothing.
        vm.mockCall(address(0x100), "", "");
        vm.expectRevert(IBatchChallenges.MissingPrecompile.selector);
        batches.challenge(Fraud.BadSignature, 1, batch, _place(1), evidence);
    }

    function test_no_bytes_take_the_bond_of_an_honest_batch(
        uint8 kind,
        bytes memory extra,
        uint8 shows,
        uint32 position,
        bytes26[] memory proof
    ) public {
        _registerP256();
        _commitHonest();
        Shown[] memory shown = new Shown[](2);
        bytes memory content = shows % 3 == 0 ? report : shows % 3 == 1 ? reading : extra;
        shown[0] = Shown(shows % 2 == 0 ? 0 : position, content, shows % 5 == 0 ? proof : new bytes26[](0));
        shown[1] = Shown(position, shows % 7 == 0 ? report : reading, proof);
        Evidence memory evidence = Evidence(shown, new Witness[](0), extra);
        Fraud fraud = Fraud(kind % 12);
        try batches.challenge(fraud, 1, batch, _place(1), evidence) {
            revert("an honest batch lost its bond");
        } catch { }
        assertEq(batches.bondOf(0).amount, BOND);
    }

    function test_another_batch_cannot_be_put_in_its_place(uint48 batchId, bytes26 root) public {
        _commitHonest();
        vm.assume(batchId != 1 || root != batch.readingsRoot);
        if (root != batch.readingsRoot) batch.readingsRoot = root;
        vm.expectRevert();
        batches.challenge(Fraud.MalformedReport, batchId, batch, _place(1), _evidence(report, ""));
    }

    function test_a_demand_names_a_position_in_four_bytes(bytes memory extra) public {
        vm.assume(extra.length != 4);
        _commitHonest();
        bytes26 commitment = batches.commitmentOf(1);
        vm.expectRevert(IBatchChallenges.MalformedEvidence.selector);
        batches.demand(Demand.Report, 1, commitment, _place(1), _evidence(report, extra));
    }

    function test_the_judge_answers_no_demand_without_the_batch(bytes32 subject) public {
        IBatchChallenges judge = batches.judge();
        vm.expectRevert(IBatchChallenges.MalformedEvidence.selector);
        judge.requireAnswer(Demand.Report, bytes26(0), subject, _evidence(report, ""));
    }
}
