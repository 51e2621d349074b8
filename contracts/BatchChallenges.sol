// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { DeviceEvidence } from "./DeviceEvidence.sol";
import { BatchHeader, Receipt, Revealed } from "./interfaces/BatchTypes.sol";
import {
    Accused,
    Demand,
    Evidence,
    Fraud,
    IBatchChallenges,
    Shown,
    Witness
} from "./interfaces/IBatchChallenges.sol";
import { IDataBatches } from "./interfaces/IDataBatches.sol";
import { IDeviceRegistry } from "./interfaces/IDeviceRegistry.sol";
import { IDisputes } from "./interfaces/IDisputes.sol";
import { ILaneBonds } from "./interfaces/ILaneBonds.sol";
import { BatchHeaders } from "./libraries/BatchHeaders.sol";
import { InvalidProof } from "./libraries/PositionalTree.sol";
import { Receipts } from "./libraries/Receipts.sol";
import { Reports } from "./libraries/Reports.sol";
import { InvalidSignature, Signatures } from "./libraries/Signatures.sol";
import { StatisticsPath } from "./libraries/StatisticsPath.sol";

/// @title The judge of disputes about batches
contract BatchChallenges is DeviceEvidence {
    uint8 private constant PASS = 1;
    uint8 private constant SUSPECT = 3;
    /// @dev What a header links: itself, its predecessor (1), its ancestor; and how newer ones lead to it.
    uint8 private constant ID = 0;
    uint8 private constant ANCESTOR = 2;
    uint8 private constant ARCHIVE = 3;

    constructor(IDeviceRegistry deviceRegistry) DeviceEvidence(deviceRegistry) { }

    /// @inheritdoc IBatchChallenges
    function requireFraud(Fraud kind, Accused calldata accused, Evidence calldata evidence) external view {
        if (!_shows(kind, accused, evidence)) revert NotFraud(kind);
    }

    /// @inheritdoc IBatchChallenges
    function subjectOf(Demand kind, bytes26 commitment, uint40 committedAt, Evidence calldata evidence)
        external
        view
        returns (bytes32)
    {
        if (kind != Demand.Source && kind != Demand.Registration) {
            // A receipt's report is no piece of this batch.
            if (kind == Demand.Receipt || evidence.extra.length != 4) revert MalformedEvidence();
            return bytes32(uint256(uint32(bytes4(evidence.extra))));
        }
        Revealed calldata batch = _revealed(commitment, evidence);
        if (kind == Demand.Source) return keccak256(_reading(batch, _shown(evidence, 0)));
        bytes calldata report = _wellFormedReport(batch, _shown(evidence, 0));
        return _registrationOf(Reports.deviceOf(report), committedAt);
    }

    /// @inheritdoc IBatchChallenges
    function requireReceipt(Receipt calldata receipt, bytes calldata signature, Evidence calldata evidence)
        external
        view
        returns (address signer, bytes32 subject)
    {
        Shown calldata shown = _shown(evidence, 0);
        _requireIn(receipt.root, receipt.count, shown);
        _requireReportNow(shown.content, evidence.extra);
        if (signature.length != 64) revert InvalidSignature();
        signer = Signatures.recover(Receipts.digest(receipt, msg.sender), signature);
        return (signer, bytes32(uint256(Reports.placeOf(shown.content))));
    }

    /// @inheritdoc IBatchChallenges
    function requireAnswer(Demand kind, bytes26 commitment, bytes32 subject, Evidence calldata evidence)
        external
        view
    {
        if (!_answers(kind, commitment, subject, evidence)) revert NotAnAnswer();
    }

    function _shows(Fraud kind, Accused calldata accused, Evidence calldata evidence)
        private
        view
        returns (bool)
    {
        if (kind == Fraud.BadSignature) return _badSignature(accused, evidence);
        if (kind == Fraud.RevokedDevice) return _revokedDevice(accused, evidence);
        if (kind == Fraud.DuplicateReport) return _duplicateReport(accused, evidence);
        if (kind == Fraud.MalformedReport) return _malformedReport(accused, evidence);
        if (kind == Fraud.MalformedReading) return _malformedReading(accused, evidence);
        if (kind == Fraud.UnsortedReadings) return _unsortedReadings(accused, evidence);
        if (kind == Fraud.UnsortedReports) return _unsortedReports(accused, evidence);
        if (kind == Fraud.OutsideWindow) return _outsideWindow(accused, evidence);
        if (kind == Fraud.WrongParent) return _wrongParent(accused, evidence);
        if (kind == Fraud.WrongLeaf) return _wrongLeaf(accused, evidence);
        if (kind == Fraud.BrokenChain) return _brokenChain(accused, evidence);
        return _equivocation(accused, evidence);
    }

    function _answers(Demand kind, bytes26 commitment, bytes32 subject, Evidence calldata evidence)
        private
        view
        returns (bool)
    {
        if (kind == Demand.Registration) return _wasRegistered(subject, evidence.extra);
        if (kind == Demand.Receipt) return _keepsReceipt(commitment, subject, evidence);
        Revealed calldata batch = _revealed(commitment, evidence);
        if (kind == Demand.Source) return _isSource(batch, subject, evidence);
        uint256 count = kind == Demand.Report ? batch.header.reportCount : batch.header.readingCount;
        // A batch that counts none is a fraud, not one that ends before the position.
        if (uint256(subject) >= count) return count != 0;
        Shown calldata shown = _shown(evidence, 0);
        if (shown.position != uint256(subject)) return false;
        if (kind == Demand.Statistics) return _fitsStatistics(batch, shown, evidence.extra);
        // Malformed, it would be a fraud, and the time to say so may be over: it is no answer either.
        return !(kind == Demand.Report ? _isMalformedReport(batch, shown) : _isMalformedReading(batch, shown));
    }

    // ------------------------------------------------------------------------------------------------ reports

    function _duplicateReport(Accused calldata accused, Evidence calldata evidence)
        private
        view
        returns (bool)
    {
        (Shown calldata one, Shown calldata two) = (_shown(evidence, 0), _shown(evidence, 1));
        bytes calldata report = _wellFormedReport(accused.batch, one);
        if (evidence.witnesses.length == 0) {
            bytes calldata again = _wellFormedReport(accused.batch, two);
            return one.position != two.position && Reports.placeOf(report) == Reports.placeOf(again);
        }
        // Whichever of the two is accused: one submitter committed both, and numbers do not say which was first.
        Witness calldata other = _witness(accused, evidence);
        if (other.batchId == accused.batchId) revert WrongWitness(other.batchId);
        return Reports.placeOf(report) == Reports.placeOf(_wellFormedReport(other.batch, two));
    }

    function _malformedReport(Accused calldata accused, Evidence calldata evidence)
        private
        pure
        returns (bool)
    {
        if (accused.batch.header.reportCount == 0) return true;
        return _isMalformedReport(accused.batch, _shown(evidence, 0));
    }

    function _isMalformedReport(Revealed calldata batch, Shown calldata shown) private pure returns (bool) {
        bool canonical = Reports.isCanonical(_report(batch, shown));
        return !canonical || _hidesMore(batch.header.reportCount, shown);
    }

    function _unsortedReports(Accused calldata accused, Evidence calldata evidence)
        private
        pure
        returns (bool)
    {
        (Shown calldata one, Shown calldata two) = (_shown(evidence, 0), _shown(evidence, 1));
        bytes calldata first = _wellFormedReport(accused.batch, one);
        bytes calldata second = _wellFormedReport(accused.batch, two);
        return uint256(one.position) + 1 == two.position && Reports.placeOf(first) >= Reports.placeOf(second);
    }

    // ----------------------------------------------------------------------------------------------- readings

    function _malformedReading(Accused calldata accused, Evidence calldata evidence)
        private
        pure
        returns (bool)
    {
        if (accused.batch.header.readingCount == 0) return true;
        return _isMalformedReading(accused.batch, _shown(evidence, 0));
    }

    function _isMalformedReading(Revealed calldata batch, Shown calldata shown) private pure returns (bool) {
        bytes calldata leaf = _reading(batch, shown);
        if (leaf.length != READING || _hidesMore(batch.header.readingCount, shown)) return true;
        uint8 flag = uint8(leaf[READING - 1]);
        return flag != PASS && flag != SUSPECT;
    }

    function _unsortedReadings(Accused calldata accused, Evidence calldata evidence)
        private
        pure
        returns (bool)
    {
        (Shown calldata one, Shown calldata two) = (_shown(evidence, 0), _shown(evidence, 1));
        (uint256 highOne, uint24 lowOne) = _key(_wholeReading(accused.batch, one));
        (uint256 highTwo, uint24 lowTwo) = _key(_wholeReading(accused.batch, two));
        bool ascends = highOne < highTwo || (highOne == highTwo && lowOne < lowTwo);
        return uint256(one.position) + 1 == two.position && !ascends;
    }

    function _outsideWindow(Accused calldata accused, Evidence calldata evidence)
        private
        pure
        returns (bool)
    {
        uint40 observedAt = uint40(bytes5(_wholeReading(accused.batch, _shown(evidence, 0))[30:35]));
        BatchHeader calldata header = accused.batch.header;
        return observedAt < header.windowStart || observedAt > header.windowEnd;
    }

    // --------------------------------------------------------------------------------------------- statistics

    function _wrongParent(Accused calldata accused, Evidence calldata evidence) private pure returns (bool) {
        BatchHeader calldata header = accused.batch.header;
        return StatisticsPath.hasWrongParent(header.statisticsRoot, header.readingCount, evidence.extra);
    }

    function _wrongLeaf(Accused calldata accused, Evidence calldata evidence) private pure returns (bool) {
        BatchHeader calldata header = accused.batch.header;
        Shown calldata shown = _shown(evidence, 0);
        bytes calldata leaf = _wholeReading(accused.batch, shown);
        return StatisticsPath.hasOtherLeaf(
            header.statisticsRoot, header.readingCount, evidence.extra, shown.position, leaf
        );
    }

    // -------------------------------------------------------------------------------------------------- chain

    function _brokenChain(Accused calldata accused, Evidence calldata evidence) private view returns (bool) {
        BatchHeader calldata header = accused.batch.header;
        bytes calldata extra = evidence.extra;
        uint8 link = extra.length == 0 ? type(uint8).max : uint8(extra[0]);
        if (link > ARCHIVE || extra.length != (link == ARCHIVE ? 27 : 1)) revert MalformedEvidence();
        if (link == ID) return header.batchId != accused.batchId;
        if (link == ARCHIVE) return _isNamedOtherwise(accused, evidence.witnesses, bytes26(extra[1:]));
        uint48 target = link == ANCESTOR ? BatchHeaders.ancestorOf(accused.batchId) : accused.batchId - 1;
        bytes26 claimed = link == ANCESTOR ? header.ancestor : header.previous;
        if (uint32(target) == 0) return claimed != 0;
        Witness calldata witness = _witness(accused, evidence);
        if (witness.batchId != target) revert WrongWitness(witness.batchId);
        return BatchHeaders.commitmentOf(witness.batch) != claimed;
    }

    /// @dev Whether headers of this bond, from a newer batch back to this one, name another commitment for it.
    function _isNamedOtherwise(Accused calldata accused, Witness[] calldata way, bytes26 named)
        private
        view
        returns (bool)
    {
        if (way.length == 0) revert MalformedEvidence();
        _requireSameBond(accused, way[0]);
        Revealed[] memory links = new Revealed[](way.length);
        for (uint256 i = 0; i < way.length; ++i) {
            links[i] = way[i].batch;
        }
        IDataBatches(msg.sender).requireArchived(accused.batchId, named, way[0].place, links);
        return named != BatchHeaders.commitmentOf(accused.batch);
    }

    function _equivocation(Accused calldata accused, Evidence calldata evidence) private view returns (bool) {
        Witness calldata witness = _witness(accused, evidence);
        if (witness.batchId != accused.batchId) revert WrongWitness(witness.batchId);
        return BatchHeaders.commitmentOf(witness.batch) != BatchHeaders.commitmentOf(accused.batch);
    }

    // ------------------------------------------------------------------------------------------------ answers

    /// @dev Every node on the way down is what its children make it, and the leaf is the reading's.
    function _fitsStatistics(Revealed calldata batch, Shown calldata shown, bytes calldata path)
        private
        pure
        returns (bool)
    {
        bytes calldata leaf = _wholeReading(batch, shown);
        return StatisticsPath.holds(
            batch.header.statisticsRoot, batch.header.readingCount, path, shown.position, leaf
        );
    }

    /// @dev The first 39 bytes of the reading without the device are an observation of a report of that device.
    function _isSource(Revealed calldata batch, bytes32 subject, Evidence calldata evidence)
        private
        pure
        returns (bool)
    {
        bytes calldata leaf = _wholeReading(batch, _shown(evidence, 1));
        if (keccak256(leaf) != subject) return false;
        bytes calldata report = _wellFormedReport(batch, _shown(evidence, 0));
        bytes memory observed = bytes.concat(leaf[:10], leaf[30:READING - 1]);
        return address(bytes20(leaf[10:30])) == Reports.deviceOf(report)
            && bytes19(observed) == _observation(report, evidence.extra);
    }

    /// @dev Signed by the device, or a forged report in a lane that is given up for it would answer for a sequence for ever; of a bond
    /// that stands, or a batch that was shown to be a fraud would. Another content of the sequence is the device's own fault.
    function _keepsReceipt(bytes26 bond, bytes32 subject, Evidence calldata evidence)
        private
        view
        returns (bool)
    {
        if (evidence.shown.length == 0) return _isExcused(bond, subject);
        if (evidence.witnesses.length != 1) revert MalformedEvidence();
        Witness calldata witness = evidence.witnesses[0];
        _requireStanding(witness);
        bytes calldata report = _wellFormedReport(witness.batch, _shown(evidence, 0));
        return Reports.placeOf(report) == uint256(subject) && _isItsDevices(report, evidence.extra);
    }

    function _requireStanding(Witness calldata witness) private view {
        bytes26 commitment = BatchHeaders.commitmentOf(witness.batch);
        uint40 committedAt =
            IDataBatches(msg.sender).requireCommitted(witness.batchId, commitment, witness.place);
        ILaneBonds.Bond memory bond = ILaneBonds(msg.sender).bondOf(uint16(witness.batchId >> 32));
        if (bond.amount == 0 || committedAt < bond.since) revert IDisputes.NoBond(witness.batchId);
    }

    /// @dev A report of a revoked device would be a fault in a batch, and who was stopped by the admin commits no more. Of a bond that is
    /// gone nobody is excused: the fee goes back to who demanded.
    // slither-disable-next-line incorrect-equality (which bond it is, not how much of something)
    function _isExcused(bytes26 bond, bytes32 subject) private view returns (bool) {
        if (_isRevoked(address(uint160(uint256(subject) >> 64)))) return true;
        (uint16 lane, uint40 since) = (uint16(bytes2(bond)), uint40(uint208(bond) >> 152));
        ILaneBonds.Bond memory present = ILaneBonds(msg.sender).bondOf(lane);
        bool isThere = present.amount != 0 && present.since == since;
        return isThere && ILaneBonds(msg.sender).assigneeOf(lane) == address(0);
    }

    // -------------------------------------------------------------------------------------- parts of evidence

    /// @dev The batch that a demand is about, when it needs more than the commitment.
    function _revealed(bytes26 commitment, Evidence calldata evidence)
        private
        pure
        returns (Revealed calldata batch)
    {
        if (evidence.witnesses.length != 1) revert MalformedEvidence();
        batch = evidence.witnesses[0].batch;
        if (BatchHeaders.commitmentOf(batch) != commitment) revert InvalidProof();
    }

    /// @dev Another batch of the same lane and the same bond, committed where it says.
    function _witness(Accused calldata accused, Evidence calldata evidence)
        private
        view
        returns (Witness calldata witness)
    {
        if (evidence.witnesses.length != 1) revert MalformedEvidence();
        witness = evidence.witnesses[0];
        _requireSameBond(accused, witness);
    }

    function _requireSameBond(Accused calldata accused, Witness calldata witness) private view {
        bytes26 commitment = BatchHeaders.commitmentOf(witness.batch);
        uint40 committedAt =
            IDataBatches(msg.sender).requireCommitted(witness.batchId, commitment, witness.place);
        bool sameBond = witness.batchId >> 32 == accused.batchId >> 32 && committedAt >= accused.since;
        if (!sameBond) revert WrongWitness(witness.batchId);
    }

    /// @dev The 35 bytes of a key as two numbers that compare as the bytes do.
    function _key(bytes calldata leaf) private pure returns (uint256 high, uint24 low) {
        return (uint256(bytes32(leaf[:32])), uint24(bytes3(leaf[32:35])));
    }
}
