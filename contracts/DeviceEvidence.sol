// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { EvidenceParts } from "./EvidenceParts.sol";
import { Accused, Evidence } from "./interfaces/IBatchChallenges.sol";
import { IDeviceRegistry } from "./interfaces/IDeviceRegistry.sol";
import { FleetTree } from "./libraries/FleetTree.sol";
import { InvalidProof } from "./libraries/PositionalTree.sol";
import { Reports } from "./libraries/Reports.sol";
import { InvalidSignature, Signatures } from "./libraries/Signatures.sol";

/// @title What the registry says about the devices of a batch
abstract contract DeviceEvidence is EvidenceParts {
    /// @notice How long after a device's revocation its observations are nobody's fault, seconds: a gateway accepts clocks that
    /// run ahead by minutes, and sees a revocation some blocks later.
    uint40 public constant REVOCATION_GRACE = 1 hours;

    uint8 private constant P256 = 2;
    uint256 private constant KEY = 64;
    /// @dev Bytes of a fleet's proof before the proof itself: fleet and position.
    uint256 private constant FLEET_HEAD = 28;

    /// @notice Who devices are.
    IDeviceRegistry public immutable registry;
    /// @notice The chain that reports are signed for, as long as it keeps its id.
    uint256 public immutable chainId = block.chainid;

    constructor(IDeviceRegistry deviceRegistry) {
        registry = deviceRegistry;
    }

    function _badSignature(Accused calldata accused, Evidence calldata evidence)
        internal
        view
        returns (bool)
    {
        bytes calldata report = _wellFormedReport(accused.batch, _shown(evidence, 0));
        address device = Reports.deviceOf(report);
        uint8 keyType = _keyTypeAt(accused.committedAt, device, evidence.extra);
        if (keyType == 0) revert UnknownDevice(device);
        return !_isSigned(report, device, keyType == P256, evidence.extra);
    }

    /// @dev Reverts unless the report can be committed from now on without a fault: by its device, registered, not revoked. A later revocation
    /// would make a fraud of observations from after it: so none may be of the future.
    function _requireReportNow(bytes calldata report, bytes calldata who) internal view {
        if (!Reports.isCanonical(report)) revert MalformedEvidence();
        address device = Reports.deviceOf(report);
        if (_isRevoked(device)) revert IDeviceRegistry.RevokedDevice(device);
        uint8 keyType = _keyTypeAt(block.timestamp, device, who);
        if (keyType == 0) revert UnknownDevice(device);
        if (!_isSigned(report, device, keyType == P256, who)) revert InvalidSignature();
        uint256 latest = block.timestamp + REVOCATION_GRACE;
        for (uint256 i = 0; i < Reports.countOf(report); ++i) {
            uint40 observedAt = Reports.observedAt(Reports.observation(report, i));
            if (observedAt > latest) revert FutureTimestamp(observedAt, latest);
        }
    }

    /// @dev Whether the device has signed it, on whichever curve: an id is a key's hash, so that a registry is not asked.
    function _isItsDevices(bytes calldata report, bytes calldata key) internal view returns (bool) {
        return _isSigned(report, Reports.deviceOf(report), key.length != 0, key);
    }

    // slither-disable-next-line unused-return (only the revocation counts)
    function _isRevoked(address device) internal view returns (bool) {
        (,,, uint40 revokedAt) = registry.deviceOf(device);
        return revokedAt != 0;
    }

    function _revokedDevice(Accused calldata accused, Evidence calldata evidence)
        internal
        view
        returns (bool)
    {
        bytes calldata report = _wellFormedReport(accused.batch, _shown(evidence, 0));
        // slither-disable-next-line unused-return (only the revocation counts)
        (,,, uint40 revokedAt) = registry.deviceOf(Reports.deviceOf(report));
        uint40 observedAt = Reports.observedAt(_observation(report, evidence.extra));
        uint256 inForce = uint256(revokedAt) + REVOCATION_GRACE;
        // Who commits before the revocation cannot know of it, whatever clocks say.
        return revokedAt != 0 && observedAt > inForce && accused.committedAt > inForce;
    }

    /// @dev The subject of a Registration, device 20 ‖ committed when 12, if there is something to tell: the device has no slot of that
    /// time, or one that does not hold its key. Without the key nobody can check a signature on P-256.
    function _registrationOf(address device, uint40 committedAt) internal view returns (bytes32) {
        // slither-disable-next-line unused-return (whose it is, and whether it was revoked, is not asked here)
        (, uint8 keyType, uint40 registeredAt,) = registry.deviceOf(device);
        bool known = registeredAt != 0 && registeredAt <= committedAt;
        if (known && keyType != P256) revert Registered(device, registeredAt);
        return bytes32(uint256(uint160(device)) << 96 | committedAt);
    }

    function _wasRegistered(bytes32 subject, bytes calldata extra) internal view returns (bool) {
        address device = address(uint160(uint256(subject) >> 96));
        uint8 keyType = _keyTypeAt(uint96(uint256(subject)), device, extra);
        if (keyType == P256) _keyOf(device, extra);
        return keyType != 0;
    }

    function _isSigned(bytes calldata report, address device, bool onP256, bytes calldata key)
        private
        view
        returns (bool)
    {
        if (block.chainid != chainId) revert OtherChain(block.chainid);
        bytes32 digest = registry.hashReport(device, Reports.sequenceOf(report), Reports.observations(report));
        // Before the key type counts: who can sign for the id is the device, whatever curve a fleet puts it on.
        bool signed = Signatures.isCompactBy(device, digest, Reports.signature(report));
        if (signed || !onP256) return signed;
        (bytes32 x, bytes32 y) = _keyOf(device, key);
        if (!Signatures.hasP256()) revert MissingPrecompile();
        return Signatures.isP256By(x, y, digest, Reports.signature(report));
    }

    /// @dev The first 64 bytes, if they are the key of the device.
    function _keyOf(address device, bytes calldata extra) private pure returns (bytes32 x, bytes32 y) {
        if (extra.length < KEY) revert MalformedEvidence();
        (x, y) = (bytes32(extra[:32]), bytes32(extra[32:KEY]));
        address ofKey = address(uint160(uint256(keccak256(abi.encode(x, y)))));
        if (ofKey != device) revert KeyMismatch(device, ofKey);
    }

    /// @dev Key type of a device at that time, zero if neither its slot nor a fleet that is shown tells one. A slot of a later date says
    /// nothing about then: a device of a fleet makes it whenever it likes, and who trusted the fleet must not lose by it.
    function _keyTypeAt(uint256 time, address device, bytes calldata extra) private view returns (uint8) {
        // slither-disable-next-line unused-return (whose it is, and whether it was revoked, is not asked here)
        (, uint8 keyType, uint40 registeredAt,) = registry.deviceOf(device);
        if (registeredAt != 0 && registeredAt <= time) return keyType;
        return extra.length <= KEY ? 0 : _keyTypeInFleetAt(time, device, extra[KEY:]);
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
}
