// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { StateFixture } from "./StateFixture.sol";
import { IStateChannels } from "../../../contracts/interfaces/IStateChannels.sol";

/// given two parties
///   ├── packed calls do what the others do, byte for byte
///   └── bytes of another length, or without a party's address when no party sends them, are refused
contract StatePackedTest is StateFixture {
    function setUp() public {
        _start();
    }

    function _behindA(IStateChannels.Terms memory t) internal pure returns (bytes memory) {
        return abi.encodePacked(t.partyB, t.token, t.challengePeriod, t.openBefore, t.salt);
    }

    function _sameAs(IStateChannels.Terms memory one, IStateChannels.Terms memory two) internal view {
        (uint88 d1, uint88 b1, uint40 v1, uint40 t1) = channels.channelOf(channels.channelIdOf(one));
        (uint88 d2, uint88 b2, uint40 v2, uint40 t2) = channels.channelOf(channels.channelIdOf(two));
        assertTrue(d1 == d2 && b1 == b2 && v1 == v2 && t1 == t2);
    }

    /// Twice the same life: once by the ABI, once packed.
    function test_packed_calls_do_what_the_others_do(uint88 amountA, uint88 more, uint40 v, uint88 share)
        public
    {
        (amountA, more) = (uint88(bound(amountA, 1, 1e24)), uint88(bound(more, 1, 1e24)));
        v = uint40(bound(v, 1, type(uint40).max - 2));
        share = uint88(bound(share, 0, uint256(amountA) + more));
        IStateChannels.Terms memory one = _open(1, amountA, 3);
        IStateChannels.Terms memory two = _terms(2);
        assertTrue(
            _brief(a, IStateChannels.openBrief.selector, abi.encodePacked(_behindA(two), amountA, uint88(3)))
        );
        _sameAs(one, two);
        vm.prank(a);
        channels.topUp(one, more);
        assertTrue(_brief(a, IStateChannels.increaseBrief.selector, abi.encodePacked(_sent(two, a), more)));
        _sameAs(one, two);
        _challengeBoth(one, two, v, share);
        _respondBoth(one, two, v + 1, share / 2);
        vm.warp(1_700_000_000 + 2 * PERIOD);
        channels.finalise(one);
        assertTrue(_brief(tower, IStateChannels.finaliseBrief.selector, _sent(two, tower)));
        _sameAs(one, two);
        assertEq(token.balanceOf(address(channels)), 0);
    }

    function _challengeBoth(
        IStateChannels.Terms memory one,
        IStateChannels.Terms memory two,
        uint40 version,
        uint88 share
    ) private {
        channels.challenge(one, _state(one, version, share));
        bytes memory byB = signedCompact(keyOf("party b"), _stateDigest(two, version, share));
        bytes memory packed = abi.encodePacked(_sent(two, a), version, share, byB);
        assertTrue(_brief(a, IStateChannels.challengeBrief.selector, packed));
        _sameAs(one, two);
    }

    /// By a watchtower, with both signatures.
    function _respondBoth(
        IStateChannels.Terms memory one,
        IStateChannels.Terms memory two,
        uint40 version,
        uint88 share
    ) private {
        channels.respond(one, _state(one, version, share));
        bytes32 digest = _stateDigest(two, version, share);
        bytes memory both = abi.encodePacked(
            signedCompact(keyOf("party a"), digest), signedCompact(keyOf("party b"), digest)
        );
        bytes memory packed = abi.encodePacked(_sent(two, tower), version, share, both);
        assertTrue(_brief(tower, IStateChannels.respondBrief.selector, packed));
        _sameAs(one, two);
    }

    function test_a_packed_close_is_sent_by_either_party_or_by_a_relayer(uint8 who, uint88 share) public {
        IStateChannels.Terms memory terms = _open(1, 50, 50);
        share = uint88(bound(share, 0, 100));
        bytes32 digest = _closeDigest(terms, share);
        bytes memory byA = signedCompact(keyOf("party a"), digest);
        bytes memory byB = signedCompact(keyOf("party b"), digest);
        bytes memory head = abi.encodePacked(_sent(terms, tower), share);
        (address sender, bytes memory rest) =
            who % 3 == 0 ? (a, byB) : who % 3 == 1 ? (b, byA) : (tower, bytes.concat(byA, byB));
        assertFalse(_brief(tower, IStateChannels.closeBrief.selector, bytes.concat(head, byB)));
        assertFalse(_brief(tower, IStateChannels.closeBrief.selector, head));
        head = abi.encodePacked(_sent(terms, sender), share);
        assertTrue(_brief(sender, IStateChannels.closeBrief.selector, bytes.concat(head, rest)));
        assertEq(token.balanceOf(b), 100 - share);
    }

    function test_packed_bytes_of_another_length_are_refused(uint8 which, uint8 mode, uint16 length) public {
        bytes4[6] memory selectors = [
            IStateChannels.openBrief.selector,
            IStateChannels.increaseBrief.selector,
            IStateChannels.closeBrief.selector,
            IStateChannels.challengeBrief.selector,
            IStateChannels.respondBrief.selector,
            IStateChannels.finaliseBrief.selector
        ];
        // What follows the terms.
        uint8[6] memory rest = [11, 11, 11, 16, 16, 0];
        (uint256 i, uint256 size) = (which % 6, length % 300);
        uint256 right = uint256(rest[i]) + (i == 0 ? 54 : mode == 0 ? 75 : 55);
        if (size == right) ++size;
        if (i == 0 && size == right + 11) ++size;
        if (i >= 2 && i < 5 && (size == right + 64 || size == right + 128)) ++size;
        bytes memory packed = new bytes(size);
        if (size > 0) packed[0] = bytes1(mode);
        vm.prank(a);
        (bool success, bytes memory answer) = address(channels).call(abi.encodePacked(selectors[i], packed));
        assertFalse(success);
        bytes memory refusal = abi.encodeWithSelector(IStateChannels.MalformedCall.selector, 4 + size);
        assertEq(keccak256(answer), keccak256(refusal));
    }

    function test_party_bs_amount_may_be_left_out_of_a_packed_opening(uint88 amount) public {
        amount = uint88(bound(amount, 1, 1e26));
        assertTrue(
            _brief(a, IStateChannels.openBrief.selector, abi.encodePacked(_behindA(_terms(1)), amount))
        );
        (uint88 deposit, uint88 balanceA,,) = channels.channelOf(channels.channelIdOf(_terms(1)));
        assertTrue(deposit == amount && balanceA == amount);
    }

    /// Whoever leaves its address out stands in the terms: nobody else's channel can be meant.
    function test_only_a_party_leaves_its_address_out(address stranger, uint8 mode) public {
        vm.assume(stranger != a && stranger != b);
        IStateChannels.Terms memory terms = _open(1, 50, 50);
        bytes memory asA = _sent(terms, a);
        asA[0] = bytes1(mode);
        assertFalse(
            _brief(
                stranger, IStateChannels.challengeBrief.selector, abi.encodePacked(asA, uint40(0), uint88(50))
            )
        );
        if (mode != 1) {
            assertFalse(
                _brief(
                    a, IStateChannels.challengeBrief.selector, abi.encodePacked(asA, uint40(0), uint88(50))
                )
            );
        }
    }
}
