// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice The part of ERC-20 that escrow needs.
interface IErc20 {
    /// @notice Tokens of an account, in base units.
    function balanceOf(address account) external view returns (uint256);
    /// @notice Moves the caller's tokens.
    function transfer(address to, uint256 amount) external returns (bool);
    /// @notice Moves another account's tokens within its allowance.
    function transferFrom(address from, address to, uint256 amount) external returns (bool);
}

/// @notice The token refused, is no contract, or moved another amount than it was told.
error TransferFailed(address token);

/// @title Token moves that either happen exactly or revert
/// @notice Tokens that return nothing work; tokens that take a fee are refused when they come in.
library SafeErc20 {
    /// @notice Pays out.
    function send(address token, address to, uint256 amount) internal {
        if (!trySend(token, to, amount)) revert TransferFailed(token);
    }

    /// @notice Pays out, or says that the token refuses.
    function trySend(address token, address to, uint256 amount) internal returns (bool) {
        return _call(token, abi.encodeCall(IErc20.transfer, (to, amount)));
    }

    /// @notice Draws in, and checks that exactly this amount has arrived.
    function receiveFrom(address token, address from, uint256 amount) internal {
        uint256 before = IErc20(token).balanceOf(address(this));
        bool moved = _call(token, abi.encodeCall(IErc20.transferFrom, (from, address(this), amount)));
        if (!moved) revert TransferFailed(token);
        requireArrived(token, before, amount);
    }

    /// @notice Reverts unless the own balance has grown by exactly `amount` since it was `before`.
    function requireArrived(address token, uint256 before, uint256 amount) internal view {
        if (IErc20(token).balanceOf(address(this)) != before + amount) revert TransferFailed(token);
    }

    /// @dev Takes one word of the answer, however long it is: copying all of it would be the caller's gas.
    function _call(address token, bytes memory data) private returns (bool moved) {
        uint256 size;
        uint256 answer;
        assembly ("memory-safe") {
            moved := call(gas(), token, 0, add(data, 32), mload(data), 0, 32)
            size := returndatasize()
            answer := mload(0)
        }
        if (size == 0) return moved && token.code.length > 0;
        return moved && size >= 32 && answer == 1;
    }
}
