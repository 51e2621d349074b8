// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { StateFixture } from "./StateFixture.sol";
import { StateChannels } from "../../../contracts/StateChannels.sol";
import { IStateChannels } from "../../../contracts/interfaces/IStateChannels.sol";
import { TransferFailed } from "../../../contracts/libraries/SafeErc20.sol";
import { InvalidSignature } from "../../../contracts/libraries/Signatures.sol";
import { BlockingToken, FeeToken, MintableToken, ReentrantToken } from "../../../contracts/mocks/Tokens.sol";

/// given an open channel
///   when both parties sign a close
///     └── both are paid at once; a party's own call stands for its signature
///   when a party challenges
///     ├── a newer state replaces an older one until the deadline, an older one never
///     ├── after the deadline the newest state pays, whoever asks
///     └── without any signed state the deposit goes back as it came
///   when signatures are of another channel, type, chain, contract or of one party only
///     └── they are refused
///   when it was closed
///     └── its terms and states are worthless for ever
/// given a strange token
///   ├── a fee opens nothing, a call back gets nowhere
///   └── a party that it refuses is paid later; the other one is paid now
contract StateChannelsTest is StateFixture {
    function setUp() public {
        _start();
    }

    function test_both_parties_close_at_once(uint88 deposit, uint88 share, address sender) public {
        deposit = uint88(bound(deposit, 1, 1e26));
        share = uint88(bound(share, 0, deposit));
        IStateChannels.Terms memory terms = _open(1, deposit, 0);
        bytes32 digest = _closeDigest(terms, share);
        bytes memory ofA = signed(keyOf("party a"), digest);
        bytes memory ofB = signed(keyOf("party b"), digest);
        vm.prank(sender);
        channels.close(terms, share, ofA, ofB);
        assertEq(token.balanceOf(a), 1e27 - deposit + share);
        assertEq(token.balanceOf(b), deposit - share);
    }

    function test_a_partys_call_stands_for_its_signature() public {
        IStateChannels.Terms memory terms = _open(1, 10, 0);
        bytes memory ofA = signed(keyOf("party a"), _closeDigest(terms, 4));
        vm.prank(b);
        channels.close(terms, 4, ofA, "");
        assertEq(token.balanceOf(b), 6);
    }

    function test_one_signature_is_not_enough(address relayer) public {
        vm.assume(relayer != a && relayer != b);
        IStateChannels.Terms memory terms = _open(1, 10, 0);
        bytes memory ofA = signed(keyOf("party a"), _closeDigest(terms, 4));
        vm.prank(relayer);
        vm.expectRevert(InvalidSignature.selector);
        channels.close(terms, 4, ofA, ofA);
    }

    function test_a_state_is_not_a_close() public {
        IStateChannels.Terms memory terms = _open(1, 10, 0);
        IStateChannels.SignedState memory state = _state(terms, 1, 4);
        vm.expectRevert(InvalidSignature.selector);
        channels.close(terms, 4, state.signatureA, state.signatureB);
    }

    function test_the_newest_state_wins(uint40 older, uint40 newer, uint88 one, uint88 two) public {
        older = uint40(bound(older, 1, type(uint40).max - 3));
        newer = uint40(bound(newer, older + 1, type(uint40).max - 1));
        (one, two) = (uint88(bound(one, 0, 100)), uint88(bound(two, 0, 100)));
        IStateChannels.Terms memory terms = _open(1, 100, 0);
        vm.prank(a);
        channels.challenge(terms, _state(terms, older, one));
        vm.prank(tower);
        channels.respond(terms, _state(terms, newer, two));
        IStateChannels.SignedState memory stale = _state(terms, older, one);
        vm.expectRevert(abi.encodeWithSelector(IStateChannels.StaleState.selector, newer, older));
        channels.respond(terms, stale);
        vm.warp(block.timestamp + PERIOD);
        vm.prank(tower);
        channels.finalise(terms);
        assertEq(token.balanceOf(a), 1e27 - 100 + two);
        assertEq(token.balanceOf(b), 100 - two);
    }

    function test_nothing_is_paid_before_the_deadline(uint256 waited) public {
        waited = bound(waited, 0, PERIOD - 1);
        IStateChannels.Terms memory terms = _open(1, 100, 0);
        vm.prank(b);
        channels.challenge(terms, _state(terms, 1, 1));
        uint40 deadline = uint40(block.timestamp) + PERIOD;
        vm.warp(block.timestamp + waited);
        vm.expectRevert(abi.encodeWithSelector(IStateChannels.ChallengeRunning.selector, deadline));
        channels.finalise(terms);
    }

    function test_an_answer_after_the_deadline_is_too_late() public {
        IStateChannels.Terms memory terms = _open(1, 100, 0);
        vm.prank(b);
        channels.challenge(terms, _state(terms, 1, 1));
        uint40 deadline = uint40(block.timestamp) + PERIOD;
        vm.warp(deadline);
        IStateChannels.SignedState memory newer = _state(terms, 2, 50);
        vm.expectRevert(abi.encodeWithSelector(IStateChannels.ChallengeOver.selector, deadline));
        channels.respond(terms, newer);
    }

    function test_without_any_state_the_deposit_goes_back_as_it_came(uint88 amountA, uint88 amountB) public {
        (amountA, amountB) = (uint88(bound(amountA, 1, 1e26)), uint88(bound(amountB, 1, 1e26)));
        IStateChannels.Terms memory terms = _open(1, amountA, amountB);
        vm.prank(b);
        channels.challenge(terms, _unsigned(0, amountA));
        vm.warp(block.timestamp + PERIOD);
        channels.finalise(terms);
        assertEq(token.balanceOf(b), amountB);
        assertEq(token.balanceOf(a), 1e27 - amountB);
    }

    function test_a_stranger_cannot_start_a_challenge(address stranger) public {
        vm.assume(stranger != a && stranger != b);
        IStateChannels.Terms memory terms = _open(1, 10, 0);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IStateChannels.NotParty.selector, stranger));
        channels.challenge(terms, _unsigned(0, 10));
    }

    function test_a_state_over_the_deposit_is_refused(uint88 balance) public {
        balance = uint88(bound(balance, 11, type(uint88).max));
        IStateChannels.Terms memory terms = _open(1, 10, 0);
        IStateChannels.SignedState memory state = _state(terms, 1, balance);
        vm.expectRevert(
            abi.encodeWithSelector(IStateChannels.BalanceOverDeposit.selector, uint88(10), balance)
        );
        channels.challenge(terms, state);
    }

    function test_a_state_of_another_channel_or_chain_is_refused() public {
        IStateChannels.Terms memory terms = _open(1, 10, 0);
        IStateChannels.Terms memory other = _open(2, 10, 0);
        IStateChannels.SignedState memory state = _state(other, 1, 4);
        vm.expectRevert(InvalidSignature.selector);
        channels.challenge(terms, state);
        state = _state(terms, 1, 4);
        vm.chainId(block.chainid + 1);
        bytes32 elsewhere = channels.channelIdOf(terms);
        vm.expectRevert(abi.encodeWithSelector(IStateChannels.UnknownChannel.selector, elsewhere));
        channels.challenge(terms, state);
    }

    function test_a_closed_channel_cannot_be_opened_or_used_again() public {
        IStateChannels.Terms memory terms = _open(1, 10, 0);
        bytes32 channelId = channels.channelIdOf(terms);
        bytes memory ofB = signed(keyOf("party b"), _closeDigest(terms, 4));
        vm.startPrank(a);
        channels.close(terms, 4, "", ofB);
        vm.expectRevert(abi.encodeWithSelector(IStateChannels.ChannelExists.selector, channelId));
        channels.open(terms, 10, 0);
        vm.expectRevert(abi.encodeWithSelector(IStateChannels.UnknownChannel.selector, channelId));
        channels.close(terms, 4, "", ofB);
    }

    function test_a_top_up_goes_to_party_b_whatever_the_state(uint88 more) public {
        more = uint88(bound(more, 1, 1e26));
        IStateChannels.Terms memory terms = _open(1, 10, 0);
        vm.startPrank(a);
        token.transfer(b, more);
        vm.stopPrank();
        vm.startPrank(b);
        token.approve(address(channels), more);
        channels.topUp(terms, more);
        vm.stopPrank();
        vm.prank(b);
        channels.challenge(terms, _state(terms, 1, 7));
        vm.warp(block.timestamp + PERIOD);
        channels.finalise(terms);
        assertEq(token.balanceOf(b), uint256(more) + 3);
    }

    function test_party_a_tops_up_together_with_a_state() public {
        IStateChannels.Terms memory terms = _open(1, 10, 0);
        bytes32 digest = _topUpDigest(terms, 5, 25, 30);
        IStateChannels.SignedState memory state =
            IStateChannels.SignedState(5, 25, "", signed(keyOf("party b"), digest));
        vm.startPrank(a);
        vm.expectRevert(InvalidSignature.selector);
        channels.topUpWithState(terms, 29, state);
        channels.topUpWithState(terms, 30, state);
        (uint88 deposit, uint88 balanceA, uint40 version,) = channels.channelOf(channels.channelIdOf(terms));
        assertEq(deposit, 30);
        assertEq(balanceA, 25);
        assertEq(version, 5);
    }

    /// The deposit is signed: what a stranger adds in front of it, party A pays less.
    function test_a_strangers_unit_does_not_spoil_a_top_up(uint88 gift) public {
        gift = uint88(bound(gift, 1, 19));
        IStateChannels.Terms memory terms = _open(1, 10, 0);
        bytes32 digest = _topUpDigest(terms, 5, 25, 30);
        IStateChannels.SignedState memory state =
            IStateChannels.SignedState(5, 25, "", signed(keyOf("party b"), digest));
        token.mint(tower, gift);
        vm.startPrank(tower);
        token.approve(address(channels), gift);
        channels.topUp(terms, gift);
        vm.stopPrank();
        uint256 before = token.balanceOf(a);
        vm.prank(a);
        channels.topUpWithState(terms, 30, state);
        assertEq(token.balanceOf(a), before - (20 - gift));
        (uint88 deposit, uint88 balanceA,,) = channels.channelOf(channels.channelIdOf(terms));
        assertEq(deposit, 30);
        assertEq(balanceA, 25);
    }

    function test_many_channels_are_finalised_at_once() public {
        IStateChannels.Terms[] memory many = new IStateChannels.Terms[](3);
        for (uint256 i = 0; i < 3; ++i) {
            many[i] = _open(i, 10, 5);
            vm.prank(b);
            channels.challenge(many[i], _unsigned(0, 10));
        }
        vm.warp(block.timestamp + PERIOD);
        channels.finaliseMany(many);
        assertEq(token.balanceOf(b), 15);
    }

    function test_terms_must_be_sound() public {
        IStateChannels.Terms memory terms = _terms(1);
        terms.partyB = a;
        vm.startPrank(a);
        vm.expectRevert(IStateChannels.InvalidTerms.selector);
        channels.open(terms, 1, 0);
        terms = _terms(1);
        vm.expectRevert(abi.encodeWithSelector(IStateChannels.InvalidDeposit.selector, uint256(0)));
        channels.open(terms, 0, 0);
    }

    function test_a_token_that_takes_a_fee_is_refused() public {
        FeeToken fee = new FeeToken();
        fee.mint(a, 1000);
        IStateChannels.Terms memory terms = _terms(1);
        terms.token = address(fee);
        vm.startPrank(a);
        fee.approve(address(channels), 1000);
        vm.expectRevert(abi.encodeWithSelector(TransferFailed.selector, address(fee)));
        channels.open(terms, 1000, 0);
    }

    function test_a_state_of_another_contract_is_refused() public {
        IStateChannels.Terms memory terms = _open(1, 10, 0);
        StateChannels other = new StateChannels(address(0));
        vm.startPrank(a);
        token.approve(address(other), 10);
        other.open(terms, 10, 0);
        IStateChannels.SignedState memory state = _state(terms, 1, 4);
        vm.stopPrank();
        vm.expectRevert(InvalidSignature.selector);
        other.challenge(terms, state);
    }

    function test_a_top_up_does_not_interrupt_a_challenge() public {
        IStateChannels.Terms memory terms = _open(1, 10, 0);
        uint40 deadline = uint40(block.timestamp) + PERIOD;
        vm.startPrank(a);
        channels.challenge(terms, _unsigned(0, 10));
        vm.expectRevert(abi.encodeWithSelector(IStateChannels.ChallengeRunning.selector, deadline));
        channels.challenge(terms, _unsigned(0, 10));
        vm.expectRevert(abi.encodeWithSelector(IStateChannels.ChallengeRunning.selector, deadline));
        channels.topUpWithState(terms, 15, _unsigned(1, 15));
        vm.expectRevert(abi.encodeWithSelector(IStateChannels.InvalidDeposit.selector, uint256(0)));
        channels.topUp(terms, 0);
        vm.expectRevert(abi.encodeWithSelector(IStateChannels.InvalidDeposit.selector, uint256(10)));
        channels.topUpWithState(terms, 10, _unsigned(1, 15));
        channels.topUp(terms, 5);
        (uint88 deposit,,, uint40 stands) = channels.channelOf(channels.channelIdOf(terms));
        assertEq(deposit, 15);
        assertEq(stands, deadline);
    }

    /// It marks what is closed. As a state it could never be replaced by a newer one.
    function test_the_last_version_is_nobodys() public {
        IStateChannels.Terms memory terms = _open(1, 10, 0);
        IStateChannels.SignedState memory last = _state(terms, type(uint40).max, 4);
        vm.expectRevert(
            abi.encodeWithSelector(IStateChannels.StaleState.selector, uint40(0), type(uint40).max)
        );
        channels.challenge(terms, last);
    }

    // ------------------------------------------------------------- strange tokens

    function _openWith(address coin) internal returns (IStateChannels.Terms memory terms) {
        MintableToken(coin).mint(a, 100);
        terms = _terms(1);
        terms.token = coin;
        vm.startPrank(a);
        MintableToken(coin).approve(address(channels), 100);
        channels.open(terms, 60, 40);
        channels.challenge(terms, _unsigned(0, 60));
        vm.stopPrank();
        vm.warp(block.timestamp + PERIOD);
    }

    function test_a_party_that_the_token_refuses_does_not_hold_up_the_other() public {
        BlockingToken coin = new BlockingToken();
        IStateChannels.Terms memory terms = _openWith(address(coin));
        coin.setBlocked(a, true);
        channels.finalise(terms);
        assertEq(coin.balanceOf(b), 40);
        assertEq(channels.heldFor(a, address(coin)), 60);
        vm.expectRevert(abi.encodeWithSelector(TransferFailed.selector, address(coin)));
        channels.withdrawHeld(a, address(coin));
        coin.setBlocked(a, false);
        channels.withdrawHeld(a, address(coin));
        assertEq(coin.balanceOf(a), 60);
        vm.expectRevert(abi.encodeWithSelector(IStateChannels.NothingHeld.selector, a, address(coin)));
        channels.withdrawHeld(a, address(coin));
    }

    /// Its own call back fails on the lock, so the token refuses both; nothing is lost and nothing is paid twice.
    function test_a_token_that_calls_back_gets_nowhere() public {
        ReentrantToken coin = new ReentrantToken();
        IStateChannels.Terms memory terms = _openWith(address(coin));
        coin.arm(address(channels), abi.encodeCall(StateChannels.finalise, (terms)));
        channels.finalise(terms);
        assertEq(coin.balanceOf(address(channels)), 100);
        coin.arm(address(0), "");
        channels.withdrawHeld(a, address(coin));
        channels.withdrawHeld(b, address(coin));
        assertEq(coin.balanceOf(a), 60);
        assertEq(coin.balanceOf(b), 40);
    }
}
