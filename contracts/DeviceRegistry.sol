// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IDeviceRegistry } from "./interfaces/IDeviceRegistry.sol";
import { Eip712 } from "./libraries/Eip712.sol";
import { FleetTree } from "./libraries/FleetTree.sol";
import { InvalidProof } from "./libraries/PositionalTree.sol";
import { Signatures } from "./libraries/Signatures.sol";

/// @title Registry of devices
contract DeviceRegistry is IDeviceRegistry {
    /// @dev One slot. `transfers` are the low 8 bits of the nonce; the rest is in `_transferLaps`.
    struct Device {
        address owner;
        uint40 registeredAt;
        uint40 revokedAt;
        uint8 keyType;
        uint8 transfers;
    }

    /// @dev One slot.
    struct Fleet {
        address owner;
        uint40 registeredAt;
        uint8 keyType;
    }

    uint8 private constant SECP256K1 = 1;
    uint8 private constant P256 = 2;
    uint256 private constant KEY_BYTES = 64;
    uint256 private constant MAX_KEYS = 1024;
    bytes32 private constant NAME_HASH = keccak256("CoreChain");
    bytes32 private constant ACTIVATION_TYPEHASH = keccak256("Activation(address device,address owner)");
    bytes32 private constant ROTATION_TYPEHASH =
        keccak256("Rotation(address oldDevice,address newDevice,address owner)");
    bytes32 private constant TRANSFER_TYPEHASH =
        keccak256("Transfer(address device,address from,address to,uint256 nonce,uint40 deadline)");
    bytes32 private constant REPORT_TYPEHASH =
        keccak256("Report(address device,uint64 sequence,bytes32 observationsHash)");

    /// @notice Who names enrollers.
    address public admin;
    /// @notice Whom the admin offered the role.
    address public adminCandidate;

    /// @inheritdoc IDeviceRegistry
    mapping(address account => bool) public isEnroller;
    /// @inheritdoc IDeviceRegistry
    // slither-disable-next-line uninitialized-state (enrolFleet writes the whole slot at once, in assembly)
    mapping(bytes26 fleet => Fleet) public fleetOf;
    mapping(address device => Device) private _devices;
    /// @dev How often `transfers` of a device has begun again from zero.
    mapping(address device => uint256) private _transferLaps;

    constructor(address firstAdmin) {
        // slither-disable-next-line missing-zero-check (zero: nobody ever enrols a fleet)
        admin = firstAdmin;
        emit AdminChanged(address(0), firstAdmin);
    }

    /// @inheritdoc IDeviceRegistry
    function register(
        address device,
        address owner,
        uint8 keyType,
        bytes32 x,
        bytes32 y,
        bytes calldata signature
    ) external {
        bytes32 structHash = keccak256(abi.encode(ACTIVATION_TYPEHASH, device, owner));
        _requireSigned(device, keyType, x, y, Eip712.digest(NAME_HASH, structHash), signature);
        _register(device, owner, keyType, x, y);
    }

    /// @inheritdoc IDeviceRegistry
    function activate(address owner) external {
        _register(msg.sender, owner, SECP256K1, 0, 0);
    }

    /// @inheritdoc IDeviceRegistry
    function rotate(
        address oldDevice,
        address newDevice,
        uint8 keyType,
        bytes32 x,
        bytes32 y,
        bytes calldata signature
    ) external {
        // Not an activation: that anyone could take out of the mempool and send first, and the rotation would fail.
        bytes32 structHash = keccak256(abi.encode(ROTATION_TYPEHASH, oldDevice, newDevice, msg.sender));
        _requireSigned(newDevice, keyType, x, y, Eip712.digest(NAME_HASH, structHash), signature);
        revoke(oldDevice);
        _register(newDevice, msg.sender, keyType, x, y);
        emit DeviceRotated(oldDevice, newDevice);
    }

    /// @inheritdoc IDeviceRegistry
    function transfer(address device, address to) external {
        _requireOwner(device);
        _transfer(device, msg.sender, to);
    }

    /// @inheritdoc IDeviceRegistry
    function transferWithSignature(
        address device,
        address to,
        uint40 deadline,
        bytes32 x,
        bytes32 y,
        bytes calldata deviceSignature,
        bytes calldata ownerSignature
    ) external {
        if (block.timestamp > deadline) revert TransferExpired(deadline, block.timestamp);
        Device storage found = _requireActive(device);
        address owner = found.owner;
        bytes32 digest = hashTransfer(device, owner, to, transferNonceOf(device), deadline);
        _requireSigned(device, found.keyType, x, y, digest, deviceSignature);
        // A contract that owns devices is asked here, before anything has changed, by a static call.
        if (owner != msg.sender) Signatures.requireAccount(owner, digest, ownerSignature);
        _transfer(device, owner, to);
    }

    /// @inheritdoc IDeviceRegistry
    function revoke(address device) public {
        // Checks
        _requireOwner(device);
        Device storage found = _requireActive(device);

        // Effects
        uint40 revokedAt = _now();
        found.revokedAt = revokedAt;
        emit DeviceRevoked(device, revokedAt);
    }

    /// @inheritdoc IDeviceRegistry
    function enrolFleet(address owner, uint8 keyType, bytes calldata ids) external returns (bytes26 fleet) {
        // Checks
        if (!isEnroller[msg.sender]) revert NotEnroller(msg.sender);
        if (owner == address(0)) revert ZeroOwner();
        if (keyType != SECP256K1 && keyType != P256) revert UnknownKeyType(keyType);
        _requireList(ids, FleetTree.ID_BYTES, FleetTree.MAX_DEVICES);
        if (!FleetTree.isAscending(ids)) revert NotAscending();
        fleet = FleetTree.seal(FleetTree.topOf(ids), owner, keyType);
        if (fleetOf[fleet].owner != address(0)) revert AlreadyEnrolled(fleet);

        // Effects
        Fleet storage enrolled = fleetOf[fleet];
        uint256 word = (uint256(keyType) << 200) | (uint256(_now()) << 160) | uint160(owner);
        assembly ("memory-safe") {
            sstore(enrolled.slot, word) // as in _open
        }
        emit FleetEnrolled(fleet, owner, keyType, ids);
    }

    /// @inheritdoc IDeviceRegistry
    function materialise(bytes26 fleet, address device, uint256 position, bytes calldata proof) external {
        // Checks
        Fleet memory found = fleetOf[fleet];
        if (found.owner == address(0)) revert UnknownFleet(fleet);
        bytes26 top = FleetTree.topFromProof(device, position, proof);
        if (FleetTree.seal(top, found.owner, found.keyType) != fleet) revert InvalidProof();
        if (_devices[device].owner != address(0)) revert AlreadyRegistered(device);

        // Effects
        _open(device, found.owner, found.registeredAt, found.keyType);
        emit DeviceMaterialised(device, found.owner, found.keyType, fleet);
    }

    /// @inheritdoc IDeviceRegistry
    function publishKeys(bytes calldata keys) external {
        _requireList(keys, KEY_BYTES, MAX_KEYS);
        emit KeysPublished(keys);
    }

    /// @inheritdoc IDeviceRegistry
    function multicall(bytes[] calldata data) external returns (bytes[] memory results) {
        results = new bytes[](data.length);
        for (uint256 i = 0; i < data.length; ++i) {
            (bool success, bytes memory answer) = address(this).delegatecall(data[i]);
            if (!success) _bubble(answer);
            results[i] = answer;
        }
    }

    /// @inheritdoc IDeviceRegistry
    function setEnroller(address enroller, bool allowed) external {
        _requireAdmin();
        isEnroller[enroller] = allowed;
        emit EnrollerSet(enroller, allowed);
    }

    /// @inheritdoc IDeviceRegistry
    function offerAdmin(address candidate) external {
        _requireAdmin();
        // slither-disable-next-line missing-zero-check (zero takes the offer back)
        adminCandidate = candidate;
        emit AdminOffered(msg.sender, candidate);
    }

    /// @inheritdoc IDeviceRegistry
    function acceptAdmin() external {
        if (msg.sender != adminCandidate) revert NotAdmin(adminCandidate, msg.sender);
        emit AdminChanged(admin, msg.sender);
        admin = msg.sender;
        delete adminCandidate;
    }

    /// @inheritdoc IDeviceRegistry
    function deviceOf(address device)
        external
        view
        returns (address owner, uint8 keyType, uint40 registeredAt, uint40 revokedAt)
    {
        Device storage found = _devices[device];
        return (found.owner, found.keyType, found.registeredAt, found.revokedAt);
    }

    /// @inheritdoc IDeviceRegistry
    function transferNonceOf(address device) public view returns (uint256) {
        return (_transferLaps[device] << 8) | _devices[device].transfers;
    }

    /// @inheritdoc IDeviceRegistry
    function domainSeparator() external view returns (bytes32) {
        return Eip712.domainSeparator(NAME_HASH);
    }

    /// @inheritdoc IDeviceRegistry
    function hashReport(address device, uint64 sequence, bytes calldata observations)
        public
        view
        returns (bytes32)
    {
        bytes32 observationsHash = keccak256(observations);
        return Eip712.digest(
            NAME_HASH, keccak256(abi.encode(REPORT_TYPEHASH, device, sequence, observationsHash))
        );
    }

    /// @inheritdoc IDeviceRegistry
    function hashTransfer(address device, address from, address to, uint256 nonce, uint40 deadline)
        public
        view
        returns (bytes32)
    {
        return Eip712.digest(
            NAME_HASH, keccak256(abi.encode(TRANSFER_TYPEHASH, device, from, to, nonce, deadline))
        );
    }

    /// @inheritdoc IDeviceRegistry
    function verifyReport(
        address device,
        uint64 sequence,
        bytes calldata observations,
        bytes calldata signature,
        bytes32 x,
        bytes32 y
    ) external view {
        uint8 keyType = _requireActive(device).keyType;
        _requireSigned(device, keyType, x, y, hashReport(device, sequence, observations), signature);
    }

    /// @dev A device has one slot in its life: what was revoked stays revoked.
    function _register(address device, address owner, uint8 keyType, bytes32 x, bytes32 y) private {
        // Checks
        if (owner == address(0)) revert ZeroOwner();
        if (_devices[device].owner != address(0)) revert AlreadyRegistered(device);

        // Effects
        _open(device, owner, _now(), keyType);
        bool named = keyType == P256;
        emit DeviceRegistered(device, owner, keyType, named ? x : bytes32(0), named ? y : bytes32(0));
    }

    /// @dev Assembly: a struct assigned as a whole is stored field by field, 1,029 gas more.
    function _open(address device, address owner, uint40 registeredAt, uint8 keyType) private {
        Device storage opened = _devices[device];
        uint256 word = (uint256(keyType) << 240) | (uint256(registeredAt) << 160) | uint160(owner);
        assembly ("memory-safe") {
            sstore(opened.slot, word)
        }
    }

    /// @dev The nonce counts every transfer, so that no consent outlives the ownership it was given in.
    function _transfer(address device, address from, address to) private {
        // Checks
        if (to == address(0)) revert ZeroOwner();

        // Effects
        Device storage found = _devices[device];
        found.owner = to;
        unchecked {
            if (++found.transfers == 0) ++_transferLaps[device];
        }
        emit DeviceTransferred(device, from, to);
    }

    function _bubble(bytes memory answer) private pure {
        assembly ("memory-safe") {
            revert(add(answer, 32), mload(answer))
        }
    }

    function _requireOwner(address device) private view {
        address owner = _devices[device].owner;
        if (owner == address(0)) revert UnknownDevice(device);
        if (owner != msg.sender) revert NotOwner(owner, msg.sender);
    }

    function _requireActive(address device) private view returns (Device storage found) {
        found = _devices[device];
        if (found.owner == address(0)) revert UnknownDevice(device);
        if (found.revokedAt != 0) revert RevokedDevice(device);
    }

    function _requireAdmin() private view {
        if (msg.sender != admin) revert NotAdmin(admin, msg.sender);
    }

    function _requireList(bytes calldata list, uint256 itemBytes, uint256 limit) private pure {
        uint256 length = list.length;
        if (length == 0 || length % itemBytes != 0 || length > itemBytes * limit) {
            revert MalformedList(length);
        }
    }

    /// @dev Stops at the largest time that fits: cut off, a revocation could come out as zero, which is none.
    function _now() private view returns (uint40) {
        return block.timestamp > type(uint40).max ? type(uint40).max : uint40(block.timestamp);
    }

    function _requireSigned(
        address device,
        uint8 keyType,
        bytes32 x,
        bytes32 y,
        bytes32 digest,
        bytes calldata signature
    ) private view {
        if (keyType == SECP256K1) {
            Signatures.requireSigner(device, digest, signature);
        } else if (keyType == P256) {
            address ofKey = address(uint160(uint256(keccak256(abi.encode(x, y)))));
            if (ofKey != device) revert KeyMismatch(device, ofKey);
            Signatures.requireP256(x, y, digest, signature);
        } else {
            revert UnknownKeyType(keyType);
        }
    }
}
