// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ISignedToken } from "./interfaces/ISignedToken.sol";
import { Eip712 } from "./libraries/Eip712.sol";
import { InvalidSignature, Signatures } from "./libraries/Signatures.sol";
import { TokenTypes } from "./libraries/TokenTypes.sol";

/// @title An ERC-20 that is moved by signatures too: ERC-2612 permit and EIP-3009 authorisations
// slither-disable-next-line missing-inheritance (IErc20 is what escrow needs of any token)
abstract contract SignedToken is ISignedToken {
    /// @dev One slot: the claim counter beside the balance makes a claim one slot cheaper than any outside distributor.
    struct Account {
        uint128 balance;
        uint128 claimed;
    }

    bytes32 internal constant NAME_HASH = keccak256("CoreChain");

    /// @notice The token's name.
    string public constant name = "CoreChain";
    /// @notice Its symbol.
    string public constant symbol = "CORE";
    /// @notice The version in its EIP-712 domain.
    string public constant version = "1";
    /// @notice 10^18 base units are one CORE.
    uint8 public constant decimals = 18;

    /// @notice All tokens that exist, base units.
    uint256 public totalSupply;
    /// @notice What a spender may still move of an owner's tokens; the largest number is never used up.
    mapping(address owner => mapping(address spender => uint256)) public allowance;
    /// @notice The nonce of an owner's next permit.
    mapping(address owner => uint256) public nonces;
    /// @inheritdoc ISignedToken
    mapping(address authorizer => mapping(bytes32 nonce => bool)) public authorizationState;
    mapping(address owner => Account) internal _accounts;

    /// @notice An owner's tokens, base units.
    function balanceOf(address owner) external view returns (uint256) {
        return _accounts[owner].balance;
    }

    /// @notice Moves the caller's tokens.
    function transfer(address to, uint256 amount) external returns (bool) {
        _transfer(msg.sender, to, amount);
        return true;
    }

    /// @notice Allows a spender to move this much of the caller's tokens, in place of what was allowed before.
    function approve(address spender, uint256 amount) external returns (bool) {
        _approve(msg.sender, spender, amount);
        return true;
    }

    /// @notice Moves an owner's tokens within what the caller is allowed.
    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        uint256 allowed = allowance[from][msg.sender];
        if (allowed != type(uint256).max) {
            if (allowed < amount) revert InsufficientAllowance(msg.sender, allowed, amount);
            allowance[from][msg.sender] = allowed - amount;
        }
        _transfer(from, to, amount);
        return true;
    }

    /// @notice The EIP-712 domain on this chain, computed in every call: it is right after a fork, too.
    function DOMAIN_SEPARATOR() external view returns (bytes32) {
        return Eip712.domainSeparator(NAME_HASH);
    }

    /// @inheritdoc ISignedToken
    function permit(
        address owner,
        address spender,
        uint256 value,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        if (block.timestamp > deadline) revert Expired(deadline);
        bytes32 structHash =
            keccak256(abi.encode(TokenTypes.PERMIT, owner, spender, value, nonces[owner]++, deadline));
        _requireSigner(owner, Eip712.digest(NAME_HASH, structHash), v, r, s);
        _approve(owner, spender, value);
    }

    /// @inheritdoc ISignedToken
    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external {
        bytes32 digest = _spend(TokenTypes.TRANSFER, from, to, value, validAfter, validBefore, nonce);
        Signatures.requireAccount(from, digest, signature);
        _transfer(from, to, value);
    }

    /// @inheritdoc ISignedToken
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
    ) external {
        bytes32 digest = _spend(TokenTypes.TRANSFER, from, to, value, validAfter, validBefore, nonce);
        _requireSigner(from, digest, v, r, s);
        _transfer(from, to, value);
    }

    /// @inheritdoc ISignedToken
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external {
        if (to != msg.sender) revert NotReceiver(to, msg.sender);
        bytes32 digest = _spend(TokenTypes.RECEIVE, from, to, value, validAfter, validBefore, nonce);
        Signatures.requireAccount(from, digest, signature);
        _transfer(from, to, value);
    }

    /// @inheritdoc ISignedToken
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
    ) external {
        if (to != msg.sender) revert NotReceiver(to, msg.sender);
        bytes32 digest = _spend(TokenTypes.RECEIVE, from, to, value, validAfter, validBefore, nonce);
        _requireSigner(from, digest, v, r, s);
        _transfer(from, to, value);
    }

    /// @inheritdoc ISignedToken
    function cancelAuthorization(address authorizer, bytes32 nonce, bytes calldata signature) external {
        Signatures.requireAccount(authorizer, _cancel(authorizer, nonce), signature);
    }

    /// @inheritdoc ISignedToken
    function cancelAuthorization(address authorizer, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) external {
        _requireSigner(authorizer, _cancel(authorizer, nonce), v, r, s);
    }

    /// @dev Marks the authorisation as used; the caller then checks that the digest was signed, or reverts all of it.
    function _spend(
        bytes32 typehash,
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce
    ) private returns (bytes32 digest) {
        if (block.timestamp <= validAfter) revert NotYetValid(validAfter);
        if (block.timestamp >= validBefore) revert Expired(validBefore);
        _useUp(from, nonce);
        emit AuthorizationUsed(from, nonce);
        return Eip712.digest(
            NAME_HASH, keccak256(abi.encode(typehash, from, to, value, validAfter, validBefore, nonce))
        );
    }

    function _cancel(address authorizer, bytes32 nonce) private returns (bytes32 digest) {
        _useUp(authorizer, nonce);
        emit AuthorizationCanceled(authorizer, nonce);
        return Eip712.digest(NAME_HASH, keccak256(abi.encode(TokenTypes.CANCEL, authorizer, nonce)));
    }

    function _useUp(address authorizer, bytes32 nonce) private {
        if (authorizationState[authorizer][nonce]) revert AuthorizationSpent(authorizer, nonce);
        authorizationState[authorizer][nonce] = true;
    }

    function _requireSigner(address signer, bytes32 digest, uint8 v, bytes32 r, bytes32 s) private pure {
        if (Signatures.recover(digest, v, r, s) != signer) revert InvalidSignature();
    }

    function _transfer(address from, address to, uint256 amount) private {
        if (to == address(0)) revert ZeroReceiver();
        uint128 balance = _accounts[from].balance;
        if (balance < amount) revert InsufficientBalance(from, balance, amount);
        _accounts[from].balance = balance - uint128(amount);
        _accounts[to].balance += uint128(amount);
        emit Transfer(from, to, amount);
    }

    function _approve(address owner, address spender, uint256 amount) internal {
        allowance[owner][spender] = amount;
        emit Approval(owner, spender, amount);
    }
}
