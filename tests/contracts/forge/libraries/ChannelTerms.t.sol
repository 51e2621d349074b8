// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Log, Test } from "../Base.sol";
import { IStateChannels } from "../../../../contracts/interfaces/IStateChannels.sol";
import { ChannelTerms, PackedTerms } from "../../../../contracts/libraries/ChannelTerms.sol";
import { Channel } from "../../../../contracts/libraries/ChannelWord.sol";

/// Each way in answers with the packed terms, their id, and whether memory of others was let alone.
contract ChannelTermsCaller {
    using ChannelTerms for PackedTerms;

    function pack(IStateChannels.Terms calldata terms) external view returns (bytes memory, bytes32, bool) {
        bytes32[1] memory mine = [keccak256("mine")];
        return _told(ChannelTerms.pack(terms), mine);
    }

    function copyAsSent() external view returns (bytes memory, bytes32, bool, uint256) {
        bytes32[1] memory mine = [keccak256("mine")];
        (PackedTerms terms, uint256 end) = ChannelTerms.copyAsSent();
        (bytes memory packed, bytes32 id, bool clean) = _told(terms, mine);
        return (packed, id, clean, end);
    }

    function fields(IStateChannels.Terms calldata terms)
        external
        view
        returns (uint256 one, uint256 two, uint256 token, uint256 period, uint256 until)
    {
        PackedTerms packed = ChannelTerms.pack(terms);
        (address a, address b, address c) = (packed.partyA(), packed.partyB(), packed.token());
        (uint32 d, uint40 e) = (packed.challengePeriod(), packed.openBefore());
        assembly ("memory-safe") {
            one := a
            two := b
            token := c
            period := d
            until := e
        }
    }

    function areSound(IStateChannels.Terms calldata terms) external view returns (bool) {
        return ChannelTerms.pack(terms).areSound();
    }

    /// True when what was allocated behind the terms is untouched by the telling.
    function tellOpening(IStateChannels.Terms calldata terms, Channel channel) external returns (bool) {
        PackedTerms packed = ChannelTerms.pack(terms);
        bytes32[1] memory behind = [keccak256("behind")];
        packed.tellOpening(keccak256("topic"), channel);
        return behind[0] == keccak256("behind");
    }

    function _told(PackedTerms terms, bytes32[1] memory mine)
        private
        pure
        returns (bytes memory packed, bytes32 id, bool clean)
    {
        packed = new bytes(74);
        assembly ("memory-safe") {
            mcopy(add(packed, 32), terms, 74)
        }
        clean = mine[0] == keccak256("mine");
        id = terms.id();
    }
}

/// given terms
///   ├── of an ABI call, or with a byte that says whose address is left out, they are the same 74 bytes
///   ├── their id is the hash of chain, contract and terms
///   ├── every field is found, and nothing of its neighbours
///   ├── they are sound with two parties, a token and a period
///   └── an opening is told with the deposit and party A's part of it
contract ChannelTermsTest is Test {
    ChannelTermsCaller internal caller = new ChannelTermsCaller();

    function _pack(IStateChannels.Terms memory t) private pure returns (bytes memory) {
        return abi.encodePacked(t.partyA, t.partyB, t.token, t.challengePeriod, t.openBefore, t.salt);
    }

    function _id(bytes memory packed) private view returns (bytes32) {
        return keccak256(abi.encodePacked(block.chainid, address(caller), packed));
    }

    function _same(bytes memory expected, bytes memory answer) private view {
        (bytes memory packed, bytes32 id, bool clean) = abi.decode(answer, (bytes, bytes32, bool));
        assertEq(keccak256(packed), keccak256(expected));
        assertEq(id, _id(expected));
        assertTrue(clean, "memory of others was written to");
    }

    /// Bytes of the packed form without one party's.
    function _without(bytes memory packed, uint256 start) private pure returns (bytes memory rest) {
        rest = new bytes(54);
        for (uint256 i = 0; i < 54; ++i) {
            rest[i] = packed[i < start ? i : i + 20];
        }
    }

    function test_terms_of_an_abi_call_are_packed(IStateChannels.Terms calldata terms) public view {
        bytes memory packed = _pack(terms);
        (bytes memory found, bytes32 id, bool clean) = caller.pack(terms);
        _same(packed, abi.encode(found, id, clean));
    }

    function _send(address sender, bytes memory call, bytes memory packed, uint256 end) private {
        vm.prank(sender);
        (bool success, bytes memory answer) = address(caller)
            .staticcall(bytes.concat(ChannelTermsCaller.copyAsSent.selector, call, ~bytes32(0)));
        assertTrue(success);
        _same(packed, answer);
        (,,, uint256 found) = abi.decode(answer, (bytes, bytes32, bool, uint256));
        assertEq(found, end);
    }

    function test_a_byte_says_whose_address_is_left_out(IStateChannels.Terms calldata terms) public {
        bytes memory packed = _pack(terms);
        _send(address(7), bytes.concat(hex"00", packed), packed, 79);
        _send(terms.partyA, bytes.concat(hex"01", _without(packed, 0)), packed, 59);
        _send(terms.partyB, bytes.concat(hex"02", _without(packed, 20)), packed, 59);
    }

    function test_another_byte_is_refused(uint8 who, uint8 length) public view {
        who = uint8(bound(who, 3, 255));
        bytes memory call = abi.encodePacked(ChannelTermsCaller.copyAsSent.selector, who, new bytes(length));
        (bool success, bytes memory answer) = address(caller).staticcall(call);
        assertFalse(success);
        bytes memory expected = abi.encodeWithSelector(IStateChannels.MalformedCall.selector, call.length);
        assertEq(keccak256(answer), keccak256(expected));
    }

    function test_the_id_is_of_this_chain(IStateChannels.Terms calldata terms, uint32 chain) public {
        vm.chainId(uint256(chain) + 1);
        (, bytes32 id,) = caller.pack(terms);
        assertEq(id, keccak256(abi.encodePacked(uint256(chain) + 1, address(caller), _pack(terms))));
    }

    function test_every_field_is_found(IStateChannels.Terms calldata terms) public view {
        (uint256 one, uint256 two, uint256 token, uint256 period, uint256 until) = caller.fields(terms);
        assertEq(one, uint160(terms.partyA));
        assertEq(two, uint160(terms.partyB));
        assertEq(token, uint160(terms.token));
        assertEq(period, terms.challengePeriod);
        assertEq(until, terms.openBefore);
    }

    function _isSound(address a, address b, address token, uint32 period) private view returns (bool) {
        return caller.areSound(IStateChannels.Terms(a, b, token, period, 0, 0));
    }

    function test_sound_terms_have_two_parties_a_token_and_a_period(uint160 any, uint32 period) public view {
        address a = address(uint160(bound(any, 1, type(uint160).max - 1)));
        address b = address(uint160(a) + 1);
        period = uint32(bound(period, 1, type(uint32).max));
        assertTrue(_isSound(a, b, a, period));
        assertTrue(_isSound(b, a, b, 1));
        assertFalse(_isSound(a, a, b, period));
        assertFalse(_isSound(address(0), b, a, period));
        assertFalse(_isSound(a, address(0), b, period));
        assertFalse(_isSound(a, b, address(0), period));
        assertFalse(_isSound(a, b, a, 0));
        assertFalse(_isSound(address(0), address(0), address(0), 0));
    }

    function test_an_opening_is_told_with_its_amounts(IStateChannels.Terms calldata terms, uint256 word)
        public
    {
        vm.recordLogs();
        assertTrue(caller.tellOpening(terms, Channel.wrap(word)), "memory of others was written to");
        Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 1);
        assertEq(logs[0].topics.length, 1);
        assertEq(logs[0].topics[0], keccak256("topic"));
        bytes memory expected = abi.encodePacked(_pack(terms), bytes22(bytes32(word)));
        assertEq(keccak256(logs[0].data), keccak256(expected));
    }

    function test_sizes_are_those_of_the_fields() public pure {
        assertEq(ChannelTerms.SIZE, 20 + 20 + 20 + 4 + 5 + 5);
        assertEq(ChannelTerms.OWN_SIZE, ChannelTerms.SIZE - 20);
    }
}
