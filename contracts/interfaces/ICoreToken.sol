// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title CORE: an ERC-20 that pays rewards by itself
/// @notice Rewards are cumulative amounts in a Merkle tree. A proposed root becomes claimable after a window in which the guardian may
/// veto it; until then the previous one stays claimable. Also ERC-2612 permit and EIP-3009 authorisations.
interface ICoreToken {
    event Transfer(address indexed from, address indexed to, uint256 amount);
    event Approval(address indexed owner, address indexed spender, uint256 amount);
    /// @notice EIP-3009: an authorisation was used.
    event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
    /// @notice EIP-3009: an authorisation was made worthless by its author.
    event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);
    /// @notice A root over all batches up to a block; claimable from `activeAt` (seconds) on.
    event RootProposed(
        uint32 indexed epoch, bytes26 root, uint64 throughBlock, uint128 emission, uint40 activeAt
    );
    /// @notice The guardian stopped a root in its window.
    event RootVetoed(uint32 indexed epoch);
    /// @notice An owner received the difference to what it had claimed before.
    event Claimed(address indexed owner, uint128 amount, uint128 cumulative);
    /// @notice Proposer and guardian as they are from now on.
    event RolesChanged(address indexed proposer, address indexed guardian);
    /// @notice The admin offered the role; the other account must accept it.
    event AdminOffered(address indexed admin, address indexed candidate);
    /// @notice The admin's role went over.
    event AdminChanged(address indexed before, address indexed admin);

    error InsufficientBalance(address owner, uint256 balance, uint256 needed);
    error InsufficientAllowance(address spender, uint256 allowance, uint256 needed);
    error ZeroReceiver();
    /// @notice The signature's deadline (seconds) has passed.
    error Expired(uint256 deadline);
    /// @notice The authorisation is not valid before this time (seconds).
    error NotYetValid(uint256 validAfter);
    /// @notice The authorisation was used or cancelled.
    error AuthorizationSpent(address authorizer, bytes32 nonce);
    /// @notice Only the receiver may use a receiveWithAuthorization.
    error NotReceiver(address receiver, address caller);
    /// @notice The caller does not hold the role.
    error NotPermitted(address holder, address caller);
    /// @notice Epochs follow each other.
    error WrongEpoch(uint32 expected, uint32 given);
    /// @notice An epoch ends after the one before it.
    error BlockRegressed(uint64 before, uint64 given);
    /// @notice More than an epoch may emit.
    error EmissionOverCap(uint128 cap, uint128 given);
    /// @notice The root before is still in its window until this time (seconds).
    error RootWaiting(uint40 activeAt);
    /// @notice There is no root in its window.
    error NothingToVeto();
    /// @notice The owner has claimed this much already.
    error NothingToClaim(uint128 claimed, uint128 cumulative);
    /// @notice The root promises more than the epochs have emitted.
    error EmissionExhausted(uint256 emitted, uint256 needed);
    /// @notice A root is the hash of something.
    error ZeroRoot();

    /// @notice One claim of a batch of claims.
    struct Claim {
        address owner;
        uint128 cumulative;
        uint32 position;
        bytes26[] proof;
    }

    /// @notice Proposes the rewards of the next epoch. Proposer only.
    /// @param epoch one more than the last
    /// @param root over the cumulative amounts of all owners
    /// @param throughBlock last block whose batches count
    /// @param emission base units that this epoch adds at most
    function proposeRoot(uint32 epoch, bytes26 root, uint64 throughBlock, uint128 emission) external;

    /// @notice Stops the root that is in its window. Guardian only.
    function veto(uint32 epoch) external;

    /// @notice Pays an owner what it has earned and not yet claimed. Anyone may send it.
    function claim(address owner, uint128 cumulative, uint32 position, bytes26[] calldata proof) external;

    /// @notice Pays many owners; skips those with nothing to claim.
    function claimMany(Claim[] calldata claims) external;

    /// @notice Changes proposer and guardian. Admin only.
    function setRoles(address proposer, address guardian) external;

    /// @notice Offers the admin's role to another account.
    function offerAdmin(address candidate) external;

    /// @notice Takes the admin's role that was offered to the caller.
    function acceptAdmin() external;

    /// @notice What an owner has claimed so far, base units.
    function claimedOf(address owner) external view returns (uint128);

    /// @notice The root that is claimable now.
    function activeRoot() external view returns (uint32 epoch, bytes26 root);

    /// @notice The root in its window; zero when there is none.
    function pendingRoot() external view returns (uint32 epoch, bytes26 root, uint40 activeAt);

    /// @notice Sum of what the active epochs emitted, base units.
    function emitted() external view returns (uint256);

    /// @notice ERC-2612.
    function permit(
        address owner,
        address spender,
        uint256 value,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice EIP-3009, signature in one piece (64 or 65 bytes, or ERC-1271).
    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external;

    /// @notice EIP-3009, signature in three parts.
    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice EIP-3009, for contracts: only `to` may use it, so nobody can run ahead.
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external;

    /// @notice The same, signature in three parts.
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice EIP-3009: makes an authorisation worthless before it is used.
    function cancelAuthorization(address authorizer, bytes32 nonce, bytes calldata signature) external;

    /// @notice The same, signature in three parts.
    function cancelAuthorization(address authorizer, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) external;

    /// @notice EIP-3009: whether a nonce is spent.
    function authorizationState(address authorizer, bytes32 nonce) external view returns (bool);
}
