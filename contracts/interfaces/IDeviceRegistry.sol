// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Registry of devices, their keys and their owners
/// @notice A device is the last 20 bytes of the hash of its public key, on secp256k1 (key type 1) or P-256 (key type 2).
interface IDeviceRegistry {
    /// @notice A device was registered. x and y are its public key on P-256, zero on secp256k1.
    event DeviceRegistered(
        address indexed device, address indexed owner, uint8 keyType, bytes32 x, bytes32 y
    );
    /// @notice A device has another owner from now on.
    event DeviceTransferred(address indexed device, address indexed from, address indexed to);
    /// @notice A device's reports are no longer accepted.
    event DeviceRevoked(address indexed device);

    /// @notice The device has an owner already.
    error AlreadyRegistered(address device);
    /// @notice The device is not in the registry.
    error UnknownDevice(address device);
    /// @notice The device was revoked by its owner.
    error RevokedDevice(address device);
    /// @notice Neither secp256k1 (1) nor P-256 (2).
    error UnknownKeyType(uint8 keyType);
    /// @notice The public key does not hash to the device's id.
    error KeyMismatch(address device, address ofKey);
    /// @notice Only the device's owner may do this.
    error NotOwner(address owner, address caller);
    /// @notice The zero address owns nothing.
    error ZeroOwner();

    /// @notice Registers a device for an owner. Anyone may send it; the device itself must have signed
    /// `Activation(address device,address owner)`, so nobody can register a device that is not theirs.
    /// @param device id of the device
    /// @param owner who is paid for its data
    /// @param keyType 1 secp256k1, 2 P-256
    /// @param x of the public key; used on P-256 only
    /// @param y of the public key; used on P-256 only
    /// @param signature of the device: 64 bytes, on secp256k1 also 65
    function register(
        address device,
        address owner,
        uint8 keyType,
        bytes32 x,
        bytes32 y,
        bytes calldata signature
    ) external;

    /// @notice Gives a device to another owner.
    function transfer(address device, address to) external;

    /// @notice Ends a device for good: its key may be lost or stolen.
    function revoke(address device) external;

    /// @notice Owner (zero: not registered), key type and whether it was revoked.
    function deviceOf(address device) external view returns (address owner, uint8 keyType, bool revoked);

    /// @notice EIP-712 separator of everything that devices sign.
    function domainSeparator() external view returns (bytes32);

    /// @notice What a device signs for a report; observations are packed, 19 bytes each.
    function hashReport(address device, uint64 sequence, bytes calldata observations)
        external
        view
        returns (bytes32);

    /// @notice Reverts unless a registered device that is not revoked signed the report.
    function verifyReport(
        address device,
        uint64 sequence,
        bytes calldata observations,
        bytes calldata signature,
        bytes32 x,
        bytes32 y
    ) external view;
}
