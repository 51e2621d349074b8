// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ILaneBonds } from "./interfaces/ILaneBonds.sol";
import { SafeErc20 } from "./libraries/SafeErc20.sol";

/// @title The lanes of DataBatches: named by the admin, active while bonded
/// @dev A submitter stands in its lane only while its lane is bonded, so a commit reads one slot to know both.
abstract contract LaneBonds is ILaneBonds {
    /// @notice Where the part of a bond goes that nobody gets: if a challenger took all of it, a cheat who challenges
    /// itself first would lose nothing.
    address public constant BURN = 0x000000000000000000000000000000000000dEaD;

    uint40 private constant MAX_WINDOW = 365 days;

    /// @notice The token of bonds and demand fees.
    address public immutable bondToken;
    /// @notice What a lane's bond is, base units.
    uint88 public immutable bondAmount;
    /// @notice How long a batch can be challenged after it was committed, seconds.
    uint40 public immutable challengeWindow;

    /// @notice Who names submitters.
    address public admin;
    /// @notice Whom the admin offered the role.
    address public adminCandidate;

    address[1 << 16] private _submitters; // an array, because its place needs no hash
    /// @inheritdoc ILaneBonds
    mapping(uint16 lane => address) public assigneeOf;
    mapping(uint16 lane => Bond) internal _bonds;

    constructor(address firstAdmin, address token, uint88 amount, uint40 windowSeconds) {
        if (amount == 0 || token == address(0)) revert InvalidBond(amount);
        _requireWindow(windowSeconds);
        // slither-disable-next-line missing-zero-check (zero: lanes stay as they are)
        admin = firstAdmin;
        (bondToken, bondAmount, challengeWindow) = (token, amount, windowSeconds);
        emit AdminChanged(address(0), firstAdmin);
    }

    /// @inheritdoc ILaneBonds
    function assignLane(uint16 lane, address submitter) external {
        _requireAdmin();
        if (_bonds[lane].amount != 0) revert AlreadyBonded(lane);
        assigneeOf[lane] = submitter;
        emit LaneAssigned(lane, submitter);
    }

    /// @inheritdoc ILaneBonds
    function bondLane(uint16 lane) external {
        // Checks
        address submitter = assigneeOf[lane];
        if (submitter == address(0)) revert Unassigned(lane);
        // Who pays may close the lane: a stranger who pays first could keep it shut for a window, again and again.
        if (msg.sender != submitter && msg.sender != admin) revert NotConcerned(lane, msg.sender);
        Bond memory before = _bonds[lane];
        if (before.amount != 0) revert AlreadyBonded(lane);
        // slither-disable-next-line incorrect-equality (this very second is what is meant)
        if (block.timestamp == before.vacatedAt) revert JustVacated(lane);

        // Effects
        _bonds[lane] = Bond(msg.sender, bondAmount, uint40(block.timestamp), 0, 0, before.vacatedAt);
        _submitters[lane] = submitter;
        emit LaneBonded(lane, msg.sender, bondAmount);

        // Interactions
        SafeErc20.receiveFrom(bondToken, msg.sender, bondAmount);
    }

    /// @inheritdoc ILaneBonds
    function closeLane(uint16 lane) external {
        // Checks
        Bond storage bond = _bonds[lane];
        if (bond.amount == 0 || bond.exitAt != 0) revert NotBonded(lane);
        bool isItsOwn = msg.sender == _submitters[lane] || msg.sender == bond.funder;
        if (!isItsOwn && msg.sender != admin) revert NotConcerned(lane, msg.sender);

        // Effects
        // One second more: a batch of this very block can be challenged for the whole window.
        bond.exitAt = uint40(block.timestamp) + challengeWindow + 1;
        delete _submitters[lane];
        emit LaneClosed(lane, bond.exitAt);
        if (!isItsOwn) {
            // Stopped by somebody else it cannot commit what its receipts promise, and no role may take a bond by that:
            // with nobody named for it, the lane's bond answers for no receipt.
            delete assigneeOf[lane];
            emit LaneAssigned(lane, address(0));
        }
    }

    /// @inheritdoc ILaneBonds
    function withdrawBond(uint16 lane) external {
        // Checks
        Bond memory bond = _bonds[lane];
        // slither-disable-next-line incorrect-equality (a bond of our own books, nobody can push it off zero)
        if (bond.amount == 0 || bond.exitAt == 0) revert NotBonded(lane);
        if (block.timestamp < bond.exitAt || bond.openDemands != 0) {
            revert BondLocked(bond.exitAt, bond.openDemands);
        }

        // Effects
        _vacate(lane);
        emit BondWithdrawn(lane, bond.funder, bond.amount);

        // Interactions
        SafeErc20.send(bondToken, bond.funder, bond.amount);
    }

    /// @inheritdoc ILaneBonds
    function offerAdmin(address candidate) external {
        _requireAdmin();
        // slither-disable-next-line missing-zero-check (zero takes the offer back)
        adminCandidate = candidate;
        emit AdminOffered(msg.sender, candidate);
    }

    /// @inheritdoc ILaneBonds
    function acceptAdmin() external {
        if (msg.sender != adminCandidate) revert NotAdmin(adminCandidate, msg.sender);
        emit AdminChanged(admin, msg.sender);
        admin = msg.sender;
        delete adminCandidate;
    }

    /// @inheritdoc ILaneBonds
    function submitterOf(uint16 lane) external view returns (address) {
        return _submitters[lane];
    }

    /// @inheritdoc ILaneBonds
    function bondOf(uint16 lane) external view returns (Bond memory) {
        return _bonds[lane];
    }

    /// @dev Half of the bond to the challenger, the other half to nobody; the lane is free for another submitter.
    function _slash(uint16 lane, address challenger) internal {
        // Effects
        uint88 amount = _bonds[lane].amount;
        uint88 bounty = amount / 2; // rounded down
        _vacate(lane);
        emit BondSlashed(lane, challenger, bounty, amount - bounty);

        // Interactions
        SafeErc20.send(bondToken, challenger, bounty);
        SafeErc20.send(bondToken, BURN, amount - bounty);
    }

    function _requireSubmitter(uint16 lane) internal view {
        if (_submitters[lane] != msg.sender) revert NotSubmitter(lane, msg.sender);
    }

    function _requireWindow(uint40 given) internal pure {
        if (given == 0 || given > MAX_WINDOW) revert WindowOutOfRange(given);
    }

    function _vacate(uint16 lane) private {
        _bonds[lane] = Bond(address(0), 0, 0, 0, 0, uint40(block.timestamp));
        delete _submitters[lane];
        delete assigneeOf[lane];
    }

    function _requireAdmin() private view {
        if (msg.sender != admin) revert NotAdmin(admin, msg.sender);
    }
}
