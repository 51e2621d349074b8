// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ConsumerFixture } from "./ConsumerFixture.sol";
import { Answer, Span } from "../../../contracts/consumer/AnswerTypes.sol";
import { ProvenAnswers } from "../../../contracts/consumer/ProvenAnswers.sol";
import { HeatCover } from "../../../contracts/consumer/examples/HeatCover.sol";

/// given a policy that was sold before its time, on the span of answer 4 of the vectors
///   ├── with a mean above the threshold the holder is paid, whoever claims, in one transaction or several
///   ├── with a mean that is not above it, or of too few readings, the underwriter gets the payout back once the time to claim is over
///   ├── nothing is paid before the windows are over, after the time to claim, twice, or of an answer with a gap
///   └── each coin goes to holder or underwriter: nobody else can take one
contract HeatCoverTest is ConsumerFixture {
    uint96 private constant PREMIUM = 1 ether;
    uint96 private constant PAYOUT = 20 ether;
    uint256 private constant ANSWERED = 4; // of batches 3 to 7, one of which holds nothing of the time

    HeatCover private cover;
    Span private span;
    address private underwriter = makeAddr("underwriter");
    address private holder = makeAddr("holder");
    address private stranger = makeAddr("stranger");

    function setUp() public override {
        super.setUp();
        cover = HeatCover(_make("HeatCover.sol:HeatCover", abi.encode(batches)));
        span = _span(ANSWERED);
        vm.deal(underwriter, 100 ether);
        vm.deal(holder, 100 ether);
        vm.warp(_committedAt(_case(ANSWERED).after_)); // the policy is older than what it covers
        assertTrue(_case(ANSWERED).count > 1);
    }

    function _mean() private view returns (int32) {
        return int32(_case(ANSWERED).sum / int256(_case(ANSWERED).count));
    }

    function _terms(int32 threshold, uint32 minReadings) private view returns (HeatCover.Terms memory terms) {
        (terms.lane, terms.device, terms.cell) = (span.lane, span.device, span.cell);
        (terms.start, terms.end, terms.closesAt) = (span.start, span.end, span.closesAt);
        if (terms.closesAt < terms.end) terms.end = terms.closesAt;
        terms.claimUntil = terms.closesAt + 5 days;
        (terms.threshold, terms.minReadings) = (threshold, minReadings);
        (terms.premium, terms.payout) = (PREMIUM, PAYOUT);
    }

    function _offer(int32 threshold, uint32 minReadings) private returns (uint256 id) {
        HeatCover.Terms memory terms = _terms(threshold, minReadings);
        vm.prank(underwriter);
        id = cover.offer{ value: PAYOUT }(terms);
    }

    function _sold(int32 threshold, uint32 minReadings) private returns (uint256 id) {
        id = _offer(threshold, minReadings);
        Answer memory shown = _answer(ANSWERED);
        vm.prank(holder);
        cover.buy{ value: PREMIUM }(id, shown.before);
    }

    function _toTheEnd() private returns (uint256 last) {
        last = _committedAt(_case(ANSWERED).last) + WINDOW + ANSWER;
        vm.warp(last + 1);
    }

    function _withdraws(address account) private returns (uint256) {
        vm.prank(account);
        return cover.withdraw();
    }

    /// With just as many readings as are asked for, and in the last second to claim.
    function test_a_hot_time_pays_the_holder_and_the_premium_is_the_underwriters() public {
        uint256 id = _sold(_mean() - 1, uint32(_case(ANSWERED).count));
        Answer memory shown = _answer(ANSWERED);
        uint256 last = _toTheEnd() - 1;
        vm.warp(last + 1);
        vm.expectRevert(abi.encodeWithSelector(ProvenAnswers.NotFinal.selector, uint40(last + 1)));
        cover.claim(id, shown.steps, shown.behind);
        vm.warp(cover.policyOf(id).terms.claimUntil);
        vm.prank(stranger);
        cover.claim(id, shown.steps, shown.behind);
        assertEq(_withdraws(holder), PAYOUT);
        assertEq(_withdraws(underwriter), PREMIUM);
        assertEq(holder.balance, 100 ether - PREMIUM + PAYOUT);
        assertEq(address(cover).balance, 0);
        vm.expectRevert(abi.encodeWithSelector(HeatCover.NotNow.selector, id));
        cover.claim(id, shown.steps, shown.behind);
        vm.expectRevert(abi.encodeWithSelector(HeatCover.NotNow.selector, id));
        cover.expire(id);
    }

    function test_a_long_time_is_proven_in_several_transactions() public {
        uint256 id = _sold(_mean() - 1, 2);
        Answer memory shown = _answer(ANSWERED);
        uint256 middle = shown.steps.length / 2;
        cover.prove(id, _slice(shown.steps, 0, middle));
        assertEq(cover.policyOf(id).tally.batchId, shown.steps[middle - 1].header.batchId);
        cover.prove(id, _slice(shown.steps, 0, middle)); // once more: nothing changes
        _toTheEnd();
        cover.claim(id, shown.steps, shown.behind);
        assertEq(cover.policyOf(id).tally.count, _case(ANSWERED).count);
        assertEq(cover.owed(holder), PAYOUT);
    }

    function test_a_time_that_is_not_hot_pays_the_underwriter_when_it_expires(bool few) public {
        uint32 least = few ? uint32(_case(ANSWERED).count) + 1 : 2;
        uint256 id = _sold(few ? _mean() - 1 : _mean() + 1, least);
        Answer memory shown = _answer(ANSWERED);
        _toTheEnd();
        bytes memory refused = abi.encodeWithSelector(
            HeatCover.NotHot.selector, uint64(_case(ANSWERED).count), int128(_case(ANSWERED).sum)
        );
        vm.expectRevert(refused);
        cover.claim(id, shown.steps, shown.behind);
        uint256 until = cover.policyOf(id).terms.claimUntil;
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(HeatCover.NotNow.selector, id));
        cover.expire(id);
        vm.warp(until + 1);
        vm.expectRevert(abi.encodeWithSelector(HeatCover.NotNow.selector, id));
        cover.claim(id, shown.steps, shown.behind);
        vm.prank(stranger);
        cover.expire(id);
        assertEq(_withdraws(underwriter), PREMIUM + PAYOUT);
        assertEq(_withdraws(stranger), 0);
        assertEq(address(cover).balance, 0);
    }

    function test_an_answer_with_a_gap_pays_nothing() public {
        uint256 id = _sold(_mean() - 1, 2);
        Answer memory shown = _answer(ANSWERED);
        _toTheEnd();
        vm.expectRevert(_incomplete(_case(ANSWERED).after_ + 1));
        cover.claim(id, _without(shown.steps, 0), shown.behind);
    }

    function test_only_its_underwriter_takes_an_unsold_offer_back() public {
        uint256 id = _offer(0, 1);
        vm.expectRevert(abi.encodeWithSelector(HeatCover.NotUnderwriter.selector, underwriter, address(this)));
        cover.cancel(id);
        vm.prank(underwriter);
        cover.cancel(id);
        Answer memory shown = _answer(ANSWERED);
        vm.prank(holder);
        vm.expectRevert(abi.encodeWithSelector(HeatCover.NotNow.selector, id));
        cover.buy{ value: PREMIUM }(id, shown.before);
        vm.expectRevert(abi.encodeWithSelector(HeatCover.NotNow.selector, id));
        cover.claim(id, shown.steps, shown.behind); // unsold: nobody to pay
        assertEq(_withdraws(underwriter), PAYOUT);
        id = _sold(0, 1);
        vm.prank(underwriter);
        vm.expectRevert(abi.encodeWithSelector(HeatCover.NotNow.selector, id));
        cover.cancel(id);
    }

    function test_a_policy_is_bought_before_it_starts_for_its_premium_by_one() public {
        uint256 id = _offer(0, 1);
        Answer memory shown = _answer(ANSWERED);
        vm.prank(holder);
        vm.expectRevert(abi.encodeWithSelector(HeatCover.WrongPremium.selector, uint256(1), PREMIUM));
        cover.buy{ value: 1 }(id, shown.before);
        vm.warp(span.start);
        vm.prank(holder);
        vm.expectRevert(abi.encodeWithSelector(HeatCover.NotNow.selector, id));
        cover.buy{ value: PREMIUM }(id, shown.before);
        vm.expectRevert(abi.encodeWithSelector(HeatCover.NotNow.selector, id + 1));
        cover.policyOf(id + 1);
        assertEq(cover.policies(), id + 1);
    }

    function test_terms_that_leave_no_time_are_refused(uint8 which) public {
        HeatCover.Terms memory terms = _terms(0, 1);
        uint256 kind = which % 6;
        uint256 sent = PAYOUT;
        if (kind == 0) terms.start = uint40(block.timestamp);
        if (kind == 1) terms.end = terms.start - 1;
        if (kind == 2) terms.closesAt = terms.end - 1;
        if (kind == 3) terms.claimUntil = terms.closesAt + WINDOW + ANSWER;
        if (kind == 4) sent = PAYOUT - 1;
        if (kind == 5) (terms.payout, sent) = (0, 0);
        vm.prank(underwriter);
        vm.expectRevert(HeatCover.InvalidTerms.selector);
        cover.offer{ value: sent }(terms);
    }

    function test_a_moment_may_be_covered_with_a_second_to_claim() public {
        HeatCover.Terms memory terms = _terms(0, 1);
        (terms.end, terms.closesAt) = (terms.start, terms.start);
        terms.claimUntil = terms.closesAt + uint40(WINDOW + ANSWER) + 1;
        vm.prank(underwriter);
        assertEq(cover.offer{ value: PAYOUT }(terms), 0);
    }

    /// This contract takes no ether.
    function test_money_that_is_refused_stays_owed() public {
        vm.deal(address(this), PAYOUT);
        uint256 id = cover.offer{ value: PAYOUT }(_terms(0, 1));
        cover.cancel(id);
        vm.expectRevert(abi.encodeWithSelector(HeatCover.PaymentRefused.selector, address(this)));
        cover.withdraw();
        assertEq(cover.owed(address(this)), PAYOUT);
    }
}
