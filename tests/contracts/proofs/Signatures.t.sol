// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Signatures } from "../../../contracts/libraries/Signatures.sol";

/// For every signature there is:
///   ├── what counts has a low s and a signer, and is the same in 64 and in 65 bytes
///   └── no other s of the same signature counts
contract SignatureProofs {
    uint256 private constant ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    function check_a_signature_that_counts_is_low_and_somebodys(
        address signer,
        bytes32 digest,
        bytes32 r,
        uint256 s,
        bool odd
    ) public view {
        if (s >> 255 != 0) return;
        uint8 v = odd ? 28 : 27;
        bool counts = this.isKey(signer, digest, abi.encodePacked(r, s, v));
        bool plain = s <= ORDER / 2 && signer != address(0) && ecrecover(digest, v, r, bytes32(s)) == signer;
        assert(counts == plain);
        bytes memory compact = abi.encodePacked(r, odd ? s | 1 << 255 : s);
        assert(this.isCompact(signer, digest, compact) == counts);
        assert(this.isKey(signer, digest, compact) == counts);
    }

    function check_a_signature_has_one_s(address signer, bytes32 digest, bytes32 r, uint256 s, uint8 v)
        public
        view
    {
        if (s == 0 || s >= ORDER) return;
        bytes memory one = abi.encodePacked(r, s, v);
        bytes memory other = abi.encodePacked(r, ORDER - s, v ^ 7);
        assert(!(this.isKey(signer, digest, one) && this.isKey(signer, digest, other)));
    }

    /// Of a signer without code: the gas for contracts is none.
    function isKey(address signer, bytes32 digest, bytes calldata signature) external view returns (bool) {
        try this.requireKey(signer, digest, signature) {
            return signer != address(0);
        } catch {
            return false;
        }
    }

    function requireKey(address signer, bytes32 digest, bytes calldata signature) external pure {
        Signatures.requireSigner(signer, digest, signature);
    }

    function isCompact(address signer, bytes32 digest, bytes calldata signature) external pure returns (bool) {
        return Signatures.isCompactBy(signer, digest, signature);
    }
}
