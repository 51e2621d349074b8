// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "../Base.sol";
import { IStateChannels } from "../../../../contracts/interfaces/IStateChannels.sol";
import { ChannelBytes } from "../../../../contracts/libraries/ChannelBytes.sol";

/// Functions without parameters: the calldata behind the selector is what the library reads.
contract ChannelBytesCaller {
    function state() external pure returns (uint256 version, uint256 balanceA) {
        (uint40 first, uint88 second) = ChannelBytes.state(7);
        assembly ("memory-safe") {
            version := first
            balanceA := second
        }
    }

    function signatures() external pure returns (bytes memory, bytes memory) {
        (bytes calldata one, bytes calldata two) = ChannelBytes.signatures(7);
        return (one, two);
    }
}

/// given a packed call, with fields behind its first seven bytes
///   ├── version and balance are found there, and nothing of what follows
///   └── no, one or two signatures follow, and nothing else
contract ChannelBytesTest is Test {
    ChannelBytesCaller internal calls = new ChannelBytesCaller();

    function _call(bytes4 selector, bytes memory fields) private view returns (bytes memory answer) {
        bool success;
        bytes memory whole = abi.encodePacked(selector, hex"ffffff", fields);
        (success, answer) = address(calls).staticcall(whole);
        assertTrue(success);
    }

    function _malformed(bytes4 selector, bytes memory rest) private view {
        (bool success, bytes memory answer) = address(calls).staticcall(bytes.concat(selector, rest));
        assertFalse(success);
        bytes memory expected = abi.encodeWithSelector(IStateChannels.MalformedCall.selector, 4 + rest.length);
        assertEq(keccak256(answer), keccak256(expected));
    }

    function test_a_state_is_version_and_balance(uint40 version, uint88 balance, bytes32 behind) public view {
        bytes memory answer =
            _call(ChannelBytesCaller.state.selector, abi.encodePacked(version, balance, behind));
        (uint256 number, uint256 share) = abi.decode(answer, (uint256, uint256));
        assertEq(number, version);
        assertEq(share, balance);
    }

    function _signatures(bytes memory packed) private view returns (bytes memory, bytes memory) {
        return abi.decode(_call(ChannelBytesCaller.signatures.selector, packed), (bytes, bytes));
    }

    function test_no_one_or_two_signatures_follow(bytes32 seed) public view {
        bytes memory one = abi.encode(seed, ~seed);
        bytes memory two = abi.encode(keccak256(one), seed);
        (bytes memory first, bytes memory second) = _signatures(bytes.concat(one, two));
        assertEq(keccak256(first), keccak256(one));
        assertEq(keccak256(second), keccak256(two));
        (first, second) = _signatures(one);
        assertEq(keccak256(first), keccak256(one));
        assertEq(keccak256(second), keccak256(one));
        (first, second) = _signatures("");
        assertEq(first.length + second.length, 0);
    }

    function test_any_other_length_is_refused() public view {
        bytes4 selector = ChannelBytesCaller.signatures.selector;
        for (uint256 length = 0; length < 200; ++length) {
            if (length == 3 || length == 67 || length == 131) continue;
            _malformed(selector, new bytes(length));
        }
    }
}
