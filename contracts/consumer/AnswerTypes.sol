// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4 <0.9.0;

import { BatchHeader, Place } from "../interfaces/BatchTypes.sol";
import { IDataBatches } from "../interfaces/IDataBatches.sol";
import { ILaneBonds } from "../interfaces/ILaneBonds.sol";

/// @notice What a consumer calls of DataBatches.
interface ICoreChainBatches is IDataBatches, ILaneBonds {
    /// @notice How long a batch can be challenged after it was committed, seconds.
    function challengeWindow() external view returns (uint40);

    /// @notice How long a demand can be answered, seconds.
    function answerWindow() external view returns (uint40);
}

/// @notice What a contract wants to know: one metric of one device at one cell. The contract says it, never the caller: who could
/// choose another device, time or lane could choose the answer. Times in seconds, both ends included.
struct Span {
    uint16 lane; // whose batches count; a device reports to one lane
    uint16 metric; // see Metrics.sol
    uint64 cell;
    address device;
    uint40 start;
    uint40 end;
    uint40 closesAt; // what was committed up to this second counts, what came later does not
}

/// @notice A batch by its commitment. Number 0 stands for the beginning of the lane.
struct Anchor {
    uint48 batchId;
    bytes26 commitment;
    Place place;
}

/// @notice One batch of an answer. With leaves: a range proof. Without: the batch holds nothing of the time.
struct Step {
    BatchHeader header;
    bytes26 readingsRoot;
    Place place;
    uint32 from;
    uint32 to;
    bytes leaves; // 40 bytes each
    bytes nodes; // 42 bytes each
}

/// @notice The API's answer. Python: `client.contract_answer(…).as_abi()`.
struct Answer {
    Anchor before; // the neighbour before the first step
    Step[] steps; // every batch of the lane from there on, oldest first
    Anchor behind; // the neighbour behind the last step, committed after `closesAt`
}

/// @notice What is proven so far. Values in the metric's scaled units; with count 0 sum, min and max are 0. Three slots.
struct Tally {
    bytes26 commitment; // of the newest batch that was taken
    uint48 batchId; // its id
    int128 sum;
    uint64 count;
    int32 min;
    int32 max;
    uint40 oldest; // second in which the first of the batches was committed; 0 before there is one
    uint40 newest; // and the last
    bool closed; // nothing can be added any more
}
