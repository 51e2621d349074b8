// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4 <0.9.0;

/// @title Pulls a payer's tokens into a channel contract, by whatever authorisation it understands
/// @notice Interface of x402 `batch-settlement`.
interface IDepositCollector {
    /// @notice Moves exactly `amount` from the payer to the calling channel contract, or reverts.
    /// @param payer whose tokens they are
    /// @param token ERC-20
    /// @param amount base units
    /// @param channelId the channel they are for
    /// @param collectorData the payer's authorisation
    function collect(
        address payer,
        address token,
        uint256 amount,
        bytes32 channelId,
        bytes calldata collectorData
    ) external;
}

/// @title EIP-3009 tokens, signature in one piece
interface IErc3009 {
    /// @notice Moves tokens to the caller by the holder's signature.
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external;
}

/// @title Tokens with allowances by signature (EIP-2612)
interface IErc2612 {
    /// @notice Sets an allowance by the holder's signature.
    function permit(
        address owner,
        address spender,
        uint256 value,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;
}
