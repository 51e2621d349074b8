// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4 <0.9.0;

/// @title Lanes: who may commit batches, and what is at stake
/// @notice A lane is a series of batches with one writer. The admin names a lane's submitter; the lane is active once its bond is paid
/// in. A bond stays until the challenge window of the lane's last batch is over; nobody but a proven fraud or an unanswered demand can take it.
interface ILaneBonds {
    /// @notice A lane's bond. Two slots.
    struct Bond {
        address funder; // who gets it back
        uint88 amount;
        uint40 since; // batches committed from here on are its surety
        uint40 exitAt; // 0 while the lane is active; then when it may be withdrawn
        uint32 openDemands;
        uint40 vacatedAt; // when an earlier bond of the lane ended
    }

    /// @notice A lane's submitter was named (zero: nobody); it commits once the lane is bonded.
    event LaneAssigned(uint16 indexed lane, address indexed submitter);
    /// @notice A lane is active: its submitter may commit.
    event LaneBonded(uint16 indexed lane, address indexed funder, uint88 amount);
    /// @notice A lane commits no more; its bond can be withdrawn from `exitAt` (seconds).
    event LaneClosed(uint16 indexed lane, uint40 exitAt);
    /// @notice A bond went back to who paid it.
    event BondWithdrawn(uint16 indexed lane, address indexed funder, uint88 amount);
    /// @notice A bond was taken: the bounty went to the challenger, the rest to nobody.
    event BondSlashed(uint16 indexed lane, address indexed challenger, uint88 bounty, uint88 burnt);
    /// @notice The admin offered the role; the other account must accept it.
    event AdminOffered(address indexed admin, address indexed candidate);
    /// @notice The admin's role went over.
    event AdminChanged(address indexed before, address indexed admin);

    /// @notice Only the admin may do this.
    error NotAdmin(address admin, address caller);
    /// @notice Only the lane's active submitter may commit.
    error NotSubmitter(uint16 lane, address caller);
    /// @notice Only the lane's submitter, the admin or (to close it) who paid the bond may do this.
    error NotConcerned(uint16 lane, address caller);
    /// @notice The lane has a bond already.
    error AlreadyBonded(uint16 lane);
    /// @notice The lane has no bond, or its bond is on its way out.
    error NotBonded(uint16 lane);
    /// @notice An earlier bond ended in this very second: what it answered for must not fall to a new one.
    error JustVacated(uint16 lane);
    /// @notice The admin has named nobody for this lane.
    error Unassigned(uint16 lane);
    /// @notice The bond stays until then, and until all demands are closed.
    error BondLocked(uint40 exitAt, uint32 openDemands);
    /// @notice A bond is more than nothing and fits its slot.
    error InvalidBond(uint256 amount);
    /// @notice Disputes must have a second at least and a year at most, or nobody is ever safe, or safe at once.
    error WindowOutOfRange(uint40 given);

    /// @notice Names a lane's submitter. Admin only, while the lane has no bond. Zero: nobody.
    function assignLane(uint16 lane, address submitter) external;

    /// @notice Pays the lane's bond from the caller's allowance and makes the lane active. The lane's submitter or the
    /// admin; the caller gets it back in the end.
    function bondLane(uint16 lane) external;

    /// @notice Ends an active lane. Its submitter, who paid the bond, or the admin. If the admin is neither of the others, the submitter is
    /// no longer named, and the bond answers for no receipt: it could not keep any.
    function closeLane(uint16 lane) external;

    /// @notice Pays a closed lane's bond back to who paid it in. Anyone may call.
    function withdrawBond(uint16 lane) external;

    /// @notice Offers the admin's role to another account.
    function offerAdmin(address candidate) external;

    /// @notice Takes the admin's role that was offered to the caller.
    function acceptAdmin() external;

    /// @notice Who commits on a lane now; zero while the lane is not bonded.
    function submitterOf(uint16 lane) external view returns (address);

    /// @notice Whom the admin has named.
    function assigneeOf(uint16 lane) external view returns (address);

    /// @notice A lane's bond.
    function bondOf(uint16 lane) external view returns (Bond memory);
}
