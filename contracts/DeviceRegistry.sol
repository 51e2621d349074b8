// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IDeviceRegistry } from "./interfaces/IDeviceRegistry.sol";
import { Eip712 } from "./libraries/Eip712.sol";
import { Signatures } from "./libraries/Signatures.sol";

/// @title Registry of devices
contract DeviceRegistry is IDeviceRegistry {
    /// @dev One slot: owner 160 bits, key type 8, revoked 8.
    struct Device {
        address owner;
        uint8 keyType;
        bool revoked;
    }

    uint8 private constant SECP256K1 = 1;
    uint8 private constant P256 = 2;
    bytes32 private constant NAME_HASH = keccak256("CoreChain");
    bytes32 private constant ACTIVATION_TYPEHASH = keccak256("Activation(address device,address owner)");
    bytes32 private constant REPORT_TYPEHASH =
        keccak256("Report(address device,uint64 sequence,bytes32 observationsHash)");

    mapping(address device => Device) private _devices;

    /// @inheritdoc IDeviceRegistry
    function register(
        address device,
        address owner,
        uint8 keyType,
        bytes32 x,
        bytes32 y,
        bytes calldata signature
    ) external {
        // Checks
        if (owner == address(0)) revert ZeroOwner();
        if (_devices[device].owner != address(0)) revert AlreadyRegistered(device);
        bytes32 digest = Eip712.digest(NAME_HASH, keccak256(abi.encode(ACTIVATION_TYPEHASH, device, owner)));
        _requireSigned(device, keyType, x, y, digest, signature);

        // Effects
        _devices[device] = Device(owner, keyType, false);
        bool named = keyType == P256;
        emit DeviceRegistered(device, owner, keyType, named ? x : bytes32(0), named ? y : bytes32(0));
    }

    /// @inheritdoc IDeviceRegistry
    function transfer(address device, address to) external {
        if (to == address(0)) revert ZeroOwner();
        _requireOwner(device);
        _devices[device].owner = to;
        emit DeviceTransferred(device, msg.sender, to);
    }

    /// @inheritdoc IDeviceRegistry
    function revoke(address device) external {
        _requireOwner(device);
        if (_devices[device].revoked) revert RevokedDevice(device);
        _devices[device].revoked = true;
        emit DeviceRevoked(device);
    }

    /// @inheritdoc IDeviceRegistry
    function deviceOf(address device) external view returns (address owner, uint8 keyType, bool revoked) {
        Device storage found = _devices[device];
        return (found.owner, found.keyType, found.revoked);
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
    function verifyReport(
        address device,
        uint64 sequence,
        bytes calldata observations,
        bytes calldata signature,
        bytes32 x,
        bytes32 y
    ) external view {
        Device storage found = _devices[device];
        if (found.owner == address(0)) revert UnknownDevice(device);
        if (found.revoked) revert RevokedDevice(device);
        _requireSigned(device, found.keyType, x, y, hashReport(device, sequence, observations), signature);
    }

    function _requireOwner(address device) private view {
        address owner = _devices[device].owner;
        if (owner == address(0)) revert UnknownDevice(device);
        if (owner != msg.sender) revert NotOwner(owner, msg.sender);
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
