// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Cheats, PlainToken } from "./Stage.sol";
import { PaymentChannels } from "../../../contracts/PaymentChannels.sol";
import { IPaymentChannels } from "../../../contracts/interfaces/IPaymentChannels.sol";

/// For any channel whose balance covers what was claimed, and any call that anybody makes at any time:
///   ├── what was claimed never falls and stays covered
///   ├── only the receiver's side takes what vouchers give; only the payer's side, or the receiver's consent, gives the rest back
///   └── what leaves the contract is what the channel has less
contract PaymentProofs {
    Cheats private constant vm = Cheats(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint256 private constant PENDING_SLOT = 2;
    address private constant PAYER = address(0xA1);
    address private constant KEY = address(0xA2);
    address private constant RECEIVER = address(0xB1);
    address private constant OPERATOR = address(0xB2);

    PaymentChannels private channels = new PaymentChannels(address(0));
    PlainToken private token = new PlainToken();

    struct Case {
        uint128 balance;
        uint128 claimed;
        uint128 pending;
        uint40 since;
        uint40 time;
        address sender;
        uint128 amount;
        bytes32 r;
        uint256 vs;
    }

    function _config() private view returns (IPaymentChannels.ChannelConfig memory) {
        return IPaymentChannels.ChannelConfig(PAYER, KEY, RECEIVER, OPERATOR, address(token), 900, 0);
    }

    /// Whether there is such a channel; its tokens are there then, those that were claimed and not settled too.
    function _begin(Case calldata c) private returns (bool) {
        if (c.claimed > c.balance) return false;
        bytes32 id = channels.getChannelId(_config());
        vm.store(address(channels), id, bytes32(uint256(c.claimed) << 128 | c.balance));
        token.mint(address(channels), c.balance);
        vm.warp(c.time);
        if (c.since != 0) _request(id, c.pending, c.since);
        vm.prank(c.sender);
        return true;
    }

    function _request(bytes32 id, uint128 amount, uint40 since) private {
        uint256 slot = uint256(keccak256(abi.encode(id, PENDING_SLOT)));
        vm.store(address(channels), bytes32(slot), bytes32(uint256(since) << 128 | amount));
        (uint128 found, uint40 asked) = channels.pendingWithdrawals(id);
        assert(found == amount && asked == since);
    }

    function _after() private view returns (uint128 balance, uint128 claimed) {
        return channels.channels(channels.getChannelId(_config()));
    }

    function _isUntouched(Case calldata c) private view {
        (uint128 balance, uint128 claimed) = _after();
        assert(balance == c.balance && claimed == c.claimed);
        assert(token.balanceOf(address(channels)) == c.balance);
    }

    function _isPaidBack(Case calldata c, uint128 asked) private view {
        (uint128 balance, uint128 claimed) = _after();
        uint128 free = c.balance - c.claimed;
        uint128 paid = asked < free ? asked : free;
        assert(claimed == c.claimed && balance == c.balance - paid && claimed <= balance);
        assert(token.balanceOf(PAYER) == paid && token.balanceOf(address(channels)) == balance);
    }

    function check_a_redemption(Case calldata c) public {
        if (!_begin(c)) return;
        IPaymentChannels.Redemption[] memory rows = new IPaymentChannels.Redemption[](1);
        rows[0] = IPaymentChannels.Redemption(_config(), c.amount, abi.encodePacked(c.r, c.vs));
        bytes32 digest = channels.getVoucherDigest(channels.getChannelId(_config()), c.amount);
        vm.prank(c.sender);
        try channels.redeem(rows) {
            assert(c.sender == RECEIVER || c.sender == OPERATOR);
            assert(ecrecover(digest, uint8(27 + (c.vs >> 255)), c.r, bytes32(c.vs << 1 >> 1)) == KEY);
            (uint128 balance, uint128 claimed) = _after();
            assert(balance == c.balance && claimed == c.amount && claimed > c.claimed && claimed <= balance);
            assert(token.balanceOf(RECEIVER) == c.amount - c.claimed);
            assert(token.balanceOf(address(channels)) == c.balance - (c.amount - c.claimed));
        } catch {
            _isUntouched(c);
        }
    }

    function check_a_withdrawal(Case calldata c) public {
        if (!_begin(c)) return;
        try channels.finalizeWithdraw(_config()) {
            assert(c.sender == PAYER || c.sender == KEY);
            assert(c.since != 0 && c.time >= uint256(c.since) + 900);
            _isPaidBack(c, c.pending);
            (, uint40 asked) = channels.pendingWithdrawals(channels.getChannelId(_config()));
            assert(asked == 0);
        } catch {
            _isUntouched(c);
        }
    }

    function check_a_refund(Case calldata c) public {
        if (!_begin(c)) return;
        try channels.refund(_config(), c.amount) {
            assert(c.sender == RECEIVER || c.sender == OPERATOR);
            _isPaidBack(c, c.amount);
        } catch {
            _isUntouched(c);
        }
    }

    function check_a_request_to_withdraw(Case calldata c) public {
        if (!_begin(c)) return;
        try channels.initiateWithdraw(_config(), c.amount) {
            assert(c.sender == PAYER || c.sender == KEY);
            assert(c.since == 0 && c.amount != 0 && c.amount <= c.balance - c.claimed);
            (uint128 amount, uint40 asked) = channels.pendingWithdrawals(channels.getChannelId(_config()));
            assert(amount == c.amount && asked == c.time);
        } catch { }
        _isUntouched(c);
    }
}
