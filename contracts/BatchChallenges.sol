// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { BatchHeader, Revealed } from "./interfaces/BatchTypes.sol";
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
import { BatchHeaders } from "./libraries/BatchHeaders.sol";
import { FleetTree } from "./libraries/FleetTree.sol";
import { InvalidProof, PositionalTree } from "./libraries/PositionalTree.sol";
import { Reports } from "./libraries/Reports.sol";
import { Signatures } from "./libraries/Signatures.sol";
import { StatisticsPath } from "./libraries/StatisticsPath.sol";

/// @title The judge of disputes about batches
/// @dev Every leaf is shown at the depth that the header's count demands: at another depth an inner node of an honest tree could be
/// passed off as a malformed leaf.
contract BatchChallenges is IBatchChallenges {
    /// @notice How long after a device's revocation its observations are nobody's fault, seconds: a gateway accepts clocks that
    /// run ahead by minutes, and sees a revocation some blocks later.
    uint40 public constant REVOCATION_GRACE = 1 hours;

    uint8 private constant P256 = 2;
    uint8 private constant PASS = 1;
    uint8 private constant SUSPECT = 3;
    uint256 private constant READING = 40;
    uint256 private constant KEY = 64;
    /// @dev Bytes of a fleet's proof before the proof itself: fleet and position.
    uint256 private constant FLEET_HEAD = 28;

    /// @notice Who devices are.
    IDeviceRegistry public immutable registry;

    constructor(IDeviceRegistry deviceRegistry) {
        registry = deviceRegistry;
    }

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
        if (kind == Demand.Report || kind == Demand.Reading) {
            if (evidence.extra.length != 4) revert MalformedEvidence();
            return bytes32(uint256(uint32(bytes4(evidence.extra))));
        }
        Revealed calldata batch = _revealed(commitment, evidence);
        if (kind == Demand.Source) return keccak256(_reading(batch, _shown(evidence, 0)));
        address device = Reports.deviceOf(_wellFormedReport(batch, _shown(evidence, 0)));
        uint40 registeredAt = _registeredAt(device);
        if (registeredAt != 0 && registeredAt <= committedAt) revert Registered(device, registeredAt);
        return bytes32(uint256(uint160(device)) << 96 | committedAt);
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
        Revealed calldata batch = _revealed(commitment, evidence);
        if (kind == Demand.Source) return _isSource(batch, subject, evidence);
        bool ofReports = kind == Demand.Report;
        uint256 count = ofReports ? batch.header.reportCount : batch.header.readingCount;
        if (uint256(subject) >= count) return true;
        Shown calldata shown = _shown(evidence, 0);
        // The proof must hold; what the leaf is worth is another question.
        ofReports ? _report(batch, shown) : _reading(batch, shown);
        return shown.position == uint256(subject);
    }

    // ------------------------------------------------------------------------------------------------ reports

    function _badSignature(Accused calldata accused, Evidence calldata evidence) private view returns (bool) {
        bytes calldata report = _wellFormedReport(accused.batch, _shown(evidence, 0));
        bytes calldata extra = evidence.extra;
        address device = Reports.deviceOf(report);
        uint8 keyType = _keyTypeAt(accused.committedAt, device, extra.length < KEY ? extra[:0] : extra[KEY:]);
        if (keyType == 0) revert UnknownDevice(device);
        bytes32 digest = registry.hashReport(device, Reports.sequenceOf(report), Reports.observations(report));
        // Before the key type counts: who can sign for the id is the device, whatever curve a fleet puts it on.
        bool signed = Signatures.isCompactBy(device, digest, Reports.signature(report));
        if (signed || keyType != P256) return !signed;
        if (extra.length < KEY) revert MalformedEvidence();
        (bytes32 x, bytes32 y) = (bytes32(extra[:32]), bytes32(extra[32:KEY]));
        address ofKey = address(uint160(uint256(keccak256(abi.encode(x, y)))));
        if (ofKey != device) revert KeyMismatch(device, ofKey);
        if (!Signatures.hasP256()) revert MissingPrecompile();
        return !Signatures.isP256By(x, y, digest, Reports.signature(report));
    }

    function _revokedDevice(Accused calldata accused, Evidence calldata evidence)
        private
        view
        returns (bool)
    {
        bytes calldata report = _wellFormedReport(accused.batch, _shown(evidence, 0));
        // slither-disable-next-line unused-return (only the revocation counts)
        (,,, uint40 revokedAt) = registry.deviceOf(Reports.deviceOf(report));
        uint40 observedAt = Reports.observedAt(_observation(report, evidence.extra));
        return revokedAt != 0 && observedAt > uint256(revokedAt) + REVOCATION_GRACE;
    }

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
        // The later batch of the lane is the one at fault.
        Witness calldata earlier = _witness(accused, evidence);
        if (earlier.batchId >= accused.batchId) revert WrongWitness(earlier.batchId);
        return Reports.placeOf(report) == Reports.placeOf(_wellFormedReport(earlier.batch, two));
    }

    function _malformedReport(Accused calldata accused, Evidence calldata evidence)
        private
        pure
        returns (bool)
    {
        uint256 count = accused.batch.header.reportCount;
        if (count == 0) return true;
        Shown calldata shown = _shown(evidence, 0);
        return !Reports.isCanonical(_report(accused.batch, shown)) || _hidesMore(count, shown);
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
        uint256 count = accused.batch.header.readingCount;
        if (count == 0) return true;
        Shown calldata shown = _shown(evidence, 0);
        bytes calldata leaf = _reading(accused.batch, shown);
        if (leaf.length != READING || _hidesMore(count, shown)) return true;
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
        if (evidence.extra.length != 1) revert MalformedEvidence();
        uint8 link = uint8(evidence.extra[0]);
        if (link == 0) return header.batchId != accused.batchId;
        uint48 target = link == 1 ? accused.batchId - 1 : BatchHeaders.ancestorOf(accused.batchId);
        bytes26 claimed = link == 1 ? header.previous : header.ancestor;
        if (uint32(target) == 0) return claimed != 0;
        Witness calldata witness = _witness(accused, evidence);
        if (witness.batchId != target) revert WrongWitness(witness.batchId);
        return BatchHeaders.commitmentOf(witness.batch) != claimed;
    }

    function _equivocation(Accused calldata accused, Evidence calldata evidence) private view returns (bool) {
        Witness calldata witness = _witness(accused, evidence);
        if (witness.batchId != accused.batchId) revert WrongWitness(witness.batchId);
        return BatchHeaders.commitmentOf(witness.batch) != BatchHeaders.commitmentOf(accused.batch);
    }

    // ------------------------------------------------------------------------------------------------ answers

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

    // ----------------------------------------------------------------------------------------------- registry

    /// @dev The subject of a Registration: device 20 ‖ committed when 12.
    function _wasRegistered(bytes32 subject, bytes calldata listed) private view returns (bool) {
        address device = address(uint160(uint256(subject) >> 96));
        return _keyTypeAt(uint96(uint256(subject)), device, listed) != 0;
    }

    /// @dev Key type of a device at that time, zero if neither its slot nor a fleet that is shown tells one. A slot of a later date says
    /// nothing about then: a device of a fleet makes it whenever it likes, and who trusted the fleet must not lose by it.
    function _keyTypeAt(uint256 time, address device, bytes calldata listed) private view returns (uint8) {
        // slither-disable-next-line unused-return (whose it is, and whether it was revoked, is not asked here)
        (, uint8 keyType, uint40 registeredAt,) = registry.deviceOf(device);
        if (registeredAt != 0 && registeredAt <= time) return keyType;
        return listed.length == 0 ? 0 : _keyTypeInFleetAt(time, device, listed);
    }

    /// @dev `listed`: fleet 26 ‖ position 2 ‖ proof.
    function _keyTypeInFleetAt(uint256 time, address device, bytes calldata listed)
        private
        view
        returns (uint8)
    {
        if (listed.length < FLEET_HEAD) revert MalformedEvidence();
        bytes26 fleet = bytes26(listed[:26]);
        (address owner, uint40 enrolledAt, uint8 keyType) = registry.fleetOf(fleet);
        bytes26 top =
            FleetTree.topFromProof(device, uint16(bytes2(listed[26:FLEET_HEAD])), listed[FLEET_HEAD:]);
        // A root of owner zero anyone can make, and of such a fleet the registry says just that.
        if (owner == address(0) || FleetTree.seal(top, owner, keyType) != fleet) revert InvalidProof();
        return enrolledAt <= time ? keyType : 0;
    }

    function _registeredAt(address device) private view returns (uint40 registeredAt) {
        // slither-disable-next-line unused-return (only the date counts)
        (,, registeredAt,) = registry.deviceOf(device);
    }

    // -------------------------------------------------------------------------------------- parts of evidence

    function _shown(Evidence calldata evidence, uint256 index) private pure returns (Shown calldata) {
        if (index >= evidence.shown.length) revert MalformedEvidence();
        return evidence.shown[index];
    }

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
        bytes26 commitment = BatchHeaders.commitmentOf(witness.batch);
        uint40 committedAt =
            IDataBatches(msg.sender).requireCommitted(witness.batchId, commitment, witness.place);
        bool sameBond = witness.batchId >> 32 == accused.batchId >> 32 && committedAt >= accused.since;
        if (!sameBond) revert WrongWitness(witness.batchId);
    }

    function _report(Revealed calldata batch, Shown calldata shown) private pure returns (bytes calldata) {
        _requireIn(batch.header.reportsRoot, batch.header.reportCount, shown);
        return shown.content;
    }

    function _wellFormedReport(Revealed calldata batch, Shown calldata shown)
        private
        pure
        returns (bytes calldata report)
    {
        report = _report(batch, shown);
        if (!Reports.isCanonical(report)) revert MalformedEvidence();
    }

    function _reading(Revealed calldata batch, Shown calldata shown) private pure returns (bytes calldata) {
        _requireIn(batch.readingsRoot, batch.header.readingCount, shown);
        return shown.content;
    }

    function _wholeReading(Revealed calldata batch, Shown calldata shown)
        private
        pure
        returns (bytes calldata leaf)
    {
        leaf = _reading(batch, shown);
        if (leaf.length != READING) revert MalformedEvidence();
    }

    function _requireIn(bytes26 root, uint256 count, Shown calldata shown) private pure {
        if (shown.position >= count || shown.proof.length != PositionalTree.depthOf(count)) {
            revert InvalidProof();
        }
        PositionalTree.verify(root, bytes26(keccak256(shown.content)), shown.position, shown.proof);
    }

    /// @dev Whether something stands where the padding belongs: right of the last leaf's way everything is zero. The proof has been
    /// found to hold.
    function _hidesMore(uint256 count, Shown calldata shown) private pure returns (bool) {
        if (uint256(shown.position) + 1 != count) return false;
        for (uint256 level = 0; level < shown.proof.length; ++level) {
            if (shown.position >> level & 1 == 0 && shown.proof[level] != 0) return true;
        }
        return false;
    }

    function _observation(bytes calldata report, bytes calldata extra) private pure returns (bytes19) {
        if (extra.length != 2) revert MalformedEvidence();
        uint256 index = uint16(bytes2(extra));
        if (index >= Reports.countOf(report)) revert MalformedEvidence();
        return Reports.observation(report, index);
    }

    /// @dev The 35 bytes of a key as two numbers that compare as the bytes do.
    function _key(bytes calldata leaf) private pure returns (uint256 high, uint24 low) {
        return (uint256(bytes32(leaf[:32])), uint24(bytes3(leaf[32:35])));
    }
}
