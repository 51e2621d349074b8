// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { BatchHeader } from "../interfaces/IDataBatches.sol";

/// @title Hashes of a batch's header
/// @notice Source: docs/protocol.md, "Header and commitment".
library BatchHeaders {
    /// @notice Hash of the header's eleven words.
    function restHash(BatchHeader calldata header) internal pure returns (bytes32) {
        return keccak256(abi.encode(header));
    }

    /// @notice The word that stands on chain. The readings root comes first and alone, so that a proof of a reading
    /// costs one more word of calldata, not eleven.
    function commitment(bytes26 readingsRoot, bytes32 rest) internal pure returns (bytes26) {
        return bytes26(keccak256(abi.encodePacked(readingsRoot, rest)));
    }
}
