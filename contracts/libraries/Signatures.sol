// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice The signature does not verify for the key it claims.
error InvalidSignature();

/// @notice s is above half the curve order: a second encoding of the same consent.
error HighS();

/// @notice A contract account that judges signatures itself (ERC-1271).
interface IERC1271 {
    /// @notice 0x1626ba7e when the signature is valid.
    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4);
}

/// @title Signatures on two curves, one encoding each
/// @dev secp256k1: 64 bytes (EIP-2098) or 65 bytes (r, s, v with v 27 or 28). P-256: 64 bytes (r, s). Low-s only.
library Signatures {
    uint256 private constant HALF_SECP256K1_ORDER =
        0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;
    // slither-disable-next-line too-many-digits
    uint256 private constant HALF_P256_ORDER =
        0x7FFFFFFF800000007FFFFFFFFFFFFFFFDE737D56D38BCF4279DCE5617E3192A8;
    address private constant P256VERIFY = address(0x100);
    /// @dev A good signature over a digest: key and text are of no other use.
    bytes32 private constant KNOWN_DIGEST =
        0x3919ffe7c1e5de3a06587635d882a5c31f8352476798f97c08190e97581c56d1;
    bytes32 private constant KNOWN_R = 0x5e38e7d7ff76f46ebdbaab736282520471c3e969f9367e70d93424ef3861d46f;
    bytes32 private constant KNOWN_S = 0x7b80bb7ef087101c39856a722a513c7f830309c9ea1e8199232e933e9dd47def;
    bytes32 private constant KNOWN_X = 0x53e060f2bf06d96f5cc9c30c6c0ac286dafcba814012ac0d610c9cbbd3107ff0;
    bytes32 private constant KNOWN_Y = 0xa7b340d20cc71a524d2968dc618621253ea5b22f0b755a9516d5a620cab1be36;
    bytes32 private constant VALID = bytes32(IERC1271.isValidSignature.selector);

    /// @notice The address that signed the digest. Reverts HighS, InvalidSignature.
    function recover(bytes32 digest, bytes calldata signature) internal pure returns (address signer) {
        (bytes32 r, uint256 s, uint8 v) = _split(signature);
        if (s > HALF_SECP256K1_ORDER) revert HighS();
        signer = ecrecover(digest, v, r, bytes32(s));
        if (signer == address(0)) revert InvalidSignature();
    }

    /// @notice The same for a signature in three parts.
    function recover(bytes32 digest, uint8 v, bytes32 r, bytes32 s) internal pure returns (address signer) {
        if (uint256(s) > HALF_SECP256K1_ORDER) revert HighS();
        signer = ecrecover(digest, v, r, s);
        if (signer == address(0)) revert InvalidSignature();
    }

    /// @notice Reverts HighS or InvalidSignature unless the account, a key or a contract (ERC-1271), consents.
    /// @dev The key is asked first: an account that takes on code later (EIP-7702) must not be able to take back what
    /// its key has signed, or a payer could withdraw a deposit that its vouchers have promised away.
    function requireAccount(address account, bytes32 digest, bytes calldata signature) internal view {
        if (_isByKey(account, digest, signature)) return; // before the code is asked for: 2,600 gas
        if (account.code.length == 0) return requireSigner(account, digest, signature); // says what is wrong
        if (!_agrees(account, digest, signature, gasleft())) revert InvalidSignature();
    }

    /// @notice Whether the account, a key or a contract, consents. Never reverts; the contract gets `gasLimit` at most.
    function isByAccount(address account, bytes32 digest, bytes calldata signature, uint256 gasLimit)
        internal
        view
        returns (bool)
    {
        if (_isByKey(account, digest, signature)) return true;
        return account.code.length > 0 && _agrees(account, digest, signature, gasLimit);
    }

    /// @notice Reverts HighS or InvalidSignature unless the signer signed the digest.
    function requireSigner(address signer, bytes32 digest, bytes calldata signature) internal pure {
        if (recover(digest, signature) != signer) revert InvalidSignature();
    }

    /// @notice Whether the 64-byte signature (EIP-2098, low-s) is the signer's. Never reverts: bad signatures are evidence.
    function isCompactBy(address signer, bytes32 digest, bytes calldata signature)
        internal
        pure
        returns (bool)
    {
        return signature.length == 64 && _isByKey(signer, digest, signature);
    }

    /// @notice Whether the 64-byte signature (r, s; low-s) is the P-256 key's. False also where the chain cannot tell: see `hasP256`.
    function isP256By(bytes32 x, bytes32 y, bytes32 digest, bytes calldata signature)
        internal
        view
        returns (bool)
    {
        (bytes32 r, uint256 s) = (bytes32(signature[:32]), uint256(bytes32(signature[32:])));
        return s <= HALF_P256_ORDER && _p256(digest, r, s, x, y);
    }

    /// @notice Whether the chain verifies P-256 signatures: it is asked for one that is known to be good.
    function hasP256() internal view returns (bool) {
        return _p256(KNOWN_DIGEST, KNOWN_R, uint256(KNOWN_S), KNOWN_X, KNOWN_Y);
    }

    /// @notice Reverts HighS or InvalidSignature unless the P-256 key (x, y) signed the digest.
    /// @dev Without the precompile a call succeeds and returns nothing: the length is what tells (EIP-7951).
    function requireP256(bytes32 x, bytes32 y, bytes32 digest, bytes calldata signature) internal view {
        if (signature.length != 64) revert InvalidSignature();
        (bytes32 r, uint256 s) = (bytes32(signature[:32]), uint256(bytes32(signature[32:])));
        if (s > HALF_P256_ORDER) revert HighS();
        if (!_p256(digest, r, s, x, y)) revert InvalidSignature();
    }

    function _p256(bytes32 digest, bytes32 r, uint256 s, bytes32 x, bytes32 y) private view returns (bool) {
        (bool success, bytes memory answer) = P256VERIFY.staticcall(abi.encode(digest, r, s, x, y));
        return success && answer.length == 32 && abi.decode(answer, (uint256)) == 1;
    }

    /// @dev Takes one word of the answer, however long it is: copying all of it would be the caller's gas.
    function _agrees(address account, bytes32 digest, bytes calldata signature, uint256 gasLimit)
        private
        view
        returns (bool agrees)
    {
        bytes memory question = abi.encodeCall(IERC1271.isValidSignature, (digest, signature));
        bytes32 valid = VALID;
        assembly ("memory-safe") {
            agrees := staticcall(gasLimit, account, add(question, 32), mload(question), 0, 32)
            agrees := and(agrees, and(gt(returndatasize(), 31), eq(mload(0), valid)))
        }
    }

    /// @dev An account with code may use signatures of any form, so this one refuses without reverting.
    function _isByKey(address account, bytes32 digest, bytes calldata signature) private pure returns (bool) {
        if (signature.length != 64 && signature.length != 65) return false;
        if (account == address(0)) return false; // what a failed recovery gives
        (bytes32 r, uint256 s, uint8 v) = _split(signature);
        return s <= HALF_SECP256K1_ORDER && ecrecover(digest, v, r, bytes32(s)) == account;
    }

    function _split(bytes calldata signature) private pure returns (bytes32 r, uint256 s, uint8 v) {
        bool compact = signature.length == 64;
        if (!compact && signature.length != 65) revert InvalidSignature();
        assembly ("memory-safe") {
            let start := signature.offset
            r := calldataload(start)
            s := calldataload(add(start, 32))
            switch compact
            case 1 {
                v := add(27, shr(255, s))
                s := shr(1, shl(1, s))
            }
            default { v := byte(0, calldataload(add(start, 64))) }
        }
    }
}
