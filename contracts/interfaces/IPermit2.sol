// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4 <0.9.0;

/// @title The part of Permit2 that a deposit needs
/// @notice Permit2 is deployed by others, at one address on every chain. Holders approve it once per token; then a signature moves tokens.
interface IPermit2 {
    /// @notice The token and how much of it may be moved.
    struct TokenPermissions {
        address token;
        uint256 amount;
    }

    /// @notice What the owner signs, besides the spender and the witness. Nonces are used in any order, each once.
    struct PermitTransferFrom {
        TokenPermissions permitted;
        uint256 nonce;
        uint256 deadline;
    }

    /// @notice Where the spender sends it; not signed.
    struct SignatureTransferDetails {
        address to;
        uint256 requestedAmount;
    }

    /// @notice Moves tokens by the owner's signature, which holds for this caller and this witness only.
    /// @param permit what the owner has signed
    /// @param transferDetails where to, and how much of it
    /// @param owner whose tokens they are
    /// @param witness EIP-712 hash of a struct of the caller's that the owner has signed too
    /// @param witnessTypeString the end of the type string, from the witness on
    /// @param signature the owner's
    function permitWitnessTransferFrom(
        PermitTransferFrom calldata permit,
        SignatureTransferDetails calldata transferDetails,
        address owner,
        bytes32 witness,
        string calldata witnessTypeString,
        bytes calldata signature
    ) external;
}
