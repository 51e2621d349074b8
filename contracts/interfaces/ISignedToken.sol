// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4 <0.9.0;

/// @title An ERC-20 that is moved by signatures too
/// @notice ERC-2612 permit and EIP-3009 authorisations (x402 clients pay by them).
interface ISignedToken {
    /// @notice Tokens moved; from the zero address: they were minted.
    event Transfer(address indexed from, address indexed to, uint256 amount);
    /// @notice An owner allowed a spender to move this much, in place of what it had allowed before.
    event Approval(address indexed owner, address indexed spender, uint256 amount);
    /// @notice EIP-3009: an authorisation was used.
    event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
    /// @notice EIP-3009: an authorisation was made worthless by its author.
    event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);

    /// @notice The owner has less than what is to be moved.
    error InsufficientBalance(address owner, uint256 balance, uint256 needed);
    /// @notice The spender may move less than that.
    error InsufficientAllowance(address spender, uint256 allowance, uint256 needed);
    /// @notice Tokens do not go to the zero address.
    error ZeroReceiver();
    /// @notice The signature's deadline (seconds) has passed.
    error Expired(uint256 deadline);
    /// @notice The authorisation is not valid before this time (seconds).
    error NotYetValid(uint256 validAfter);
    /// @notice The authorisation was used or cancelled.
    error AuthorizationSpent(address authorizer, bytes32 nonce);
    /// @notice Only the receiver may use a receiveWithAuthorization.
    error NotReceiver(address receiver, address caller);

    /// @notice ERC-2612: allows by the owner's signature. Keys only: contracts use `approve`.
    function permit(
        address owner,
        address spender,
        uint256 value,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice EIP-3009, signature in one piece (64 or 65 bytes, or ERC-1271).
    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external;

    /// @notice EIP-3009, signature in three parts.
    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice EIP-3009, for contracts: only `to` may use it, so nobody can run ahead.
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external;

    /// @notice The same, signature in three parts.
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice EIP-3009: makes an authorisation worthless before it is used.
    function cancelAuthorization(address authorizer, bytes32 nonce, bytes calldata signature) external;

    /// @notice The same, signature in three parts.
    function cancelAuthorization(address authorizer, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) external;

    /// @notice EIP-3009: whether a nonce is spent.
    function authorizationState(address authorizer, bytes32 nonce) external view returns (bool);
}
