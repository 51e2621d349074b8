// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Disputes } from "./Disputes.sol";
import { LaneBonds } from "./LaneBonds.sol";
import { ReceiptDemands } from "./ReceiptDemands.sol";
import { BatchHeader, Key, Place, Reading, Revealed, Statistics } from "./interfaces/BatchTypes.sol";
import { IBatchChallenges } from "./interfaces/IBatchChallenges.sol";
import { IDataBatches } from "./interfaces/IDataBatches.sol";
import { BatchHeaders } from "./libraries/BatchHeaders.sol";
import { InvalidProof, PositionalTree } from "./libraries/PositionalTree.sol";
import { StatisticsTree } from "./libraries/StatisticsTree.sol";

/// @title Commitments to batches of readings
/// @notice One word a batch, or a group of batches, in a ring: a slot that is used again costs 5,000 gas, a new one 22,100.
contract DataBatches is IDataBatches, ReceiptDemands {
    /// @notice Words of a lane that can be proven directly.
    uint256 public constant RING_SIZE = 8192;

    uint256 private constant GROUPED = 1 << 47;
    uint256 private constant MAX_NUMBER = (1 << 27) - 1;
    uint256 private constant MAX_GROUP = 256;
    /// @dev Bytes of a packed proof before the siblings.
    uint256 private constant PROOF_HEAD = 82;

    /// @dev commitment or group root (208 bits) ‖ grouped (1) ‖ lap (14) ‖ second of the commit (33), at lane and number modulo the
    /// ring's size. Lap and slot give the number back; the time is what makes a window of it.
    uint256[1 << 29] private _ring; // an array, because its place needs no hash

    constructor(
        address firstAdmin,
        address token,
        uint88 amount,
        uint88 fee,
        uint40 challengeSeconds,
        uint40 answerSeconds,
        IBatchChallenges judge_
    ) LaneBonds(firstAdmin, token, amount, challengeSeconds) Disputes(fee, answerSeconds, judge_) { }

    /// @inheritdoc IDataBatches
    function commit(uint48 batchId, bytes26 commitment) external {
        _requireSubmitter(uint16(batchId >> 32));
        if (commitment == 0) revert ZeroCommitment();
        _store(batchId, uint256(bytes32(commitment)));
        emit BatchCommitted(batchId, commitment);
    }

    /// @inheritdoc IDataBatches
    function commitBrief(bytes32 word) external {
        uint48 batchId = uint48(uint256(word));
        _requireSubmitter(uint16(batchId >> 32));
        if (bytes26(word) == 0) revert ZeroCommitment();
        _store(batchId, uint256(word) ^ batchId);
        emit BatchCommitted(batchId, bytes26(word));
    }

    /// @inheritdoc IDataBatches
    function commitMany(uint48 firstBatchId, bytes calldata commitments) external {
        // Checks
        _requireSubmitter(uint16(firstBatchId >> 32));
        uint256 count = commitments.length / 26;
        if (count < 2 || count > MAX_GROUP || commitments.length % 26 != 0) {
            revert InvalidGroup(commitments.length);
        }
        uint256 last = uint256(firstBatchId) + count - 1;
        // The last id must be of the same lane: numbers do not run over into the next one.
        if (uint32(firstBatchId) == 0 || last >> 32 != firstBatchId >> 32) {
            revert InvalidNumber(uint32(last));
        }

        // Effects
        bytes26 root = BatchHeaders.groupRoot(firstBatchId, commitments, count);
        _store(uint48(last), uint256(bytes32(root)) | GROUPED);
        emit BatchesCommitted(firstBatchId, commitments);
    }

    /// @inheritdoc IDataBatches
    function proveReading(bytes calldata packed) external {
        if (packed.length < PROOF_HEAD || (packed.length - PROOF_HEAD) % 26 != 0) revert InvalidProof();
        uint48 batchId = uint48(bytes6(packed[:6]));
        bytes calldata leaf = packed[42:PROOF_HEAD];
        bytes26 root = PositionalTree.rootOfPacked(
            bytes26(keccak256(leaf)), uint32(bytes4(packed[6:10])), packed[PROOF_HEAD:]
        );
        bytes26 commitment = BatchHeaders.commitment(root, bytes32(packed[10:42]));
        if (commitment != commitmentOf(batchId)) revert InvalidProof();
        emit ReadingProven(batchId, leaf);
    }

    /// @inheritdoc IDataBatches
    function commitmentOf(uint48 batchId) public view returns (bytes26) {
        uint256 word = _wordOf(batchId);
        if (word & GROUPED != 0) revert Grouped(batchId);
        return bytes26(bytes32(word));
    }

    /// @inheritdoc IDataBatches
    function requireCommitted(uint48 batchId, bytes26 commitment, Place calldata place)
        public
        view
        override(Disputes, IDataBatches)
        returns (uint40)
    {
        uint256 word = _wordOf(place.anchorId);
        bytes26 found = commitment;
        if (word & GROUPED == 0) {
            if (batchId != place.anchorId || place.member != 0 || place.path.length != 0) {
                revert InvalidProof();
            }
        } else {
            bytes26 leaf = BatchHeaders.groupLeaf(batchId, commitment);
            found = PositionalTree.rootOf(leaf, place.member, place.path);
        }
        if (found != bytes26(bytes32(word))) revert InvalidProof();
        return _committedAt(word);
    }

    /// @inheritdoc IDataBatches
    function requireArchived(
        uint48 batchId,
        bytes26 commitment,
        Place calldata place,
        Revealed[] calldata links
    ) external view {
        if (links.length == 0) revert InvalidProof();
        (uint48 id, bytes26 expected) = (links[0].header.batchId, BatchHeaders.commitmentOf(links[0]));
        requireCommitted(id, expected, place);
        for (uint256 i = 0; i < links.length; ++i) {
            bool fits =
                links[i].header.batchId == id && (i == 0 || BatchHeaders.commitmentOf(links[i]) == expected);
            if (!fits) revert InvalidProof();
            (id, expected) = BatchHeaders.stepTowards(links[i].header, batchId);
        }
        if (id != batchId || expected != commitment) revert InvalidProof();
    }

    /// @inheritdoc IDataBatches
    function verifyReading(
        uint48 batchId,
        Reading calldata reading,
        uint32 position,
        bytes32 restHash,
        bytes26[] calldata proof
    ) external view {
        verifyReadingIn(commitmentOf(batchId), reading, position, restHash, proof);
    }

    /// @inheritdoc IDataBatches
    function verifyReadingIn(
        bytes26 commitment,
        Reading calldata reading,
        uint32 position,
        bytes32 restHash,
        bytes26[] calldata proof
    ) public pure {
        bytes26 leaf = PositionalTree.hash26(
            abi.encodePacked(
                reading.metric, reading.cell, reading.device, reading.observedAt, reading.value, reading.flag
            )
        );
        bytes26 root = PositionalTree.rootOf(leaf, position, proof);
        if (BatchHeaders.commitment(root, restHash) != commitment) revert InvalidProof();
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
        bytes26 commitment = commitmentOf(header.batchId);
        return verifyRangeIn(commitment, header, readingsRoot, low, high, from, to, leaves, nodes);
    }

    /// @inheritdoc IDataBatches
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
    ) public pure returns (Statistics memory) {
        if (BatchHeaders.commitment(readingsRoot, BatchHeaders.restHash(header)) != commitment) {
            revert InvalidProof();
        }
        return StatisticsTree.verify(
            header.statisticsRoot, header.readingCount, low, high, from, to, leaves, nodes
        );
    }

    /// @dev Within a lap any order is fine (transactions overtake each other); a slot only moves forward, and only when nobody can
    /// challenge any more what it holds. Reverts InvalidNumber, AlreadyCommitted, RingFull.
    function _store(uint48 batchId, uint256 content) private {
        // Checks
        uint256 number = uint32(batchId);
        if (number == 0 || number > MAX_NUMBER) revert InvalidNumber(number);
        uint256 slot = _slotOf(batchId);
        uint256 lap = number / RING_SIZE;
        uint256 before = _ring[slot];
        if (before != 0) _requireOver(batchId, lap, before);

        // Effects
        _ring[slot] = content | lap << 33 | block.timestamp;
    }

    function _requireOver(uint48 batchId, uint256 lap, uint256 before) private view {
        uint256 lapBefore = _lapOf(before);
        if (lapBefore >= lap) revert AlreadyCommitted(batchId);
        uint256 freeAt = uint256(_committedAt(before)) + challengeWindow;
        if (block.timestamp <= freeAt) {
            revert RingFull(uint48(batchId - (lap - lapBefore) * RING_SIZE), uint40(freeAt + 1));
        }
    }

    function _wordOf(uint48 batchId) private view returns (uint256 word) {
        word = _ring[_slotOf(batchId)];
        if (word == 0 || _lapOf(word) != uint32(batchId) / RING_SIZE) revert UnknownBatch(batchId);
    }

    function _lapOf(uint256 word) private pure returns (uint256) {
        return (word >> 33) & 0x3fff;
    }

    function _committedAt(uint256 word) private pure returns (uint40) {
        return uint40(word & 0x1ffffffff);
    }

    function _slotOf(uint48 batchId) private pure returns (uint256) {
        return (uint256(batchId) >> 32) * RING_SIZE + uint32(batchId) % RING_SIZE;
    }
}
