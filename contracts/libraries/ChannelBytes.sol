// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IStateChannels } from "../interfaces/IStateChannels.sol";

/// @title Fields of packed calls of StateChannels, behind the terms
/// @dev In assembly, without a bounds check a field: the length of the whole call is checked once.
library ChannelBytes {
    uint256 private constant SIGNATURE = 64;

    /// @notice Version (5 bytes) and party A's balance (11).
    function state(uint256 offset) internal pure returns (uint40 version, uint88 balanceA) {
        assembly ("memory-safe") {
            let both := calldataload(offset)
            version := shr(216, both)
            balanceA := shr(168, shl(40, both))
        }
    }

    /// @notice The signatures from an offset to the end: one of the party that is not the sender, or both when the sender is no party;
    /// none when a party goes with the state that stands. Reverts MalformedCall for any other length.
    // slither-disable-start write-after-write (offset and length are two parts of one reference)
    function signatures(uint256 offset)
        internal
        pure
        returns (bytes calldata signatureA, bytes calldata signatureB)
    {
        uint256 end = msg.data.length;
        uint256 second = offset;
        uint256 length = SIGNATURE;
        if (end == offset + 2 * SIGNATURE) second = offset + SIGNATURE;
        // The sender's own is not needed: both names mean the one that is there.
        else if (end == offset) length = 0;
        else if (end != offset + SIGNATURE) revert IStateChannels.MalformedCall(end);
        assembly ("memory-safe") {
            signatureA.offset := offset
            signatureA.length := length
            signatureB.offset := second
            signatureB.length := length
        }
    }
    // slither-disable-end write-after-write
}
