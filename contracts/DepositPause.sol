// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IDepositPause } from "./interfaces/IDepositPause.sol";

/// @title A brake on new money, never on money going out
/// @dev Deployed without a guardian nobody can ever pause, and a deposit does not pay for the question (2,100 gas with one).
abstract contract DepositPause is IDepositPause {
    /// @notice Whether this deployment has a guardian at all.
    bool public immutable pausable;

    /// @inheritdoc IDepositPause
    address public guardian;
    /// @inheritdoc IDepositPause
    bool public depositsPaused;
    /// @inheritdoc IDepositPause
    address public guardianCandidate;

    constructor(address firstGuardian) {
        // slither-disable-next-line missing-zero-check (zero: nobody can ever pause)
        guardian = firstGuardian;
        pausable = firstGuardian != address(0);
        emit GuardianChanged(address(0), firstGuardian);
    }

    modifier whenDepositsNotPaused() {
        if (pausable && depositsPaused) revert DepositsPaused();
        _;
    }

    /// @inheritdoc IDepositPause
    function pauseDeposits(bool paused) external {
        if (msg.sender != guardian) revert NotGuardian(guardian, msg.sender);
        depositsPaused = paused;
        emit PauseChanged(paused);
    }

    /// @inheritdoc IDepositPause
    function offerGuardian(address candidate) external {
        if (msg.sender != guardian) revert NotGuardian(guardian, msg.sender);
        // slither-disable-next-line missing-zero-check (zero takes the offer back)
        guardianCandidate = candidate;
        emit GuardianOffered(msg.sender, candidate);
    }

    /// @inheritdoc IDepositPause
    function acceptGuardian() external {
        if (msg.sender != guardianCandidate) revert NotGuardian(guardianCandidate, msg.sender);
        emit GuardianChanged(guardian, msg.sender);
        guardian = msg.sender;
        delete guardianCandidate;
    }
}
