// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IStateChannels } from "../interfaces/IStateChannels.sol";
import { Channel } from "./ChannelWord.sol";

/// @notice Where the packed terms of a channel lie in memory: partyA 20 ‖ partyB 20 ‖ token 20 ‖ challengePeriod 4 ‖ openBefore 5 ‖ salt 5.
/// Before them lie chain id 32 ‖ contract 20, for the hash; behind them is room for what an opening tells.
type PackedTerms is uint256;

/// @title Terms of two-way channels, packed
/// @dev In assembly: terms are copied once, hashed where they lie and told from there. An opening costs 1,100 gas less than with a struct
/// in memory, anything else 500.
library ChannelTerms {
    /// @notice Bytes of packed terms.
    uint256 internal constant SIZE = 74;
    /// @notice The same without the sender's address.
    uint256 internal constant OWN_SIZE = 54;
    uint256 private constant HEAD = 52;
    uint256 private constant ROOM = 160;
    uint256 private constant TOLD = 96;

    /// @notice Packs terms of an ABI call.
    function pack(IStateChannels.Terms calldata from) internal view returns (PackedTerms terms) {
        (address one, address two, address token_) = (from.partyA, from.partyB, from.token);
        (uint32 period, uint40 until, bytes5 salt) = (from.challengePeriod, from.openBefore, from.salt);
        terms = _room();
        assembly ("memory-safe") {
            mstore(terms, shl(96, one))
            mstore(add(terms, 20), shl(96, two))
            mstore(add(terms, 40), shl(96, token_))
            mstore(add(terms, 60), shl(224, period))
            mstore(add(terms, 64), shl(216, until))
            mstore(add(terms, 69), salt) // on the left of its word
        }
    }

    /// @notice Copies terms behind the selector and a byte that says whose address is left out: 0 nobody's, 1 party A's and 2 party B's,
    /// who is the sender. `end` is the offset behind them. Reverts MalformedCall for another byte. Whether the calldata is long enough is for
    /// the caller to see from `end`.
    function copyAsSent() internal view returns (PackedTerms terms, uint256 end) {
        terms = _room();
        assembly ("memory-safe") {
            switch byte(4, calldataload(0))
            case 0 {
                calldatacopy(terms, 5, SIZE)
                end := add(5, SIZE)
            }
            case 1 {
                mstore(terms, shl(96, caller()))
                calldatacopy(add(terms, 20), 5, OWN_SIZE)
                end := add(5, OWN_SIZE)
            }
            case 2 {
                calldatacopy(terms, 5, 20)
                mstore(add(terms, 20), shl(96, caller()))
                calldatacopy(add(terms, 40), 25, 34)
                end := add(5, OWN_SIZE)
            }
        }
        if (end == 0) revert IStateChannels.MalformedCall(msg.data.length);
    }

    /// @notice The channel's id: `keccak256(abi.encodePacked(block.chainid, address(this), terms))`.
    function id(PackedTerms terms) internal pure returns (bytes32 channelId) {
        assembly ("memory-safe") {
            channelId := keccak256(sub(terms, HEAD), add(HEAD, SIZE))
        }
    }

    /// @notice Whether parties are two, and token and challenge period not zero.
    function areSound(PackedTerms terms) internal pure returns (bool sound) {
        (address one, address two, address token_) = (partyA(terms), partyB(terms), token(terms));
        uint32 period = challengePeriod(terms);
        assembly ("memory-safe") {
            // Without branches: each would be 20 gas.
            let absent := or(or(iszero(one), iszero(two)), or(iszero(token_), iszero(period)))
            sound := iszero(or(absent, eq(one, two)))
        }
    }

    /// @notice Logs the opening: packed terms ‖ deposit 11 ‖ balanceA 11. `topic` is the event's selector.
    function tellOpening(PackedTerms terms, bytes32 topic, Channel channel) internal {
        assembly ("memory-safe") {
            mstore(add(terms, SIZE), channel) // deposit and balance are its first 22 bytes
            log1(terms, TOLD, topic)
        }
    }

    function partyA(PackedTerms terms) internal pure returns (address found) {
        assembly ("memory-safe") {
            found := shr(96, mload(terms))
        }
    }

    function partyB(PackedTerms terms) internal pure returns (address found) {
        assembly ("memory-safe") {
            found := shr(96, mload(add(terms, 20)))
        }
    }

    function token(PackedTerms terms) internal pure returns (address found) {
        assembly ("memory-safe") {
            found := shr(96, mload(add(terms, 40)))
        }
    }

    function challengePeriod(PackedTerms terms) internal pure returns (uint32 found) {
        assembly ("memory-safe") {
            found := shr(224, mload(add(terms, 60)))
        }
    }

    function openBefore(PackedTerms terms) internal pure returns (uint40 found) {
        assembly ("memory-safe") {
            found := shr(216, mload(add(terms, 64)))
        }
    }

    function _room() private view returns (PackedTerms terms) {
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(0x40, add(free, ROOM))
            mstore(free, chainid())
            mstore(add(free, 32), shl(96, address()))
            terms := add(free, HEAD)
        }
    }
}
