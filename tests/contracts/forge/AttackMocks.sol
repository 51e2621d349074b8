// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { HookedFeeToken, ISendHook } from "../../../contracts/mocks/HostileTokens.sol";
import { MintableToken } from "../../../contracts/mocks/Tokens.sol";

/// A token that its issuer can stop.
contract StoppableToken is MintableToken {
    error Stopped();

    bool public stopped;

    function stop(bool now_) external {
        stopped = now_;
    }

    function _move(address from, address to, uint256 amount) internal override {
        if (stopped) revert Stopped();
        super._move(from, to, amount);
    }
}

/// A token whose balances grow and shrink by themselves.
contract RebasingToken is MintableToken {
    function rebase(address account, uint256 percent) external {
        balanceOf[account] = balanceOf[account] * percent / 100;
    }
}

/// A depositor whom its token asks before it sends, and who then lets an accomplice call the same contract.
contract Schemer is ISendHook {
    address internal immutable _target;
    Schemer internal _accomplice;
    bytes internal _next;
    bool internal _hides;
    bytes4 public reason;

    constructor(HookedFeeToken token, address target) {
        _target = target;
        token.approve(target, type(uint256).max);
        token.setHook(address(this));
    }

    /// What the accomplice does in the middle of the next deposit; `hides`: whether its failure is kept
    /// quiet.
    function plan(Schemer accomplice, bytes calldata next, bool hides) external {
        (_accomplice, _next, _hides) = (accomplice, next, hides);
    }

    function act(bytes calldata call_) external {
        (bool success, bytes memory answer) = _target.call(call_);
        if (success) return;
        assembly ("memory-safe") {
            revert(add(answer, 32), mload(answer))
        }
    }

    function beforeSending() external {
        if (address(_accomplice) == address(0)) return;
        try _accomplice.act(_next) { }
        catch (bytes memory answer) {
            if (!_hides) {
                assembly ("memory-safe") {
                    revert(add(answer, 32), mload(answer))
                }
            }
            reason = bytes4(answer);
        }
    }
}
