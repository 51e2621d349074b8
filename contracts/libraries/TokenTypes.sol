// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title What a holder of tokens signs
/// @notice EIP-712 type hashes of ERC-2612 (permit) and EIP-3009 (authorisations), as the standards write them.
library TokenTypes {
    bytes32 internal constant PERMIT =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
    bytes32 internal constant TRANSFER = keccak256(
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 internal constant RECEIVE = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 internal constant CANCEL = keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");
    bytes32 internal constant CLAIM_INTO_CHANNEL =
        keccak256("ClaimIntoChannel(address owner,uint128 cumulative,address channels,bytes32 configHash)");
}
