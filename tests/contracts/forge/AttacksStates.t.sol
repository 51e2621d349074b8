// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Schemer, StoppableToken } from "./AttackMocks.sol";
import { StateFixture } from "./StateFixture.sol";
import { StateChannels } from "../../../contracts/StateChannels.sol";
import { IStateChannels } from "../../../contracts/interfaces/IStateChannels.sol";
import { TransferFailed } from "../../../contracts/libraries/SafeErc20.sol";
import { InvalidSignature } from "../../../contracts/libraries/Signatures.sol";
import {
    BombToken,
    BombWallet,
    BurningToken,
    HookedFeeToken,
    StingyToken
} from "../../../contracts/mocks/HostileTokens.sol";
import { MintableToken, SilentToken } from "../../../contracts/mocks/Tokens.sol";

/// given a party that cheats with states and signatures
///   ├── of two states of one version the one that was shown first stands
///   ├── a signature for one purpose is worthless for every other
///   └── whichever way a channel ends, each party gets its share
/// given a token that is not what it should be
///   ├── it cannot pass a deposit off as another one
///   └── it keeps no party from what the other tokens, or the other party, have
contract AttacksStatesTest is StateFixture {
    /// Two payouts of two million gas each that the token needs for itself; to copy what it returns would
    /// cost as much again.
    uint256 internal constant BOMB_GAS = 4_700_000;
    uint256 internal constant START = 1_700_000_000;

    function setUp() public {
        _start();
    }

    function _openIn(MintableToken coin, uint88 amountA, uint88 amountB)
        internal
        returns (IStateChannels.Terms memory terms)
    {
        coin.mint(a, uint256(amountA) + amountB);
        terms = _terms(1);
        terms.token = address(coin);
        vm.startPrank(a);
        coin.approve(address(channels), uint256(amountA) + amountB);
        channels.open(terms, amountA, amountB);
        vm.stopPrank();
    }

    function _challengeAsItStands(IStateChannels.Terms memory terms, uint88 amountA) internal {
        vm.prank(b);
        channels.challenge(terms, _unsigned(0, amountA));
        vm.warp(START + PERIOD);
    }

    // --------------------------------------------------------------------------------- states and signatures

    function test_of_two_states_of_one_version_the_one_shown_first_stands(
        uint40 version,
        uint88 first,
        uint88 second
    ) public {
        version = uint40(bound(version, 1, type(uint40).max - 1));
        (first, second) = (uint88(bound(first, 0, 100)), uint88(bound(second, 0, 100)));
        IStateChannels.Terms memory terms = _open(1, 60, 40);
        IStateChannels.SignedState memory one = _state(terms, version, first);
        IStateChannels.SignedState memory two = _state(terms, version, second);
        channels.challenge(terms, one);
        vm.expectRevert(abi.encodeWithSelector(IStateChannels.StaleState.selector, version, version));
        channels.respond(terms, two);
        vm.warp(START + PERIOD);
        channels.finalise(terms);
        assertEq(token.balanceOf(b), 100 - first);
    }

    function _typed(IStateChannels.Terms memory terms, uint256 purpose) internal view returns (bytes32) {
        if (purpose == 0) return _stateDigest(terms, 5, 20);
        if (purpose == 1) return _closeDigest(terms, 20);
        if (purpose == 2) return _topUpDigest(terms, 5, 20, 110);
        return _openingDigest(terms, 5, 20);
    }

    /// Numbers that fit every type are signed for one purpose and shown for another.
    function test_a_signature_for_one_purpose_is_worthless_for_every_other(uint8 of_, uint8 shownFor) public {
        uint256 purpose = of_ % 4;
        vm.assume(purpose != shownFor % 4);
        IStateChannels.Terms memory terms = _open(1, 60, 40);
        if (shownFor % 4 == 3) terms = _terms(2);
        bytes32 digest = _typed(terms, purpose);
        bytes memory ofA = signed(keyOf("party a"), digest);
        bytes memory ofB = signed(keyOf("party b"), digest);
        IStateChannels.SignedState memory state = IStateChannels.SignedState(5, 20, ofA, ofB);
        IStateChannels.Permit memory none;
        vm.expectRevert(InvalidSignature.selector);
        if (shownFor % 4 == 0) channels.challenge(terms, state);
        if (shownFor % 4 == 1) channels.close(terms, 20, ofA, ofB);
        if (shownFor % 4 == 2) channels.topUpWithState(terms, 110, state);
        if (shownFor % 4 == 3) {
            channels.openTogether(
                terms, IStateChannels.Share(5, ofA, none), IStateChannels.Share(20, ofB, none)
            );
        }
    }

    function test_whichever_way_a_channel_ends_each_party_gets_its_share(
        uint8 way,
        uint88 amountA,
        uint88 amountB,
        uint88 share
    ) public {
        (amountA, amountB) = (uint88(bound(amountA, 1, 1e26)), uint88(bound(amountB, 0, 1e26)));
        uint88 deposit = amountA + amountB;
        share = uint88(bound(share, 0, deposit));
        IStateChannels.Terms memory terms = _open(1, amountA, amountB);
        _open(2, 1e26, 1e26); // other people's money, in the same token
        uint256 before = token.balanceOf(a);
        if (way % 4 == 0) {
            bytes32 digest = _closeDigest(terms, share);
            channels.close(terms, share, _compact("party a", digest), _compact("party b", digest));
        } else {
            channels.challenge(terms, _state(terms, 1, way % 4 == 3 ? deposit - share : share));
            if (way % 4 == 3) channels.respond(terms, _state(terms, 2, share));
            vm.warp(START + PERIOD);
            IStateChannels.Terms[] memory many = new IStateChannels.Terms[](2);
            (many[0], many[1]) = (terms, terms);
            if (way % 4 == 1) channels.finalise(terms);
            else assertEq(channels.finaliseMany(many), 1);
        }
        assertEq(token.balanceOf(a), before + share);
        assertEq(token.balanceOf(b), deposit - share);
        assertEq(token.balanceOf(address(channels)), 2e26);
    }

    function test_in_the_second_of_the_deadline_answers_end_and_payouts_begin() public {
        IStateChannels.Terms memory terms = _open(1, 60, 40);
        uint40 deadline = uint40(START) + PERIOD;
        channels.challenge(terms, _state(terms, 1, 10));
        vm.warp(deadline - 1);
        vm.expectRevert(abi.encodeWithSelector(IStateChannels.ChallengeRunning.selector, deadline));
        channels.finalise(terms);
        channels.respond(terms, _state(terms, 2, 20));
        vm.warp(deadline);
        IStateChannels.SignedState memory late = _state(terms, 3, 30);
        vm.expectRevert(abi.encodeWithSelector(IStateChannels.ChallengeOver.selector, deadline));
        channels.respond(terms, late);
        channels.finalise(terms);
        assertEq(token.balanceOf(b), 80);
    }

    /// The packed terms have fixed widths: bytes that move from one field to the next are other terms.
    function test_other_terms_are_another_state_channel(uint112 tail, uint8 shift) public view {
        IStateChannels.Terms memory one = _terms(1);
        IStateChannels.Terms memory two = _terms(1);
        uint112 moved = tail << (shift % 14) * 8 | tail >> (14 - shift % 14) * 8;
        (one.challengePeriod, one.openBefore) = (uint32(tail >> 80), uint40(tail >> 40));
        (two.challengePeriod, two.openBefore) = (uint32(moved >> 80), uint40(moved >> 40));
        (one.salt, two.salt) = (bytes5(uint40(tail)), bytes5(uint40(moved)));
        assertTrue((channels.channelIdOf(one) == channels.channelIdOf(two)) == (tail == moved));
    }

    // ---------------------------------------------------------------------------------------- hostile tokens

    function _schemers() internal returns (HookedFeeToken coin, Schemer thief, Schemer accomplice) {
        coin = new HookedFeeToken();
        (thief, accomplice) = (new Schemer(coin, address(channels)), new Schemer(coin, address(channels)));
        coin.mint(address(thief), 1000);
        coin.mint(address(accomplice), 1000);
        coin.exempt(address(accomplice));
    }

    function _opening(address coin, uint256 salt, uint88 amount) internal view returns (bytes memory) {
        IStateChannels.Terms memory terms = _terms(salt);
        terms.token = coin;
        return abi.encodeCall(IStateChannels.open, (terms, amount, 0));
    }

    /// The inner tokens would stand for those that the token kept of the outer ones: two deposits, paid once.
    function test_a_deposit_within_a_deposit_is_refused(bool withFee, bool topUp) public {
        (HookedFeeToken coin, Schemer thief, Schemer accomplice) = _schemers();
        IStateChannels.Terms memory before = _terms(3);
        before.token = address(coin);
        accomplice.act(_opening(address(coin), 3, 10));
        if (withFee) coin.startFee();
        bytes memory inner =
            topUp ? abi.encodeCall(IStateChannels.topUp, (before, 1)) : _opening(address(coin), 2, 1);
        thief.plan(accomplice, inner, false);
        // With a fee of one percent exactly the inner unit is missing: the balance alone would not tell.
        vm.expectRevert(abi.encodeWithSelector(TransferFailed.selector, address(coin)));
        thief.act(_opening(address(coin), 1, 100));
        assertEq(coin.balanceOf(address(channels)), 10);
    }

    function test_who_comes_back_during_a_deposit_into_a_state_channel_meets_the_lock() public {
        (HookedFeeToken coin, Schemer thief, Schemer accomplice) = _schemers();
        thief.plan(accomplice, _opening(address(coin), 2, 1), true);
        thief.act(_opening(address(coin), 1, 100));
        assertEq(bytes32(thief.reason()), bytes32(IStateChannels.Reentered.selector));
        assertEq(coin.balanceOf(address(channels)), 100);
        IStateChannels.Terms memory inner = _terms(2);
        inner.token = address(coin);
        (uint88 deposit,,,) = channels.channelOf(channels.channelIdOf(inner));
        assertEq(deposit, 0);
    }

    function test_a_payout_within_a_deposit_undoes_the_deposit() public {
        (HookedFeeToken coin, Schemer thief, Schemer accomplice) = _schemers();
        IStateChannels.Terms memory due = _terms(3);
        due.token = address(coin);
        accomplice.act(_opening(address(coin), 3, 10));
        _challengeAsItStands(due, 10);
        thief.plan(accomplice, abi.encodeCall(StateChannels.finalise, (due)), false);
        vm.expectRevert(abi.encodeWithSelector(TransferFailed.selector, address(coin)));
        thief.act(_opening(address(coin), 1, 100));
        channels.finalise(due);
        assertEq(coin.balanceOf(a), 10);
    }

    function test_a_token_that_answers_with_a_megabyte_keeps_nobody_from_its_money() public {
        BombToken coin = new BombToken();
        IStateChannels.Terms memory terms = _openIn(coin, 60, 40);
        _challengeAsItStands(terms, 60);
        channels.finalise{ gas: BOMB_GAS }(terms);
        assertEq(coin.balanceOf(a), 60);
        assertEq(coin.balanceOf(b), 40);
    }

    function test_a_token_that_burns_the_gas_of_one_payout_takes_nothing_from_the_other_party() public {
        BurningToken coin = new BurningToken();
        IStateChannels.Terms memory terms = _openIn(coin, 60, 40);
        _challengeAsItStands(terms, 60);
        coin.burnFor(a);
        // The token gets 63 of 64 parts; of what is left the other payout is made, or the sender tries
        // again with more.
        channels.finalise{ gas: 8_000_000 }(terms);
        assertEq(coin.balanceOf(b), 40);
        assertEq(channels.heldFor(a, address(coin)), 60);
    }

    function test_a_wallet_that_answers_with_a_megabyte_can_be_a_party(bool agrees) public {
        IStateChannels.Terms memory terms = _terms(1);
        terms.partyB = address(new BombWallet(agrees ? bytes4(0x1626ba7e) : bytes4(0)));
        vm.startPrank(a);
        channels.open(terms, 60, 40);
        if (!agrees) vm.expectRevert(InvalidSignature.selector);
        channels.close{ gas: BOMB_GAS / 2 }(terms, 20, "", hex"01");
        assertEq(token.balanceOf(terms.partyB), agrees ? 80 : 0);
    }

    function test_a_payout_that_the_token_denies_waits_for_the_party(bool stands) public {
        StingyToken stingy = new StingyToken();
        StoppableToken stopped = new StoppableToken();
        MintableToken coin = stands ? MintableToken(stopped) : MintableToken(stingy);
        IStateChannels.Terms memory terms = _openIn(coin, 60, 40);
        _challengeAsItStands(terms, 60);
        stopped.stop(true);
        channels.finalise(terms);
        vm.expectRevert(abi.encodeWithSelector(TransferFailed.selector, address(coin)));
        channels.withdrawHeld(a, address(coin));
        stopped.stop(false);
        stingy.open();
        channels.withdrawHeld(a, address(coin));
        channels.withdrawHeld(b, address(coin));
        assertEq(coin.balanceOf(a), 60);
        assertEq(coin.balanceOf(b), 40);
    }

    function test_a_token_that_returns_nothing_pays_both_parties() public {
        SilentToken silent = new SilentToken();
        silent.mint(a, 100);
        IStateChannels.Terms memory terms = _terms(1);
        terms.token = address(silent);
        vm.prank(a);
        channels.open(terms, 60, 40);
        _challengeAsItStands(terms, 60);
        channels.finalise(terms);
        assertEq(silent.balanceOf(a), 60);
        assertEq(silent.balanceOf(b), 40);
    }

    function test_where_no_token_is_no_channel_is_opened(address place) public {
        vm.assume(place.code.length == 0 && uint160(place) > 0x200);
        IStateChannels.Terms memory terms = _terms(1);
        terms.token = place;
        vm.expectRevert(abi.encodeWithSelector(TransferFailed.selector, place));
        channels.open(terms, 1, 0);
    }

    // --------------------------------------------------------------------------- money that nobody deposited

    function test_ether_and_tokens_that_are_forced_in_are_no_deposit(uint88 gift) public {
        IStateChannels.Terms memory terms = _open(1, 60, 40);
        vm.deal(address(channels), gift);
        token.mint(address(channels), gift);
        vm.prank(b); // with neither tokens nor an allowance
        vm.expectRevert(abi.encodeWithSelector(TransferFailed.selector, address(token)));
        channels.topUp(terms, 1);
        _challengeAsItStands(terms, 60);
        channels.finalise(terms);
        assertEq(token.balanceOf(b), 40);
        assertEq(token.balanceOf(address(channels)), gift);
    }

    function test_who_opens_the_terms_of_others_only_gives_money_away() public {
        address stranger = makeAddr("stranger");
        token.mint(stranger, 1);
        IStateChannels.Terms memory terms = _terms(1);
        vm.startPrank(stranger);
        token.approve(address(channels), 1);
        channels.open(terms, 0, 1);
        vm.stopPrank();
        bytes32 id = channels.channelIdOf(terms);
        vm.prank(a);
        vm.expectRevert(abi.encodeWithSelector(IStateChannels.ChannelExists.selector, id));
        channels.open(terms, 60, 40);
        _open(2, 60, 40); // another salt
        vm.prank(b);
        channels.challenge(terms, _unsigned(0, 0));
        vm.warp(START + PERIOD);
        channels.finalise(terms);
        assertEq(token.balanceOf(b), 1);
    }
}
