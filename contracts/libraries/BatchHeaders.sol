// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { BatchHeader, Revealed } from "../interfaces/BatchTypes.sol";
import { InvalidProof, PositionalTree } from "./PositionalTree.sol";

/// @title Hashes of a batch's header, and the chain that headers make
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

    /// @notice The commitment of a batch that is wholly known.
    function commitmentOf(Revealed calldata batch) internal pure returns (bytes26) {
        return commitment(batch.readingsRoot, restHash(batch.header));
    }

    /// @notice What stands in the tree of a group: a 32-byte preimage, so neither a node (52) nor a header (58) can pass.
    function groupLeaf(uint48 batchId, bytes26 commitment_) internal pure returns (bytes26) {
        return bytes26(keccak256(abi.encodePacked(commitment_, batchId)));
    }

    /// @notice The root over a group's leaves; `commitments` are 26 bytes each. A zero among them is left to the caller.
    /// @dev In assembly: ten batches cost 2,500 gas instead of 10,000.
    function groupRoot(uint48 firstBatchId, bytes calldata commitments, uint256 count)
        internal
        pure
        returns (bytes26)
    {
        bytes26[] memory leaves = new bytes26[](count);
        assembly ("memory-safe") {
            let source := commitments.offset
            let end := add(source, mul(count, 26))
            let target := add(leaves, 32)
            for { let id := firstBatchId } lt(source, end) { id := add(id, 1) } {
                // 26 bytes of commitment; the id takes the place of the next one's first 6.
                mstore(0, or(shl(48, shr(48, calldataload(source))), id))
                mstore(target, shl(48, shr(48, keccak256(0, 32))))
                source := add(source, 26)
                target := add(target, 32)
            }
        }
        return PositionalTree.rootOver(leaves);
    }

    /// @notice The batch that `ancestor` of a header names; number 0 for none.
    /// @dev The number without the smallest term of its skew-binary form (a greedy sum of 2^k − 1): with such jumps any batch is
    /// reached from any newer one in O(log n) steps. Source: Myers, "An applicative random-access stack", 1983.
    function ancestorOf(uint48 batchId) internal pure returns (uint48) {
        uint256 rest = uint32(batchId);
        uint256 term = type(uint32).max;
        while (rest != term) {
            if (rest > term) rest -= term;
            else term >>= 1;
        }
        return uint48(batchId - term);
    }

    /// @notice The batch one step back from a header on the way to `target`, and its commitment.
    function stepTowards(BatchHeader calldata header, uint48 target)
        internal
        pure
        returns (uint48 batchId, bytes26 commitment_)
    {
        // Never behind the target, never out of the lane.
        if (header.batchId <= target || header.batchId >> 32 != target >> 32) revert InvalidProof();
        uint48 ancestor = ancestorOf(header.batchId);
        return ancestor >= target ? (ancestor, header.ancestor) : (header.batchId - 1, header.previous);
    }
}
