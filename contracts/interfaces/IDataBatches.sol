// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice A leaf of a batch: 40 bytes packed in this order. Times in seconds, values in the metric's scaled units.
struct Reading {
    uint16 metric;
    uint64 cell;
    address device;
    uint40 observedAt;
    int32 value;
    uint8 flag;
}

/// @notice The part of a reading that sorts it.
struct Key {
    uint16 metric;
    uint64 cell;
    address device;
    uint40 observedAt;
}

/// @notice What a commitment covers besides the readings root.
struct BatchHeader {
    uint48 batchId;
    bytes26 previous;
    bytes26 ancestor;
    bytes26 statisticsRoot;
    bytes26 reportsRoot;
    bytes32 dataHash;
    bytes32 rulesHash;
    uint32 readingCount;
    uint32 reportCount;
    uint40 windowStart;
    uint40 windowEnd;
}

/// @notice Of the values of a range, in the metric's scaled units. With count 0 the others are 0.
struct Statistics {
    uint32 count;
    int64 sum;
    int32 min;
    int32 max;
}

/// @title Commitments to batches of readings, and proofs against them
/// @notice A lane is a series of batches with one writer. Batch id = lane (16 bits), number (32 bits, from 1). The last
/// 8,192 batches of a lane are in the ring; older ones are reached through `previous` and `ancestor` of newer headers.
interface IDataBatches {
    /// @notice A lane's batches are committed by this account from now on (zero: by nobody).
    event LaneAssigned(uint16 indexed lane, address indexed submitter);
    /// @notice A batch was committed.
    event BatchCommitted(uint48 indexed batchId, bytes26 commitment);
    /// @notice The admin offered the role; the other account must accept it.
    event AdminOffered(address indexed admin, address indexed candidate);
    /// @notice The admin's role went over.
    event AdminChanged(address indexed before, address indexed admin);

    /// @notice Only the lane's submitter may commit.
    error NotSubmitter(uint16 lane, address caller);
    /// @notice Only the admin may do this.
    error NotAdmin(address admin, address caller);
    /// @notice The batch was committed before.
    error AlreadyCommitted(uint48 batchId);
    /// @notice The slot holds another batch than the one exactly one lap earlier.
    error OutOfOrder(uint48 batchId, uint48 inSlot);
    /// @notice Numbers start at 1.
    error ZeroNumber();
    /// @notice A commitment is the hash of something.
    error ZeroCommitment();
    /// @notice No such batch, or another one is in its slot by now.
    error UnknownBatch(uint48 batchId);
    /// @notice The boundary leaves do not enclose the keys that were asked for.
    error RangeIncomplete(uint32 position);

    /// @notice Lets an account commit the batches of a lane. Admin only.
    function assignLane(uint16 lane, address submitter) external;

    /// @notice Offers the admin's role to another account.
    function offerAdmin(address candidate) external;

    /// @notice Takes the admin's role that was offered to the caller.
    function acceptAdmin() external;

    /// @notice Commits one batch. Lane's submitter only.
    /// @param batchId lane and number
    /// @param commitment `hash26(readingsRoot ‖ restHash)`, see docs/protocol.md
    function commit(uint48 batchId, bytes26 commitment) external;

    /// @notice Commits consecutive batches of one lane.
    function commitMany(uint48 firstBatchId, bytes26[] calldata commitments) external;

    /// @notice The commitment of a batch in the ring. Reverts UnknownBatch.
    function commitmentOf(uint48 batchId) external view returns (bytes26);

    /// @notice Who commits on a lane; zero for nobody.
    function submitterOf(uint16 lane) external view returns (address);

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

    /// @notice Statistics of all readings with `low` ≤ key ≤ `high`, proven to be complete within the batch.
    /// @dev Relies on the leaves being sorted and on parents matching their children: both are checked by everyone who
    /// opens the data file.
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
}
