// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ICoreToken } from "./interfaces/ICoreToken.sol";

/// @title The token's roles: offered, then accepted
abstract contract TokenRoles is ICoreToken {
    /// @dev A role that somebody may take. One slot.
    struct Offer {
        address candidate;
        bool byAdmin;
    }

    address[3] internal _holders;
    Offer[3] private _offers;

    /// @inheritdoc ICoreToken
    function offerRole(Role role, address candidate) external {
        bool byAdmin = msg.sender == _holders[uint256(Role.Admin)];
        // Else a holder who is to be replaced takes the offer back each time before it is accepted.
        bool byHolder = msg.sender == _holders[uint256(role)] && !_offers[uint256(role)].byAdmin;
        if (!byAdmin && !byHolder) _requireHolder(Role.Admin);
        _offers[uint256(role)] = Offer(candidate, byAdmin && candidate != address(0));
        emit RoleOffered(role, candidate);
    }

    /// @inheritdoc ICoreToken
    function acceptRole(Role role) public virtual {
        address candidate = _offers[uint256(role)].candidate;
        if (msg.sender != candidate) revert NotPermitted(candidate, msg.sender);
        delete _offers[uint256(role)];
        _setHolder(role, msg.sender);
    }

    /// @inheritdoc ICoreToken
    function holderOf(Role role) external view returns (address) {
        return _holders[uint256(role)];
    }

    /// @inheritdoc ICoreToken
    function candidateOf(Role role) external view returns (address) {
        return _offers[uint256(role)].candidate;
    }

    function _setHolder(Role role, address holder) internal {
        emit RoleChanged(role, _holders[uint256(role)], holder);
        _holders[uint256(role)] = holder;
    }

    function _requireHolder(Role role) internal view {
        address holder = _holders[uint256(role)];
        if (msg.sender != holder) revert NotPermitted(holder, msg.sender);
    }
}
