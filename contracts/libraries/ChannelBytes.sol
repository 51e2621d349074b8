// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IStateChannels } from "../interfaces/IStateChannels.sol";

/// @title Packed calls of StateChannels
/// @notice Terms: partyA 20 ‖ partyB 20 ‖ token 20 ‖ challengePeriod 4 ‖ openBefore 5 ‖ salt 32. The rest is described at each call.
/// @dev In assembly, without a bounds check a field: the length is checked once. That is 1,500 gas of a challenge.
library ChannelBytes {
    /// @notice Bytes of packed terms.
    uint256 internal constant TERMS = 101;
    /// @notice Bytes of packed terms without party A.
    uint256 internal constant OPENING = 81;
    uint256 private constant SIGNATURE = 64;

    /// @notice Reverts MalformedCall unless there are exactly so many bytes.
    function requireLength(bytes calldata packed, uint256 length) internal pure {
        if (packed.length != length) revert IStateChannels.MalformedCall(packed.length);
    }

    /// @notice The terms in front. The length must have been checked.
    function terms(bytes calldata packed) internal pure returns (IStateChannels.Terms memory found) {
        assembly ("memory-safe") {
            mstore(found, shr(96, calldataload(packed.offset)))
        }
        _fill(found, packed, 20);
    }

    /// @notice The terms in front, of which the sender is party A. The length must have been checked.
    function ownTerms(bytes calldata packed) internal view returns (IStateChannels.Terms memory found) {
        found.partyA = msg.sender;
        _fill(found, packed, 0);
    }

    /// @dev Everything behind party A.
    function _fill(IStateChannels.Terms memory found, bytes calldata packed, uint256 start) private pure {
        assembly ("memory-safe") {
            let source := add(packed.offset, start)
            mstore(add(found, 32), shr(96, calldataload(source)))
            mstore(add(found, 64), shr(96, calldataload(add(source, 20))))
            mstore(add(found, 96), shr(224, calldataload(add(source, 40))))
            mstore(add(found, 128), shr(216, calldataload(add(source, 44))))
            mstore(add(found, 160), calldataload(add(source, 49)))
        }
    }

    /// @notice An amount of 11 bytes at an offset. The length must have been checked.
    function amount(bytes calldata packed, uint256 offset) internal pure returns (uint88 found) {
        assembly ("memory-safe") {
            found := shr(168, calldataload(add(packed.offset, offset)))
        }
    }

    /// @notice Version (5 bytes) and party A's balance (11) behind the terms. The length must have been checked.
    function state(bytes calldata packed) internal pure returns (uint40 version, uint88 balanceA) {
        assembly ("memory-safe") {
            let both := calldataload(add(packed.offset, TERMS))
            version := shr(216, both)
            balanceA := and(shr(128, both), 0xffffffffffffffffffffff)
        }
    }

    /// @notice The signatures behind an offset: one of the party that is not the sender, or both when the sender is no party; none of
    /// them when a party goes with the state that stands. Reverts MalformedCall for any other length.
    // slither-disable-start write-after-write (offset and length are two parts of one reference)
    function signatures(bytes calldata packed, uint256 offset)
        internal
        pure
        returns (bytes calldata signatureA, bytes calldata signatureB)
    {
        uint256 length = packed.length;
        bool both = length == offset + 2 * SIGNATURE;
        if (!both && length != offset + SIGNATURE && length != offset) {
            revert IStateChannels.MalformedCall(length);
        }
        assembly ("memory-safe") {
            let first := add(packed.offset, offset)
            switch both
            case 1 {
                signatureA.offset := first
                signatureA.length := SIGNATURE
                signatureB.offset := add(first, SIGNATURE)
                signatureB.length := SIGNATURE
            }
            default {
                // The sender's own is not needed: both places name the one that is there.
                signatureA.offset := first
                signatureA.length := sub(length, offset)
                signatureB.offset := first
                signatureB.length := sub(length, offset)
            }
        }
    }
    // slither-disable-end write-after-write
}
