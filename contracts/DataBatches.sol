// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { BatchHeader, IDataBatches, Key, Reading, Statistics } from "./interfaces/IDataBatches.sol";
import { BatchHeaders } from "./libraries/BatchHeaders.sol";
import { InvalidProof, PositionalTree } from "./libraries/PositionalTree.sol";
import { StatisticsTree } from "./libraries/StatisticsTree.sol";

/// @title Commitments to batches of readings
/// @notice One word a batch in a ring: a slot that is used again costs 5,000 gas, a new one 22,100.
contract DataBatches is IDataBatches {
    /// @notice Batches of a lane that can be proven directly.
    uint256 public constant RING_SIZE = 8192;

    /// @notice Who assigns lanes.
    address public admin;
    /// @notice Whom the admin offered the role.
    address public adminCandidate;

    /// @inheritdoc IDataBatches
    mapping(uint16 lane => address) public submitterOf;
    /// @dev commitment (208 bits) ‖ batch id (48 bits), at lane and number modulo the ring's size.
    mapping(uint256 laneAndSlot => uint256) private _ring;

    constructor(address firstAdmin) {
        // slither-disable-next-line missing-zero-check (zero: lanes stay as they are)
        admin = firstAdmin;
        emit AdminChanged(address(0), firstAdmin);
    }

    /// @inheritdoc IDataBatches
    function assignLane(uint16 lane, address submitter) external {
        _requireAdmin();
        submitterOf[lane] = submitter;
        emit LaneAssigned(lane, submitter);
    }

    /// @inheritdoc IDataBatches
    function offerAdmin(address candidate) external {
        _requireAdmin();
        // slither-disable-next-line missing-zero-check (zero takes the offer back)
        adminCandidate = candidate;
        emit AdminOffered(msg.sender, candidate);
    }

    /// @inheritdoc IDataBatches
    function acceptAdmin() external {
        if (msg.sender != adminCandidate) revert NotAdmin(adminCandidate, msg.sender);
        emit AdminChanged(admin, msg.sender);
        admin = msg.sender;
        delete adminCandidate;
    }

    /// @inheritdoc IDataBatches
    function commit(uint48 batchId, bytes26 commitment) external {
        _requireSubmitter(batchId);
        _commit(batchId, commitment);
    }

    /// @inheritdoc IDataBatches
    function commitMany(uint48 firstBatchId, bytes26[] calldata commitments) external {
        _requireSubmitter(firstBatchId);
        // The last id must be of the same lane: numbers do not run over into the next one.
        if ((firstBatchId + commitments.length) >> 32 != firstBatchId >> 32) {
            revert OutOfOrder(firstBatchId, 0);
        }
        for (uint256 i = 0; i < commitments.length; ++i) {
            _commit(uint48(firstBatchId + i), commitments[i]);
        }
    }

    /// @inheritdoc IDataBatches
    function commitmentOf(uint48 batchId) public view returns (bytes26) {
        uint256 word = _ring[_slotOf(batchId)];
        // The id of no batch is 0, so an empty slot answers for nobody.
        if (batchId == 0 || uint48(word) != batchId) revert UnknownBatch(batchId);
        return bytes26(bytes32(word));
    }

    /// @inheritdoc IDataBatches
    function verifyReading(
        uint48 batchId,
        Reading calldata reading,
        uint32 position,
        bytes32 restHash,
        bytes26[] calldata proof
    ) external view {
        bytes26 leaf = PositionalTree.hash26(
            abi.encodePacked(
                reading.metric, reading.cell, reading.device, reading.observedAt, reading.value, reading.flag
            )
        );
        bytes26 root = PositionalTree.rootOf(leaf, position, proof);
        if (BatchHeaders.commitment(root, restHash) != commitmentOf(batchId)) revert InvalidProof();
    }

    /// @inheritdoc IDataBatches
    function verifyRange(
        BatchHeader calldata header,
        bytes26 readingsRoot,
        Key calldata low,
        Key calldata high,
        uint32 from,
        uint32 to,
        bytes calldata leaves,
        bytes calldata nodes
    ) external view returns (Statistics memory) {
        bytes26 commitment = BatchHeaders.commitment(readingsRoot, BatchHeaders.restHash(header));
        if (commitment != commitmentOf(header.batchId)) revert InvalidProof();
        return StatisticsTree.verify(
            header.statisticsRoot, header.readingCount, low, high, from, to, leaves, nodes
        );
    }

    function _commit(uint48 batchId, bytes26 commitment) private {
        // Checks
        if (uint32(batchId) == 0) revert ZeroNumber();
        if (commitment == 0) revert ZeroCommitment();
        uint256 slot = _slotOf(batchId);
        _requireTurn(batchId, uint48(_ring[slot]));

        // Effects
        _ring[slot] = uint256(bytes32(commitment)) | batchId;
        emit BatchCommitted(batchId, commitment);
    }

    /// @dev Within a lap any order is fine (transactions overtake each other); a slot moves on by exactly one lap.
    function _requireTurn(uint48 batchId, uint48 inSlot) private pure {
        if (inSlot >= batchId) revert AlreadyCommitted(batchId);
        bool firstLap = inSlot == 0 && uint32(batchId) <= RING_SIZE;
        if (!firstLap && (inSlot == 0 || inSlot + RING_SIZE != batchId)) revert OutOfOrder(batchId, inSlot);
    }

    function _requireSubmitter(uint48 batchId) private view {
        uint16 lane = uint16(batchId >> 32);
        if (submitterOf[lane] != msg.sender) revert NotSubmitter(lane, msg.sender);
    }

    function _requireAdmin() private view {
        if (msg.sender != admin) revert NotAdmin(admin, msg.sender);
    }

    function _slotOf(uint48 batchId) private pure returns (uint256) {
        return (uint256(batchId) >> 32) * RING_SIZE + uint32(batchId) % RING_SIZE;
    }
}
