// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { StateFixture } from "./StateFixture.sol";
import { CoreToken } from "../../../contracts/CoreToken.sol";
import { IStateChannels } from "../../../contracts/interfaces/IStateChannels.sol";
import { InvalidSignature } from "../../../contracts/libraries/Signatures.sol";
import { TokenTypes } from "../../../contracts/libraries/TokenTypes.sol";
import { KeyWallet } from "../../../contracts/mocks/Wallets.sol";

/// given two parties
///   ├── both deposit in one transaction that anyone sends, each by a signature that covers both deposits and the terms:
///   │   by EIP-3009, or by allowance, which alone is no consent
///   ├── the sender's permit opens without an approval before, also when somebody else has sent the permit
///   └── terms open until their time, and a closed channel is never opened again, before or after
contract StateOpeningsTest is StateFixture {
    CoreToken internal coin;

    function setUp() public {
        _start();
        coin = new CoreToken(address(this), address(this), address(this), 1, 0, 0, address(this), 1e27);
        coin.transfer(a, 1e24);
        coin.transfer(b, 1e24);
    }

    function _coinTerms(uint256 salt) internal view returns (IStateChannels.Terms memory terms) {
        terms = _terms(salt);
        terms.token = address(coin);
    }

    function _funding(IStateChannels.Terms memory terms, address party, uint256 key, uint88 one, uint88 two)
        internal
        view
        returns (IStateChannels.Funding memory)
    {
        uint88 amount = party == terms.partyA ? one : two;
        bytes32 nonce = keccak256(abi.encode(channels.channelIdOf(terms), one, two));
        bytes32 structHash = keccak256(
            abi.encode(TokenTypes.RECEIVE, party, address(channels), amount, 0, type(uint256).max, nonce)
        );
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", coin.DOMAIN_SEPARATOR(), structHash));
        return IStateChannels.Funding(amount, 0, type(uint256).max, signed(key, digest));
    }

    // ------------------------------------------------------------------------------------------ both sides

    function test_both_sides_deposit_in_one_transaction_that_anyone_sends(uint88 one, uint88 two) public {
        (one, two) = (uint88(bound(one, 0, 1e24)), uint88(bound(two, 0, 1e24)));
        vm.assume(one + two > 0);
        IStateChannels.Terms memory terms = _coinTerms(1);
        IStateChannels.Funding memory fromA = _funding(terms, a, keyOf("party a"), one, two);
        IStateChannels.Funding memory fromB = _funding(terms, b, keyOf("party b"), one, two);
        vm.prank(tower);
        channels.openAuthorised(terms, fromA, fromB);
        (uint88 deposit, uint88 balanceA,,) = channels.channelOf(channels.channelIdOf(terms));
        assertEq(deposit, uint256(one) + two);
        assertEq(balanceA, one);
        assertEq(coin.balanceOf(address(channels)), uint256(one) + two);
    }

    function test_an_authorisation_is_for_these_terms_and_these_amounts_only(uint88 other) public {
        other = uint88(bound(other, 1, 1e24));
        vm.assume(other != 7);
        IStateChannels.Terms memory terms = _coinTerms(1);
        IStateChannels.Funding memory fromA = _funding(terms, a, keyOf("party a"), 5, 7);
        IStateChannels.Funding memory fromB = _funding(terms, b, keyOf("party b"), 5, other);
        vm.expectRevert(InvalidSignature.selector);
        channels.openAuthorised(terms, fromA, fromB);
        fromB = _funding(_coinTerms(2), b, keyOf("party b"), 5, 7);
        vm.expectRevert(InvalidSignature.selector);
        channels.openAuthorised(terms, fromA, fromB);
    }

    function test_nobody_opens_with_what_a_party_has_only_allowed() public {
        IStateChannels.Terms memory terms = _coinTerms(1);
        vm.prank(b);
        coin.approve(address(channels), type(uint256).max);
        vm.prank(a);
        coin.approve(address(channels), 5);
        // Party A opens for both sides: the tokens are its own, whatever party B has allowed.
        vm.prank(a);
        vm.expectRevert();
        channels.open(terms, 5, 5);
    }

    // ------------------------------------------------------------------------------- both sides, by allowance

    function _allow(address party) internal {
        vm.prank(party);
        coin.approve(address(channels), type(uint256).max);
    }

    function test_both_sides_deposit_by_allowance_and_signature(uint88 one, uint88 two, uint8 who) public {
        (one, two) = (uint88(bound(one, 0, 1e24)), uint88(bound(two, 0, 1e24)));
        vm.assume(one + two > 0);
        _allow(a);
        _allow(b);
        IStateChannels.Terms memory terms = _coinTerms(1);
        IStateChannels.Share memory ofA = _share(terms, "party a", one, one, two);
        IStateChannels.Share memory ofB = _share(terms, "party b", two, one, two);
        // The sender's call stands for its signature.
        if (who % 3 == 0) ofA.consent = "";
        if (who % 3 == 1) ofB.consent = "";
        vm.prank(who % 3 == 0 ? a : who % 3 == 1 ? b : tower);
        channels.openTogether(terms, ofA, ofB);
        (uint88 deposit, uint88 balanceA,,) = channels.channelOf(channels.channelIdOf(terms));
        assertEq(deposit, uint256(one) + two);
        assertEq(balanceA, one);
        assertEq(coin.balanceOf(a), 1e24 - one);
        assertEq(coin.balanceOf(b), 1e24 - two);
    }

    function test_an_allowance_is_no_consent(uint8 what) public {
        _allow(b);
        _allow(a);
        IStateChannels.Terms memory terms = _coinTerms(1);
        IStateChannels.Share memory ofA = _share(terms, "party a", 5, 5, 7);
        IStateChannels.Share memory ofB = _share(terms, "party b", 7, 5, 7);
        what %= 5;
        if (what == 0) ofB.consent = ofA.consent; // another's
        if (what == 1) ofB = _share(_coinTerms(2), "party b", 7, 5, 7); // for another channel
        if (what == 2) ofB = _share(terms, "party b", 7, 5, 8); // for another deposit of its own
        if (what == 3) ofB = _share(terms, "party b", 7, 4, 7); // for another deposit of the other's
        if (what == 4) ofB.consent = signed(keyOf("party b"), _closeDigest(terms, 5)); // to something else
        vm.prank(a);
        vm.expectRevert(InvalidSignature.selector);
        channels.openTogether(terms, ofA, ofB);
    }

    function test_permits_come_along_with_both_deposits(bool sentBefore) public {
        IStateChannels.Terms memory terms = _coinTerms(1);
        IStateChannels.Share memory ofA = _share(terms, "party a", 5, 5, 7);
        IStateChannels.Share memory ofB = _share(terms, "party b", 7, 5, 7);
        ofA.permit = _permitOf("party a", 5);
        ofB.permit = _permitOf("party b", 7);
        if (sentBefore) {
            IStateChannels.Permit memory p = ofB.permit;
            coin.permit(b, address(channels), 7, p.deadline, p.v, p.r, p.s);
        }
        vm.prank(tower);
        channels.openTogether(terms, ofA, ofB);
        assertEq(coin.balanceOf(address(channels)), 12);
    }

    function test_a_contract_consents_to_its_deposit() public {
        IStateChannels.Terms memory terms = _coinTerms(1);
        terms.partyB = address(new KeyWallet(b));
        coin.transfer(terms.partyB, 7);
        _allow(a);
        _allow(terms.partyB);
        IStateChannels.Share memory ofA = _share(terms, "party a", 5, 5, 7);
        IStateChannels.Share memory ofB;
        ofB.amount = 7;
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf("party b"), _openingDigest(terms, 5, 7));
        ofB.consent = abi.encode(r, s, v);
        vm.prank(a);
        channels.openTogether(terms, ofA, ofB);
        assertEq(coin.balanceOf(address(channels)), 12);
    }

    function test_a_consent_opens_once() public {
        _allow(a);
        _allow(b);
        IStateChannels.Terms memory terms = _coinTerms(1);
        IStateChannels.Share memory ofA = _share(terms, "party a", 5, 5, 7);
        IStateChannels.Share memory ofB = _share(terms, "party b", 7, 5, 7);
        channels.openTogether(terms, ofA, ofB);
        bytes memory byB = signed(keyOf("party b"), _closeDigest(terms, 5));
        vm.prank(a);
        channels.close(terms, 5, "", byB);
        bytes32 channelId = channels.channelIdOf(terms);
        vm.expectRevert(abi.encodeWithSelector(IStateChannels.ChannelExists.selector, channelId));
        channels.openTogether(terms, ofA, ofB);
    }

    function _permitOf(string memory party, uint256 amount)
        internal
        view
        returns (IStateChannels.Permit memory)
    {
        address owner = makeAddr(party);
        bytes32 structHash = keccak256(
            abi.encode(
                TokenTypes.PERMIT, owner, address(channels), amount, coin.nonces(owner), type(uint256).max
            )
        );
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", coin.DOMAIN_SEPARATOR(), structHash));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf(party), digest);
        return IStateChannels.Permit(type(uint256).max, v, r, s);
    }

    // --------------------------------------------------------------------------------------------- permits

    function _permit(uint256 amount) internal view returns (uint8 v, bytes32 r, bytes32 s) {
        bytes32 structHash = keccak256(
            abi.encode(TokenTypes.PERMIT, a, address(channels), amount, coin.nonces(a), type(uint256).max)
        );
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", coin.DOMAIN_SEPARATOR(), structHash));
        return vm.sign(keyOf("party a"), digest);
    }

    function test_a_permit_opens_without_an_approval(bool sentBefore) public {
        IStateChannels.Terms memory terms = _coinTerms(1);
        (uint8 v, bytes32 r, bytes32 s) = _permit(12);
        if (sentBefore) coin.permit(a, address(channels), 12, type(uint256).max, v, r, s);
        vm.prank(a);
        channels.openWithPermit(terms, 5, 7, type(uint256).max, v, r, s);
        assertEq(coin.balanceOf(address(channels)), 12);
    }

    function test_a_permit_of_somebody_else_opens_nothing() public {
        IStateChannels.Terms memory terms = _coinTerms(1);
        (uint8 v, bytes32 r, bytes32 s) = _permit(12);
        vm.prank(b);
        vm.expectRevert();
        channels.openWithPermit(terms, 5, 7, type(uint256).max, v, r, s);
    }

    // --------------------------------------------------------------------------------------- once and never again

    function test_terms_open_until_their_time_to_the_second(uint40 until) public {
        until = uint40(bound(until, 1_700_000_000, type(uint40).max - 1));
        IStateChannels.Terms memory terms = _terms(1);
        terms.openBefore = until;
        vm.warp(uint256(until) + 1);
        vm.prank(a);
        vm.expectRevert(abi.encodeWithSelector(IStateChannels.OpeningOver.selector, until));
        channels.open(terms, 5, 5);
        vm.warp(until);
        vm.prank(a);
        channels.open(terms, 5, 5);
    }

    function test_a_closed_channel_is_never_opened_again(uint40 until, uint40 closedAt) public {
        until = uint40(bound(until, 1_700_000_000, 1_800_000_000));
        closedAt = uint40(bound(closedAt, 1_700_000_000, 1_900_000_000));
        IStateChannels.Terms memory terms = _terms(1);
        terms.openBefore = until;
        vm.prank(a);
        channels.open(terms, 5, 5);
        vm.warp(closedAt);
        bytes32 digest = _closeDigest(terms, 4);
        bytes memory byB = signed(keyOf("party b"), digest);
        vm.prank(a);
        channels.close(terms, 4, "", byB);
        bytes32 channelId = channels.channelIdOf(terms);
        vm.prank(a);
        vm.expectRevert(
            closedAt > until
                ? abi.encodeWithSelector(IStateChannels.OpeningOver.selector, until)
                : abi.encodeWithSelector(IStateChannels.ChannelExists.selector, channelId)
        );
        channels.open(terms, 5, 5);
        // Neither do its states live on.
        IStateChannels.SignedState memory state = _state(terms, 9, 10);
        vm.expectRevert(abi.encodeWithSelector(IStateChannels.UnknownChannel.selector, channelId));
        channels.challenge(terms, state);
    }

    function test_many_are_finalised_and_those_that_are_not_due_passed_over() public {
        IStateChannels.Terms[] memory many = new IStateChannels.Terms[](4);
        many[0] = _open(0, 10, 0);
        many[1] = _open(1, 10, 0);
        many[2] = _terms(2); // never opened
        many[3] = _open(3, 10, 0);
        vm.prank(a);
        channels.challenge(many[0], _unsigned(0, 10));
        vm.prank(a);
        channels.challenge(many[3], _unsigned(0, 10));
        vm.warp(1_700_000_000 + PERIOD);
        assertEq(channels.finaliseMany(many), 2);
        assertEq(channels.finaliseMany(many), 0);
        assertEq(token.balanceOf(address(channels)), 10);
    }
}
