// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { BatchFixture } from "./BatchFixture.sol";
import { PlainTree } from "./libraries/PlainTree.sol";
import { BatchHeader, Revealed } from "../../../contracts/interfaces/BatchTypes.sol";
import {
    Demand,
    Evidence,
    Fraud,
    IBatchChallenges,
    Shown,
    Witness
} from "../../../contracts/interfaces/IBatchChallenges.sol";

/// given a batch whose header counts fewer leaves than its tree holds
///   ├── the last one that is counted shows the rest, at whatever level it hides, and the bond falls
///   ├── a batch that counts none proves nothing for nothing
///   ├── neither is an answer when the leaf is demanded: the time to call it a fraud may be over
///   └── of an honest batch no leaf shows anything
contract HiddenLeavesTest is BatchFixture {
    uint40 internal constant SEEN = 1_900_000_000;
    address internal challenger = makeAddr("challenger");

    function setUp() public {
        _deploy();
        _activate(0, address(this));
    }

    function _leaf(bool ofReports, uint256 i) internal pure returns (bytes memory) {
        return ofReports
            ? abi.encodePacked(address(7), uint64(i), uint16(1), new bytes(19 + 64))
            : abi.encodePacked(uint16(1), uint64(2), address(7), uint40(SEEN + i), int32(0), uint8(1));
    }

    /// A batch that counts so many leaves of a tree over more.
    function _batch(bool ofReports, uint256 held, uint32 counted)
        internal
        pure
        returns (Revealed memory batch, bytes26[] memory hashes)
    {
        hashes = new bytes26[](held);
        for (uint256 i = 0; i < held; ++i) {
            hashes[i] = bytes26(keccak256(_leaf(ofReports, i)));
        }
        bytes26 root = PlainTree.root(hashes);
        bytes26 other = bytes26(keccak256(_leaf(!ofReports, 0)));
        batch.readingsRoot = ofReports ? other : root;
        (uint32 readings, uint32 reports) = ofReports ? (uint32(1), counted) : (counted, uint32(1));
        batch.header =
            BatchHeader(1, 0, 0, 0, ofReports ? root : other, 0, 0, readings, reports, SEEN, SEEN + 99);
    }

    function _evidence(bool ofReports, uint256 position, bytes26[] memory hashes)
        internal
        pure
        returns (Evidence memory)
    {
        Shown[] memory shown = new Shown[](1);
        bytes26[] memory proof = PlainTree.proof(hashes, position);
        shown[0] = Shown(uint32(position), _leaf(ofReports, position), proof);
        return Evidence(shown, new Witness[](0), "");
    }

    function _commit(Revealed memory batch) internal {
        bytes32 rest = keccak256(abi.encode(batch.header));
        batches.commit(1, bytes26(keccak256(abi.encodePacked(batch.readingsRoot, rest))));
    }

    function _kind(bool ofReports) internal pure returns (Fraud) {
        return ofReports ? Fraud.MalformedReport : Fraud.MalformedReading;
    }

    function test_who_hides_a_leaf_behind_the_last_one_loses_the_bond(bool ofReports, uint8 size, uint8 rest)
        public
    {
        uint256 depth = bound(size, 1, 4);
        uint256 held = 2 ** depth;
        // Of the same depth, or the proof of another one would be refused.
        uint256 counted = bound(rest, held / 2 + 1, held - 1 > held / 2 ? held - 1 : held);
        if (counted >= held) return;
        (Revealed memory batch, bytes26[] memory hashes) = _batch(ofReports, held, uint32(counted));
        _commit(batch);
        for (uint256 i = 0; i + 1 < counted; ++i) {
            Evidence memory other = _evidence(ofReports, i, hashes);
            vm.expectRevert(
                abi.encodeWithSelector(IBatchChallenges.NotFraud.selector, uint8(_kind(ofReports)))
            );
            batches.challenge(_kind(ofReports), 1, batch, _place(1), other);
        }
        vm.prank(challenger);
        batches.challenge(_kind(ofReports), 1, batch, _place(1), _evidence(ofReports, counted - 1, hashes));
        assertEq(token.balanceOf(challenger), BOND / 2);
    }

    function test_who_counts_no_leaf_loses_the_bond(bool ofReports) public {
        (Revealed memory batch,) = _batch(ofReports, 1, 0);
        _commit(batch);
        vm.prank(challenger);
        batches.challenge(
            _kind(ofReports), 1, batch, _place(1), Evidence(new Shown[](0), new Witness[](0), "")
        );
        assertEq(token.balanceOf(challenger), BOND / 2);
    }

    function _expectNoAnswer(bool ofReports, Revealed memory batch, Evidence memory answer, uint32 position)
        internal
    {
        _commit(batch);
        Demand kind = ofReports ? Demand.Report : Demand.Reading;
        bytes26 commitment = batches.commitmentOf(1);
        Evidence memory asked;
        asked.extra = abi.encodePacked(position);
        bytes32 demandId = batches.demand(kind, 1, commitment, _place(1), asked);
        answer.witnesses = new Witness[](1);
        answer.witnesses[0] = Witness(1, batch, _place(1));
        vm.expectRevert(IBatchChallenges.NotAnAnswer.selector);
        batches.answer(kind, 1, commitment, bytes32(uint256(position)), answer);
        vm.warp(START + ANSWER + 1);
        batches.expire(demandId);
        assertEq(batches.bondOf(0).amount, 0);
    }

    function test_a_last_leaf_with_another_behind_it_is_no_answer(bool ofReports) public {
        (Revealed memory batch, bytes26[] memory hashes) = _batch(ofReports, 4, 3);
        _expectNoAnswer(ofReports, batch, _evidence(ofReports, 2, hashes), 2);
    }

    function test_a_batch_that_counts_no_leaf_answers_no_demand(bool ofReports, uint32 position) public {
        (Revealed memory batch,) = _batch(ofReports, 1, 0);
        Evidence memory nothing;
        _expectNoAnswer(ofReports, batch, nothing, position);
    }

    function test_no_leaf_of_an_honest_batch_hides_anything(bool ofReports, uint8 size) public {
        uint256 count = bound(size, 1, 17);
        (Revealed memory batch, bytes26[] memory hashes) = _batch(ofReports, count, uint32(count));
        _commit(batch);
        for (uint256 i = 0; i < count; ++i) {
            Evidence memory evidence = _evidence(ofReports, i, hashes);
            vm.expectRevert(
                abi.encodeWithSelector(IBatchChallenges.NotFraud.selector, uint8(_kind(ofReports)))
            );
            batches.challenge(_kind(ofReports), 1, batch, _place(1), evidence);
        }
    }
}
