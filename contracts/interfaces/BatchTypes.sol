// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4 <0.9.0;

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

/// @notice All that a commitment is the hash of.
struct Revealed {
    BatchHeader header;
    bytes26 readingsRoot;
}

/// @notice Where a commitment stands: the batch whose id the word in the ring has (the last of a group), and for a batch of a group
/// which member it is and the siblings from its leaf up. A batch that was committed alone has its own id, member 0 and no path.
struct Place {
    uint48 anchorId;
    uint32 member;
    bytes26[] path;
}

/// @notice A promise that the reports under `root` are in a batch by `commitBy` (seconds). Source: docs/protocol.md, "Receipts".
struct Receipt {
    uint16 lane;
    uint40 since; // of the bond that answers for it
    uint40 commitBy;
    bytes26 root; // plain tree over the reports of a frame
    uint32 count; // of them
}

/// @notice Of the values of a range, in the metric's scaled units. With count 0 the others are 0.
struct Statistics {
    uint32 count;
    int64 sum;
    int32 min;
    int32 max;
}
