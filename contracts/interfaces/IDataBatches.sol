// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4 <0.9.0;

import { BatchHeader, Key, Place, Reading, Revealed, Statistics } from "./BatchTypes.sol";

/// @title Commitments to batches of readings, and proofs against them
/// @notice Batch id = lane (16 bits), number (32 bits, from 1 to 2^27 − 1). A ring of 8,192 words a lane holds the newest commitments: a
/// word is a batch's commitment, or the root over the commitments of several batches committed together. Older batches
/// are reached through `previous` and `ancestor` of newer headers. No word is overwritten while its batches can be challenged.
interface IDataBatches {
    /// @notice A batch was committed.
    event BatchCommitted(uint48 indexed batchId, bytes26 commitment);
    /// @notice Consecutive batches were committed together: 26 bytes each.
    event BatchesCommitted(uint48 indexed firstBatchId, bytes commitments);
    /// @notice A reading was proven to be in a batch.
    event ReadingProven(uint48 indexed batchId, bytes reading);

    /// @notice The batch, or a newer one in its slot, was committed before.
    error AlreadyCommitted(uint48 batchId);
    /// @notice The batches in this slot can still be challenged; it is free for newer ones from `freeAt` (seconds).
    error RingFull(uint48 batchId, uint40 freeAt);
    /// @notice Numbers run from 1 to 2^27 − 1.
    error InvalidNumber(uint256 number);
    /// @notice A commitment is the hash of something.
    error ZeroCommitment();
    /// @notice Two to 256 whole commitments go together.
    error InvalidGroup(uint256 bytesGiven);
    /// @notice No such batch, or another one is in its slot by now.
    error UnknownBatch(uint48 batchId);
    /// @notice The batch was committed together with others: its commitment needs a path.
    error Grouped(uint48 batchId);
    /// @notice The boundary leaves do not enclose the keys that were asked for.
    error RangeIncomplete(uint32 position);

    /// @notice Commits one batch. Lane's submitter only.
    /// @param batchId lane and number
    /// @param commitment `hash26(readingsRoot ‖ restHash)`, see docs/protocol.md
    function commit(uint48 batchId, bytes26 commitment) external;

    /// @notice The same as `commit` for less: commitment (26 bytes) ‖ batch id (6) in one word.
    function commitBrief(bytes32 word) external;

    /// @notice Commits 2 to 256 consecutive batches of one lane in one word. Lane's submitter only.
    /// @dev Costs one slot for all of them; proofs against such a batch carry a path of up to eight nodes more.
    /// @param commitments 26 bytes each; a zero among them commits to nothing that anybody could show
    function commitMany(uint48 firstBatchId, bytes calldata commitments) external;

    /// @notice Proves a reading in a transaction that leaves a log. Packed, because bytes are the price of a proof (EIP-7623):
    /// batch id 6 ‖ position 4 ‖ rest hash 32 ‖ reading 40 ‖ 26 for each sibling from the leaf up.
    function proveReading(bytes calldata packed) external;

    /// @notice The commitment of a batch that has its own word in the ring. Reverts UnknownBatch, Grouped.
    function commitmentOf(uint48 batchId) external view returns (bytes26);

    /// @notice Reverts unless the batch was committed at that place. Gives the second of its commit.
    function requireCommitted(uint48 batchId, bytes26 commitment, Place calldata place)
        external
        view
        returns (uint40 committedAt);

    /// @notice Reverts unless an old batch has this commitment, shown by the headers that lead to it from a batch in the ring.
    /// @dev Each header leads to its `ancestor` (the number without the smallest term of its skew-binary form, a greedy sum of 2^k − 1)
    /// if that is not older than the batch sought, else to its `previous`: O(log n) headers. A chain of headers is as honest as the submitter was who committed the newest of them.
    /// @param place of the first batch of `links`
    /// @param links header and readings root from the newest batch back to the one after the batch sought
    function requireArchived(
        uint48 batchId,
        bytes26 commitment,
        Place calldata place,
        Revealed[] calldata links
    ) external view;

    /// @notice Reverts unless the reading is in the batch at that position.
    /// @param restHash hash of the batch's header
    /// @param proof sibling hashes from the leaf up
    function verifyReading(
        uint48 batchId,
        Reading calldata reading,
        uint32 position,
        bytes32 restHash,
        bytes26[] calldata proof
    ) external view;

    /// @notice The same for any commitment; `requireCommitted` or `requireArchived` tells whose it is.
    function verifyReadingIn(
        bytes26 commitment,
        Reading calldata reading,
        uint32 position,
        bytes32 restHash,
        bytes26[] calldata proof
    ) external pure;

    /// @notice Statistics of all readings with `low` ≤ key ≤ `high`, proven to be complete within the batch.
    /// @dev Relies on the leaves being sorted and on parents matching their children: both are checked by everyone who
    /// opens the data file, and who finds them wrong takes the submitter's bond.
    /// @param header of the batch
    /// @param readingsRoot of the batch
    /// @param low smallest key of the range
    /// @param high largest key of the range
    /// @param from position of the first reading in the range
    /// @param to position behind the last
    /// @param leaves the readings at from − 1, from, to − 1, to (those that exist, each once), 40 bytes each
    /// @param nodes subtrees without such a leaf, left to right, 42 bytes each
    function verifyRange(
        BatchHeader calldata header,
        bytes26 readingsRoot,
        Key calldata low,
        Key calldata high,
        uint32 from,
        uint32 to,
        bytes calldata leaves,
        bytes calldata nodes
    ) external view returns (Statistics memory);

    /// @notice The same for any commitment; `requireCommitted` or `requireArchived` tells whose it is.
    function verifyRangeIn(
        bytes26 commitment,
        BatchHeader calldata header,
        bytes26 readingsRoot,
        Key calldata low,
        Key calldata high,
        uint32 from,
        uint32 to,
        bytes calldata leaves,
        bytes calldata nodes
    ) external pure returns (Statistics memory);
}
