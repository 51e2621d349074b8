// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4 <0.9.0;

/// @title A brake on new money, never on money going out
interface IDepositPause {
    /// @notice Deposits were stopped, or run again.
    event PauseChanged(bool paused);
    /// @notice The guardian offered the role; the other account must accept it.
    event GuardianOffered(address indexed guardian, address indexed candidate);
    /// @notice The guardian's role went over.
    event GuardianChanged(address indexed before, address indexed guardian);

    /// @notice No deposits for the time being; everything that pays out works.
    error DepositsPaused();
    /// @notice Only the guardian may do this.
    error NotGuardian(address guardian, address caller);

    /// @notice Stops deposits, or lets them run again. Guardian only.
    function pauseDeposits(bool paused) external;

    /// @notice Offers the guardian's role to another account.
    function offerGuardian(address candidate) external;

    /// @notice Takes the guardian's role that was offered to the caller.
    function acceptGuardian() external;

    /// @notice Who may pause deposits; zero for nobody.
    function guardian() external view returns (address);

    /// @notice Whom the guardian offered the role.
    function guardianCandidate() external view returns (address);

    /// @notice Whether deposits are stopped.
    function depositsPaused() external view returns (bool);
}
