// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { StateFixture } from "./StateFixture.sol";
import { IStateChannels } from "../../../contracts/interfaces/IStateChannels.sol";

/// given a challenge between two parties
///   ├── a packed answer does what the other does, whoever sends it
///   └── bytes of another length, or without a party's address when no party sends them, are refused
contract StatePackedTest is StateFixture {
    IStateChannels.Terms internal one;
    IStateChannels.Terms internal two;

    function setUp() public {
        _start();
        one = _open(1, 100, 3);
        two = _open(2, 100, 3);
        channels.challenge(one, _state(one, 1, 50));
        channels.challenge(two, _state(two, 1, 50));
    }

    function _respond(address sender, bytes memory packed) private returns (bool) {
        return _brief(sender, IStateChannels.respondBrief.selector, packed);
    }

    function _sameAs(IStateChannels.Terms memory first, IStateChannels.Terms memory second) private view {
        (uint88 d1, uint88 b1, uint40 v1, uint40 t1) = channels.channelOf(channels.channelIdOf(first));
        (uint88 d2, uint88 b2, uint40 v2, uint40 t2) = channels.channelOf(channels.channelIdOf(second));
        assertTrue(d1 == d2 && b1 == b2 && v1 == v2 && t1 == t2);
    }

    function test_a_packed_answer_does_what_the_other_does(uint8 who, uint40 version, uint88 share) public {
        version = uint40(bound(version, 2, type(uint40).max - 1));
        share = uint88(bound(share, 0, 103));
        channels.respond(one, _state(one, version, share));
        bytes32 digest = _stateDigest(two, version, share);
        bytes memory byA = signedCompact(keyOf("party a"), digest);
        bytes memory byB = signedCompact(keyOf("party b"), digest);
        (address sender, bytes memory rest) =
            who % 3 == 0 ? (a, byB) : who % 3 == 1 ? (b, byA) : (tower, bytes.concat(byA, byB));
        bytes memory head = abi.encodePacked(_sent(two, tower), version, share);
        assertFalse(_respond(tower, bytes.concat(head, byB)), "one signature of two");
        assertFalse(_respond(tower, head), "none");
        head = abi.encodePacked(_sent(two, sender), version, share);
        assertFalse(_respond(sender, head), "not even the other party's");
        assertTrue(_respond(sender, bytes.concat(head, rest)));
        _sameAs(one, two);
    }

    function test_packed_bytes_of_another_length_are_refused(uint8 mode, uint16 length) public {
        mode %= 3;
        uint256 size = length % 300;
        uint256 right = mode == 0 ? 75 + 16 : 55 + 16;
        if (size == right || size == right + 64 || size == right + 128) ++size;
        bytes memory packed = new bytes(size);
        if (size > 0) packed[0] = bytes1(mode);
        vm.prank(a);
        (bool success, bytes memory answer) =
            address(channels).call(abi.encodePacked(IStateChannels.respondBrief.selector, packed));
        assertFalse(success);
        bytes memory refusal = abi.encodeWithSelector(IStateChannels.MalformedCall.selector, 4 + size);
        assertEq(keccak256(answer), keccak256(refusal));
    }

    /// Whoever leaves its address out stands in the terms: nobody else's channel can be meant.
    function test_only_a_party_leaves_its_address_out(address stranger, uint8 mode) public {
        vm.assume(stranger != a && stranger != b);
        bytes memory byB = signedCompact(keyOf("party b"), _stateDigest(two, 2, 60));
        bytes memory packed = abi.encodePacked(_sent(two, a), uint40(2), uint88(60), byB);
        packed[0] = bytes1(mode);
        assertFalse(_respond(stranger, packed));
        assertTrue(_respond(a, packed) == (mode == 1));
    }
}
