// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { MintableToken } from "./Tokens.sol";

/// @title A token that takes one percent, but not of some, and calls the payer back before it moves anything. Tests only.
contract HookedFeeToken is MintableToken {
    mapping(address account => bool) public isExempt;
    mapping(address account => address) public hookOf;
    bool public feeRuns;

    function exempt(address account) external {
        isExempt[account] = true;
    }

    function setHook(address hook) external {
        hookOf[msg.sender] = hook;
    }

    function startFee() external {
        feeRuns = true;
    }

    function _move(address from, address to, uint256 amount) internal override {
        address hook = hookOf[from];
        if (hook != address(0)) ISendHook(hook).beforeSending();
        uint256 fee = feeRuns && !isExempt[from] ? amount / 100 : 0;
        balanceOf[from] -= amount;
        balanceOf[to] += amount - fee;
    }
}

/// @notice What a payer wants to be told. Tests only.
interface ISendHook {
    function beforeSending() external;
}

/// @title A token that answers every payout with a megabyte. Tests only.
contract BombToken is MintableToken {
    function transfer(address to, uint256 amount) external override returns (bool) {
        _move(msg.sender, to, amount);
        assembly ("memory-safe") {
            mstore(0, 1)
            return(0, 1000000)
        }
    }
}

/// @title A token that burns all the gas it gets when it should pay one account. Tests only.
contract BurningToken is MintableToken {
    address public victim;

    function burnFor(address account) external {
        victim = account;
    }

    function _move(address from, address to, uint256 amount) internal override {
        if (to == victim) {
            assembly ("memory-safe") {
                invalid()
            }
        }
        super._move(from, to, amount);
    }
}

/// @title A token that says no to payouts instead of reverting. Tests only.
contract StingyToken is MintableToken {
    bool public pays;

    function open() external {
        pays = true;
    }

    function transfer(address to, uint256 amount) external override returns (bool) {
        if (pays) _move(msg.sender, to, amount);
        return pays;
    }
}

/// @title A contract account that answers with a megabyte, beginning with a yes or a no. Tests only.
contract BombWallet {
    bytes32 private immutable _word;

    constructor(bytes4 word) {
        _word = word;
    }

    function isValidSignature(bytes32, bytes calldata) external view returns (bytes4) {
        bytes32 word = _word;
        assembly ("memory-safe") {
            mstore(0, word)
            return(0, 1000000)
        }
    }
}
