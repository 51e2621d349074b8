// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Asker, ConsumerFixture } from "./ConsumerFixture.sol";
import { Answer, ICoreChainBatches, Span, Tally } from "../../../contracts/consumer/AnswerTypes.sol";
import { ProvenAnswers } from "../../../contracts/consumer/ProvenAnswers.sol";
import { IDataBatches } from "../../../contracts/interfaces/IDataBatches.sol";
import { InvalidProof } from "../../../contracts/libraries/PositionalTree.sol";

/// What somebody who gains by a number tries with an answer. The honest one is number 3 of the vectors: batches 1 to 7 of the lane, of
/// which the third holds nothing of the device, and the fourth nothing of the time.
contract AttacksConsumerTest is ConsumerFixture {
    uint256 private constant HONEST = 3;
    uint256 private constant SKIPPED = 3; // … without readings of the time
    uint256 private constant HOLDING = 4;

    Span private span;

    function setUp() public override {
        super.setUp();
        span = _span(HONEST);
        Answer memory honest = _answer(HONEST);
        assertEq(honest.steps[SKIPPED].leaves.length, 0);
        assertTrue(honest.steps[HOLDING].leaves.length != 0);
        asker.prove(span, honest);
    }

    function test_a_batch_that_is_left_out_is_missed() public {
        for (uint256 left = 0; left < 6; ++left) {
            Answer memory answer = _answer(HONEST);
            answer.steps = _without(answer.steps, left);
            vm.expectRevert(_incomplete(left + 1));
            asker.prove(span, answer);
        }
    }

    function test_the_last_batches_cannot_be_cut_off() public {
        Answer memory answer = _answer(HONEST);
        uint256 count = answer.steps.length;
        answer.steps = _without(answer.steps, count - 1);
        vm.expectRevert(_incomplete(count));
        asker.prove(span, answer);
        answer.behind = _anchor(count);
        vm.expectRevert(_incomplete(count));
        asker.prove(span, answer);
    }

    function test_batches_of_after_the_closing_time_do_not_count() public {
        span.closesAt = uint40(_committedAt(5));
        vm.expectRevert(_incomplete(6));
        asker.prove(span, _answer(HONEST));
    }

    function test_the_first_batches_cannot_be_cut_off() public {
        Answer memory answer = _answer(HONEST);
        answer.steps = _without(answer.steps, 0);
        answer.before = _anchor(1);
        span.start = uint40(_committedAt(1)); // what was committed in this very second may hold readings of it
        vm.expectRevert(_incomplete(1));
        asker.prove(span, answer);
    }

    function test_a_part_that_is_shown_twice_counts_once() public view {
        Answer memory answer = _answer(HONEST);
        for (uint256 twice = 0; twice < answer.steps.length; ++twice) {
            Tally memory found = asker.begin(span, answer.before);
            found = asker.take(span, found, _slice(answer.steps, 0, twice + 1));
            found = asker.take(span, found, _slice(answer.steps, twice, answer.steps.length));
            assertEq(asker.close(span, found, answer.behind).count, _case(HONEST).count);
        }
    }

    function test_a_batch_cannot_stand_in_for_another() public {
        for (uint256 to = 0; to < 6; ++to) {
            Answer memory answer = _answer(HONEST);
            answer.steps[to] = answer.steps[to + 1];
            vm.expectRevert(_incomplete(to + 1));
            asker.prove(span, answer);
        }
    }

    function test_readings_of_another_device_or_place_prove_nothing(address device, uint64 cell) public {
        vm.assume(device != span.device || cell != span.cell);
        (span.device, span.cell) = (device, cell);
        vm.expectRevert();
        asker.prove(span, _answer(HONEST));
    }

    function test_another_metric_proves_nothing(uint16 metric) public {
        vm.assume(metric != span.metric);
        span.metric = metric;
        vm.expectRevert();
        asker.prove(span, _answer(HONEST));
    }

    function test_readings_of_another_time_prove_nothing(uint40 start, uint40 end) public {
        span.start = uint40(bound(start, span.start + 1, span.end));
        span.end = uint40(bound(end, span.start, span.end));
        Answer memory answer = _answer(HONEST);
        // Another span is another range, unless both hold the same readings: then the answer is the same, rightly.
        try asker.prove(span, answer) returns (Tally memory found) {
            assertEq(found.count, _case(HONEST).count);
        } catch { }
    }

    function test_a_batch_that_may_hold_readings_cannot_be_passed_over() public {
        Answer memory answer = _answer(HONEST);
        (answer.steps[HOLDING].leaves, answer.steps[HOLDING].nodes) = ("", "");
        vm.expectRevert(_incomplete(HOLDING + 1));
        asker.prove(span, answer);
    }

    function test_a_batch_of_another_lane_proves_nothing() public {
        _activate(7, address(this));
        batches.commit(_in(7, 1), _commitment(1));
        Answer memory answer = _answer(HONEST);
        answer.before.batchId = _in(7, 0);
        vm.expectRevert(ProvenAnswers.InvalidProof.selector);
        asker.prove(span, answer);
        span.lane = 7;
        vm.expectRevert(abi.encodeWithSelector(ProvenAnswers.RangeIncomplete.selector, _in(7, 1)));
        asker.prove(span, answer);
    }

    /// On a chain of its own with the same contracts, every answer is refused: its commitments are not there.
    function test_an_answer_of_another_chain_proves_nothing() public {
        vm.warp(START);
        _deploy();
        asker = new Asker(ICoreChainBatches(address(batches)));
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.UnknownBatch.selector, _in(lane, 1)));
        asker.prove(span, _answer(HONEST));
    }

    function test_a_header_that_was_never_committed_proves_nothing(bytes32 dataHash) public {
        Answer memory answer = _answer(HONEST);
        vm.assume(dataHash != answer.steps[HOLDING].header.dataHash);
        answer.steps[HOLDING].header.dataHash = dataHash;
        vm.expectRevert(InvalidProof.selector);
        asker.prove(span, answer);
    }

    function test_a_header_that_does_not_follow_is_refused() public {
        Answer memory answer = _answer(HONEST);
        answer.steps[HOLDING].header.previous = bytes26(uint208(1));
        vm.expectRevert(_incomplete(HOLDING + 1));
        asker.prove(span, answer);
    }

    function test_after_a_fraud_nothing_of_the_lane_pays() public {
        Tally memory found = asker.prove(span, _answer(HONEST));
        vm.warp(found.newest + WINDOW + ANSWER + 1);
        asker.requireFinal(found);
        batches.closeLane(lane);
        vm.warp(block.timestamp + WINDOW + 2);
        batches.withdrawBond(lane);
        vm.expectRevert(abi.encodeWithSelector(ProvenAnswers.NoBond.selector, found.batchId));
        asker.requireFinal(found);
        vm.warp(block.timestamp + 2 * WINDOW);
        _activate(lane, address(this)); // a new bond does not answer for older batches
        vm.expectRevert(abi.encodeWithSelector(ProvenAnswers.NoBond.selector, found.batchId));
        asker.requireFinal(found);
    }
}
