// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ConsumerFixture } from "./ConsumerFixture.sol";
import { Answer, Span, Step, Tally } from "../../../contracts/consumer/AnswerTypes.sol";
import { ProvenAnswers } from "../../../contracts/consumer/ProvenAnswers.sol";

/// given a lane of batches, and answers for spans drawn at random (tests/vectors/consumer.json)
///   ├── every answer comes to what Python counts leaf by leaf, in one call or in any two
///   ├── what was taken before is passed over, whoever brings it
///   ├── the newest state is complete up to a batch that is young enough
///   └── it is final when no batch of it can be challenged and no demand be open
contract ConsumerAnswersTest is ConsumerFixture {
    function _same(Tally memory found, Case memory expected) private view {
        assertEq(found.count, expected.count);
        assertEq(int256(found.sum), expected.sum);
        assertEq(int256(found.min), expected.min);
        assertEq(int256(found.max), expected.max);
        assertEq(found.batchId, _in(lane, expected.last));
        bool any = expected.last > expected.after_;
        assertEq(found.oldest, any ? _committedAt(expected.after_ + 1) : 0);
        assertEq(found.newest, any ? _committedAt(expected.last) : 0);
        assertTrue(found.closed);
    }

    function test_every_answer_is_what_python_counts() public view {
        assertTrue(_caseCount() >= 24);
        for (uint256 i = 0; i < _caseCount(); ++i) {
            _same(asker.prove(_span(i), _answer(i)), _case(i));
        }
    }

    function test_an_answer_in_two_transactions_is_the_same(uint8 which, uint8 cut, uint8 again) public view {
        uint256 i = which % _caseCount();
        (Span memory span, Answer memory answer) = (_span(i), _answer(i));
        uint256 count = answer.steps.length;
        uint256 middle = bound(cut, 0, count);
        uint256 from = bound(again, 0, middle); // the second call brings some of the first one's steps again
        Tally memory tally = asker.begin(span, answer.before);
        tally = asker.take(span, tally, _slice(answer.steps, 0, middle));
        tally = asker.take(span, tally, _slice(answer.steps, from, count));
        _same(asker.close(span, tally, answer.behind), _case(i));
    }

    function test_the_newest_state_is_at_most_so_old() public {
        (Span memory span, Answer memory answer) = (_span(1), _answer(1));
        span.closesAt = type(uint40).max;
        Tally memory found = asker.proveNewest(span, answer, type(uint40).max);
        assertEq(found.count, _case(1).count);
        assertFalse(found.closed);
        uint40 age = uint40(asker.age(found));
        assertEq(age, _committedAt(9) - _committedAt(_case(1).last));
        asker.proveNewest(span, answer, age);
        vm.expectRevert(abi.encodeWithSelector(ProvenAnswers.StaleAnswer.selector, found.newest));
        asker.proveNewest(span, answer, age - 1);
    }

    function test_money_waits_for_the_challenge_and_the_answer_window() public {
        Tally memory found = asker.prove(_span(1), _answer(1));
        uint256 until = found.newest + WINDOW + ANSWER;
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(ProvenAnswers.NotFinal.selector, uint40(until)));
        asker.requireFinal(found);
        vm.warp(until + 1);
        asker.requireFinal(found);
        found.closed = false;
        vm.expectRevert(_incomplete(_case(1).last + 1));
        asker.requireFinal(found);
    }

    function test_a_bond_answers_for_batches_from_its_first_second_on() public {
        Tally memory found = asker.prove(_span(1), _answer(1));
        vm.warp(found.newest + WINDOW + ANSWER + 1);
        found.oldest = batches.bondOf(lane).since;
        asker.requireFinal(found);
        found.oldest -= 1;
        vm.expectRevert(abi.encodeWithSelector(ProvenAnswers.NoBond.selector, found.batchId));
        asker.requireFinal(found);
    }

    /// The last second in which a batch counts is the one in which the span closes.
    function test_a_batch_of_the_closing_second_closes_nothing() public {
        (Span memory span, Answer memory answer) = (_span(1), _answer(1));
        span.closesAt = uint40(_committedAt(_case(1).last + 1));
        vm.expectRevert(_incomplete(_case(1).last + 1));
        asker.prove(span, answer);
    }

    /// Its window may touch the span by a single second.
    function test_a_batch_is_passed_over_only_where_its_window_misses_the_span() public {
        (uint256 i, uint256 place) = _passedOver();
        (Span memory span, Answer memory answer) = (_span(i), _answer(i));
        Tally memory tally = asker.begin(span, answer.before);
        tally = asker.take(span, tally, _slice(answer.steps, 0, place));
        Step[] memory step = _slice(answer.steps, place, place + 1);
        (uint40 first, uint40 last) = (step[0].header.windowStart, step[0].header.windowEnd);
        uint256 number = uint32(step[0].header.batchId);
        (span.start, span.end) = (last + 1, type(uint40).max);
        asker.take(span, tally, step);
        (span.start, span.end) = (0, first - 1);
        asker.take(span, tally, step);
        (span.start, span.end) = (last, type(uint40).max);
        vm.expectRevert(_incomplete(number));
        asker.take(span, tally, step);
        (span.start, span.end) = (0, first);
        vm.expectRevert(_incomplete(number));
        asker.take(span, tally, step);
    }

    /// A case, and a step of its answer that shows no leaves.
    function _passedOver() private view returns (uint256 i, uint256 place) {
        for (i = 0; i < _caseCount(); ++i) {
            Answer memory answer = _answer(i);
            for (place = 0; place < answer.steps.length; ++place) {
                if (answer.steps[place].leaves.length == 0) return (i, place);
            }
        }
        revert("every batch of every answer shows leaves");
    }

    function test_a_closed_tally_takes_nothing_more() public {
        (Span memory span, Answer memory answer) = (_span(1), _answer(1));
        Tally memory found = asker.prove(span, answer);
        vm.expectRevert(_incomplete(_case(1).last));
        asker.take(span, found, answer.steps);
    }

    function test_a_mean_is_above_when_it_is_more_and_never_of_nothing(int32 threshold, uint8 count)
        public
        view
    {
        Tally memory found;
        assertFalse(asker.isMeanAbove(found, -1));
        found.count = uint64(bound(count, 1, 255));
        found.sum = int128(int256(threshold) * int256(uint256(found.count)));
        assertFalse(asker.isMeanAbove(found, threshold));
        found.sum += 1;
        assertTrue(asker.isMeanAbove(found, threshold));
    }

    /// The first batch that is behind is the one and only: neither fewer nor more batches close the span.
    function test_only_one_end_closes_a_span(uint8 which, uint8 other) public {
        uint256 i = which % _caseCount();
        (Span memory span, Answer memory answer) = (_span(i), _answer(i));
        uint256 number = bound(other, 1, commitments.length);
        vm.assume(number != _case(i).last + 1);
        answer.behind = _anchor(number);
        vm.expectRevert(_incomplete(_case(i).last + 1));
        asker.prove(span, answer);
    }
}
