// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { BatchFixture } from "./BatchFixture.sol";
import { BatchHeader, Reading, Revealed } from "../../../contracts/interfaces/BatchTypes.sol";
import { Evidence, Fraud, Shown, Witness } from "../../../contracts/interfaces/IBatchChallenges.sol";
import { InvalidProof } from "../../../contracts/libraries/PositionalTree.sol";

/// given a batch of three readings
///   ├── its last reading cannot be shown a second time (CVE-2012-2459), and padding is no reading
///   └── who commits it with the last one doubled loses the bond
/// given money that nobody staked
///   └── it changes nothing
contract AttacksBatchesTest is BatchFixture {
    bytes26[4] internal leaves;
    Revealed internal batch;

    function setUp() public {
        _deploy();
        _activate(0, address(this));
        for (uint256 i = 0; i < 3; ++i) {
            leaves[i] = bytes26(keccak256(_leaf(i)));
        }
    }

    function _reading(uint256 i) internal pure returns (Reading memory) {
        return Reading(1, 2, address(3), uint40(1000 + i), int32(int256(i)), 1);
    }

    function _leaf(uint256 i) internal pure returns (bytes memory) {
        Reading memory r = _reading(i);
        return abi.encodePacked(r.metric, r.cell, r.device, r.observedAt, r.value, r.flag);
    }

    function _pair(bytes26 left, bytes26 right) internal pure returns (bytes26) {
        return bytes26(keccak256(abi.encodePacked(left, right)));
    }

    function _root() internal view returns (bytes26) {
        return _pair(_pair(leaves[0], leaves[1]), _pair(leaves[2], leaves[3]));
    }

    function _proof(uint256 position) internal view returns (bytes26[] memory proof) {
        proof = new bytes26[](2);
        proof[0] = leaves[position ^ 1];
        proof[1] = position < 2 ? _pair(leaves[2], leaves[3]) : _pair(leaves[0], leaves[1]);
    }

    function _commit(uint32 count) internal returns (bytes32 rest) {
        batch.header = BatchHeader(1, 0, 0, 0, 0, 0, 0, count, 0, 1000, 1002);
        batch.readingsRoot = _root();
        rest = keccak256(abi.encode(batch.header));
        batches.commit(1, bytes26(keccak256(abi.encodePacked(batch.readingsRoot, rest))));
    }

    /// The third reading at two places.
    function _doubled() internal view returns (Evidence memory) {
        Shown[] memory shown = new Shown[](2);
        shown[0] = Shown(2, _leaf(2), _proof(2));
        shown[1] = Shown(3, _leaf(2), _proof(3));
        return Evidence(shown, new Witness[](0), "");
    }

    function test_a_doubled_last_reading_is_another_batch() public {
        bytes26 honest = _root();
        bytes32 rest = _commit(3);
        batches.verifyReading(1, _reading(2), 2, rest, _proof(2));
        bytes26[] memory proof = _proof(3);
        vm.expectRevert(InvalidProof.selector);
        batches.verifyReading(1, _reading(2), 3, rest, proof);
        leaves[3] = leaves[2];
        assertTrue(_root() != honest);
        proof = _proof(3);
        vm.expectRevert(InvalidProof.selector);
        batches.verifyReading(1, _reading(2), 3, rest, proof);
    }

    function test_padding_is_nobodys_reading(uint40 observedAt, int32 value, uint8 flag) public {
        bytes32 rest = _commit(3);
        bytes26[] memory proof = _proof(3);
        Reading memory reading = Reading(1, 2, address(3), observedAt, value, flag);
        vm.expectRevert(InvalidProof.selector);
        batches.verifyReading(1, reading, 3, rest, proof);
    }

    function test_who_doubles_the_last_reading_loses_the_bond() public {
        leaves[3] = leaves[2];
        _commit(4);
        Evidence memory evidence = _doubled();
        address challenger = makeAddr("challenger");
        vm.prank(challenger);
        batches.challenge(Fraud.UnsortedReadings, 1, batch, _place(1), evidence);
        assertEq(token.balanceOf(challenger), BOND / 2);
    }

    /// The same evidence against a batch that says there are three: there is no fourth.
    function test_what_stands_behind_the_last_reading_is_no_evidence() public {
        leaves[3] = leaves[2];
        _commit(3);
        Evidence memory evidence = _doubled();
        vm.expectRevert(InvalidProof.selector);
        batches.challenge(Fraud.UnsortedReadings, 1, batch, _place(1), evidence);
    }

    function test_ether_and_tokens_that_are_forced_in_are_no_bond(uint96 gift) public {
        vm.deal(address(batches), gift);
        token.mint(address(batches), gift);
        batches.assignLane(1, address(this));
        token.approve(address(batches), BOND - 1);
        vm.expectRevert();
        batches.bondLane(1);
        batches.closeLane(0);
        vm.warp(START + WINDOW + 1);
        batches.withdrawBond(0);
        assertEq(token.balanceOf(address(batches)), gift);
    }

    function test_evidence_counts_in_the_last_second_of_the_window_and_not_after(bool late) public {
        leaves[3] = leaves[2];
        _commit(4);
        Evidence memory evidence = _doubled();
        vm.warp(START + WINDOW + (late ? 1 : 0));
        if (late) vm.expectRevert();
        batches.challenge(Fraud.UnsortedReadings, 1, batch, _place(1), evidence);
        assertEq(batches.bondOf(0).amount, late ? BOND : 0);
    }

    function test_evidence_of_a_fraud_pays_one_challenger_once() public {
        leaves[3] = leaves[2];
        _commit(4);
        Evidence memory evidence = _doubled();
        batches.challenge(Fraud.UnsortedReadings, 1, batch, _place(1), evidence);
        vm.expectRevert();
        batches.challenge(Fraud.UnsortedReadings, 1, batch, _place(1), evidence);
    }
}
