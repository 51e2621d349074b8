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

/// given a batch of one report and one reading (all kinds of fraud: tests/contracts/anvil/test_frauds.py)
///   ├── a chain that cannot verify P-256, or that has taken another id, judges nobody by it
///   ├── whatever bytes the evidence has, the honest batch keeps its bond
///   └── a demand is about a position, and only positions can be demanded so
contract BatchChallengesTest is DisputeFixture {
    function setUp() public {
        _deploy();
        _activate(0, address(this));
    }

    function _registerP256() internal {
        (address device, bytes32 x, bytes32 y) = _p256();
        bytes32 activation = keccak256(
            abi.encode(keccak256("Activation(address device,address owner)"), device, address(this))
        );
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", registry.domainSeparator(), activation));
        registry.register(device, address(this), 2, x, y, _signP256(digest));
    }

    /// A batch of one report with one observation, signed by the P-256 device.
    function _commitHonest() internal {
        (address device,,) = _p256();
        _commitReport(device, _signP256(_reportDigest(device)));
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

    /// A fork: what was signed for the chain as it was is no bad signature on the one that it has become.
    function test_a_chain_that_takes_another_id_judges_nobody_by_signatures(uint64 chainId) public {
        vm.assume(chainId != block.chainid && chainId != 0);
        _registerP256();
        _commitHonest();
        (, bytes32 x, bytes32 y) = _p256();
        vm.chainId(chainId);
        vm.expectRevert(abi.encodeWithSelector(IBatchChallenges.OtherChain.selector, uint256(chainId)));
        batches.challenge(Fraud.BadSignature, 1, batch, _place(1), _evidence(report, abi.encodePacked(x, y)));
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
