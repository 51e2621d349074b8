// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4 <0.9.0;

/// @title Registry of devices, their keys and their owners
/// @notice A device is the last 20 bytes of the hash of its public key, on secp256k1 (key type 1) or P-256 (key type 2).
/// It enters the registry in a slot of its own, with its own consent, or as one of a fleet whose list an enroller vouches
/// for. A slot of its own counts before any fleet; the first slot of a device is its last, also after it was revoked.
interface IDeviceRegistry {
    /// @notice A device was registered. x and y are its public key on P-256, zero on secp256k1.
    event DeviceRegistered(
        address indexed device, address indexed owner, uint8 keyType, bytes32 x, bytes32 y
    );
    /// @notice A device of a fleet has a slot of its own from now on, with what its fleet says.
    event DeviceMaterialised(
        address indexed device, address indexed owner, uint8 keyType, bytes26 indexed fleet
    );
    /// @notice A device has another owner from now on.
    event DeviceTransferred(address indexed device, address indexed from, address indexed to);
    /// @notice A device's reports are no longer accepted.
    event DeviceRevoked(address indexed device, uint40 revokedAt);
    /// @notice A device goes on under another key. Stands after DeviceRevoked and DeviceRegistered of the two.
    event DeviceRotated(address indexed oldDevice, address indexed newDevice);
    /// @notice A fleet was enrolled: `ids` are its devices, 20 bytes each, ascending. The root was computed from them.
    event FleetEnrolled(bytes26 indexed fleet, address indexed owner, uint8 keyType, bytes ids);
    /// @notice Public keys (x ‖ y, 64 bytes each) of devices on P-256. Each id is the hash of its key.
    event KeysPublished(bytes keys);
    /// @notice An account may enrol fleets from now on, or no longer.
    event EnrollerSet(address indexed enroller, bool allowed);
    /// @notice The admin offered its role.
    event AdminOffered(address indexed admin, address indexed candidate);
    /// @notice The role of the admin was taken over.
    event AdminChanged(address indexed before, address indexed admin);

    /// @notice The device has a slot already. It never gets another one.
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
    /// @notice The signatures were good until then.
    error TransferExpired(uint40 deadline, uint256 time);
    /// @notice Only the admin may do this.
    error NotAdmin(address admin, address caller);
    /// @notice Only an enroller may do this.
    error NotEnroller(address caller);
    /// @notice The very same fleet (devices, owner, key type) is enrolled.
    error AlreadyEnrolled(bytes26 fleet);
    /// @notice There is no such fleet.
    error UnknownFleet(bytes26 fleet);
    /// @notice Not between one and the limit of items of this many bytes.
    error MalformedList(uint256 length);
    /// @notice The ids are not strictly ascending from above zero.
    error NotAscending();

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

    /// @notice Registers the sender, a device on secp256k1, for an owner. The transaction's signature is its consent.
    function activate(address owner) external;

    /// @notice Revokes a device and registers its successor (its next key) for the same owner. Owner only; the successor
    /// must have signed `Rotation(address oldDevice,address newDevice,address owner)`.
    /// @param x, y, signature as in `register`, of the new device
    function rotate(
        address oldDevice,
        address newDevice,
        uint8 keyType,
        bytes32 x,
        bytes32 y,
        bytes calldata signature
    ) external;

    /// @notice Gives a device to another owner. Owner only; the device need not agree.
    function transfer(address device, address to) external;

    /// @notice Gives a device to another owner, who sees that it really is in somebody's hands: the device has signed
    /// `Transfer(address device,address from,address to,uint256 nonce,uint40 deadline)`, nonce as in `transferNonceOf`.
    /// The owner sends it, or has signed the same (a key or a contract, ERC-1271) and anyone sends it.
    /// @param deadline the last second in which the signatures are good
    /// @param x of the device's public key; used on P-256 only
    /// @param y of the device's public key; used on P-256 only
    /// @param deviceSignature of the device: 64 bytes, on secp256k1 also 65
    /// @param ownerSignature not looked at when the owner is the sender
    function transferWithSignature(
        address device,
        address to,
        uint40 deadline,
        bytes32 x,
        bytes32 y,
        bytes calldata deviceSignature,
        bytes calldata ownerSignature
    ) external;

    /// @notice Ends a device for good: its key may be lost or stolen. Owner only.
    function revoke(address device) external;

    /// @notice Enrols many devices of one owner for the price of a slot. Enrollers only. The list goes to the log, its
    /// root to the state; the devices themselves are not asked.
    /// @param owner who is paid for their data
    /// @param keyType of all of them: 1 secp256k1, 2 P-256
    /// @param ids 20 bytes each, strictly ascending, 1 to 4,096 of them
    /// @return fleet the root, which names the fleet
    function enrolFleet(address owner, uint8 keyType, bytes calldata ids) external returns (bytes26 fleet);

    /// @notice Writes the slot of a fleet's device, with owner and time of the fleet. Anyone may send it.
    /// @param position of the device in the list, counted from 0
    /// @param proof the three other ids of its leaf (60 bytes), then sibling hashes from the leaf up (26 each)
    function materialise(bytes26 fleet, address device, uint256 position, bytes calldata proof) external;

    /// @notice Tells the world public keys on P-256, for devices of fleets: a list of ids does not hold them. Needs no
    /// permission, for a key that is not a device's hashes to no device's id.
    /// @param keys x ‖ y, 64 bytes each, 1 to 1,024 of them
    function publishKeys(bytes calldata keys) external;

    /// @notice Several calls in one transaction, for example `materialise` and `revoke`. All or none.
    function multicall(bytes[] calldata data) external returns (bytes[] memory results);

    /// @notice Lets an account enrol fleets, or ends that. What it has enrolled stays. Admin only.
    function setEnroller(address enroller, bool allowed) external;

    /// @notice Offers the admin's role; nothing changes until it is taken. Admin only.
    function offerAdmin(address candidate) external;

    /// @notice Takes the offered role. Candidate only.
    function acceptAdmin() external;

    /// @notice What the slot of a device says. All zero: it has none, though it may be in a fleet.
    /// @param device id of the device
    /// @return owner who is paid for its data
    /// @return keyType 1 secp256k1, 2 P-256
    /// @return registeredAt when it, or its fleet, was registered
    /// @return revokedAt zero: not revoked
    function deviceOf(address device)
        external
        view
        returns (address owner, uint8 keyType, uint40 registeredAt, uint40 revokedAt);

    /// @notice Owner (zero: no such fleet), time and key type of a fleet.
    function fleetOf(bytes26 fleet) external view returns (address owner, uint40 registeredAt, uint8 keyType);

    /// @notice How often the device has changed hands: part of what is signed for the next time.
    function transferNonceOf(address device) external view returns (uint256);

    /// @notice Who may enrol fleets.
    function isEnroller(address account) external view returns (bool);

    /// @notice EIP-712 separator of everything that devices sign.
    function domainSeparator() external view returns (bytes32);

    /// @notice What a device signs for a report; observations are packed, 19 bytes each.
    function hashReport(address device, uint64 sequence, bytes calldata observations)
        external
        view
        returns (bytes32);

    /// @notice What device and owner sign for `transferWithSignature`.
    function hashTransfer(address device, address from, address to, uint256 nonce, uint40 deadline)
        external
        view
        returns (bytes32);

    /// @notice Reverts unless a device that has a slot and is not revoked signed the report.
    function verifyReport(
        address device,
        uint64 sequence,
        bytes calldata observations,
        bytes calldata signature,
        bytes32 x,
        bytes32 y
    ) external view;
}
