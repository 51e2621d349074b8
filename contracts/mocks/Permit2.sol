// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IPermit2 } from "../interfaces/IPermit2.sol";
import { IErc20 } from "../libraries/SafeErc20.sol";

/// @title What Permit2 does in a witness transfer, by its published types and rules. Tests only.
contract MockPermit2 is IPermit2 {
    error SignatureExpired(uint256 deadline);
    error InvalidAmount(uint256 permitted);
    error InvalidNonce();
    error InvalidSigner();

    bytes32 private constant TOKEN_TYPEHASH = keccak256("TokenPermissions(address token,uint256 amount)");
    string private constant TYPE_START =
        "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,";

    mapping(address owner => mapping(uint256 nonce => bool)) private _used;

    function permitWitnessTransferFrom(
        PermitTransferFrom calldata permit,
        SignatureTransferDetails calldata transferDetails,
        address owner,
        bytes32 witness,
        string calldata witnessTypeString,
        bytes calldata signature
    ) external {
        if (block.timestamp > permit.deadline) {
            revert SignatureExpired(permit.deadline);
        }
        if (transferDetails.requestedAmount > permit.permitted.amount) {
            revert InvalidAmount(permit.permitted.amount);
        }
        if (_used[owner][permit.nonce]) revert InvalidNonce();
        _used[owner][permit.nonce] = true;
        bytes32 typehash = keccak256(abi.encodePacked(TYPE_START, witnessTypeString));
        bytes32 digest = permitDigest(permit, msg.sender, witness, typehash);
        (bytes32 r, bytes32 s) = abi.decode(signature[:64], (bytes32, bytes32));
        address signer = ecrecover(digest, uint8(signature[64]), r, s);
        if (signer == address(0) || signer != owner) revert InvalidSigner();
        address token = permit.permitted.token;
        IErc20(token).transferFrom(owner, transferDetails.to, transferDetails.requestedAmount);
    }

    /// @notice What an owner signs.
    function permitDigest(
        PermitTransferFrom calldata permit,
        address spender,
        bytes32 witness,
        bytes32 typehash
    ) public view returns (bytes32) {
        bytes32 permitted = keccak256(
            abi.encode(TOKEN_TYPEHASH, permit.permitted.token, permit.permitted.amount)
        );
        bytes32 structHash =
            keccak256(abi.encode(typehash, permitted, spender, permit.nonce, permit.deadline, witness));
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,uint256 chainId,address verifyingContract)"),
                keccak256("Permit2"),
                block.chainid,
                address(this)
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }
}
