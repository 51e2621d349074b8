// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title EIP-712 domain and digest
/// @notice The separator is computed anew in every call: a cached one would be wrong after a chain split.
library Eip712 {
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant VERSION_HASH = keccak256("1");

    /// @param nameHash keccak-256 of the domain's name; the version is "1", the contract the calling one.
    function domainSeparator(bytes32 nameHash) internal view returns (bytes32) {
        return keccak256(abi.encode(DOMAIN_TYPEHASH, nameHash, VERSION_HASH, block.chainid, address(this)));
    }

    /// @param nameHash keccak-256 of the domain's name.
    /// @param structHash hash of the typed struct.
    function digest(bytes32 nameHash, bytes32 structHash) internal view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", domainSeparator(nameHash), structHash));
    }
}
