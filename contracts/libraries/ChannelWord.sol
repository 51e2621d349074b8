// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice All that changes of a two-way channel: deposit (88 bits) ‖ balance of party A (88) ‖ version (40) ‖ deadline (40). Zero: no channel.
type Channel is uint256;

/// @title The one word of a two-way channel
library ChannelWord {
    /// @notice The version of a channel that was closed while its terms could still open it.
    uint40 internal constant CLOSED = type(uint40).max;

    /// @notice A new channel. The caller has found the numbers small enough.
    function opened(uint256 deposit_, uint256 balanceA_) internal pure returns (Channel) {
        return Channel.wrap(deposit_ << 168 | balanceA_ << 80);
    }

    function pack(uint88 deposit_, uint88 balanceA_, uint40 version_, uint40 deadline_)
        internal
        pure
        returns (Channel)
    {
        return Channel.wrap(
            uint256(deposit_) << 168 | uint256(balanceA_) << 80 | uint256(version_) << 40 | deadline_
        );
    }

    function deposit(Channel channel) internal pure returns (uint88) {
        return uint88(Channel.unwrap(channel) >> 168);
    }

    function balanceA(Channel channel) internal pure returns (uint88) {
        return uint88(Channel.unwrap(channel) >> 80);
    }

    function version(Channel channel) internal pure returns (uint40) {
        return uint40(Channel.unwrap(channel) >> 40);
    }

    /// @notice Seconds; 0 while no challenge runs.
    function deadline(Channel channel) internal pure returns (uint40) {
        return uint40(Channel.unwrap(channel));
    }

    /// @notice The same word with another deposit, which the caller has found small enough.
    function withDeposit(Channel channel, uint256 deposit_) internal pure returns (Channel) {
        uint256 others = Channel.unwrap(channel) & type(uint168).max;
        return Channel.wrap(others | deposit_ << 168);
    }

    /// @notice The same word with another balance of party A.
    function withBalance(Channel channel, uint88 balanceA_) internal pure returns (Channel) {
        uint256 others = Channel.unwrap(channel) & ~(uint256(type(uint88).max) << 80);
        return Channel.wrap(others | uint256(balanceA_) << 80);
    }

    /// @notice Whether there is a channel, or was one whose terms could open it again.
    function isUsed(Channel channel) internal pure returns (bool) {
        return Channel.unwrap(channel) != 0;
    }

    /// @notice Whether a challenge has run out.
    function isDue(Channel channel) internal view returns (bool) {
        uint40 until = deadline(channel);
        return until != 0 && block.timestamp >= until;
    }
}
