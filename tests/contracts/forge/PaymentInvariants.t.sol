// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { PaymentFixture } from "./PaymentFixture.sol";
import { PaymentChannels } from "../../../contracts/PaymentChannels.sol";
import { IPaymentChannels } from "../../../contracts/interfaces/IPaymentChannels.sol";
import { MintableToken } from "../../../contracts/mocks/Tokens.sol";

/// Uses three channels in every way that the contract knows, with amounts at random, and keeps its own books.
contract PaymentHandler is PaymentFixture {
    uint256 public deposited;
    uint256 public returned;
    uint128[3] public newest;
    bool public paidTwice;
    /// Actions that found something to do.
    uint256 public done;
    uint256 internal _now = 1_700_000_000;

    constructor() {
        _start();
    }

    function books() external view returns (PaymentChannels, MintableToken) {
        return (channels, token);
    }

    function time() external view returns (uint256) {
        return _now;
    }

    function idOf(uint256 i) public view returns (bytes32) {
        return channels.getChannelId(_config(i));
    }

    function open(uint256 i, uint128 amount) external {
        _deposit(i % 3, uint128(bound(amount, 1, 1e20)));
        ++done;
    }

    function redeem(uint256 i, uint256 share) external {
        i %= 3;
        uint128 amount = _next(i, share);
        IPaymentChannels.Redemption[] memory rows = _redemption(_config(i), amount);
        vm.prank(receiver);
        channels.redeem(rows);
        newest[i] = amount;
        ++done;
    }

    function redeemPacked(uint256 i, uint256 share) external {
        i %= 3;
        uint128 amount = _next(i, share);
        IPaymentChannels.ChannelConfig memory config = _config(i);
        bytes memory head =
            abi.encodePacked(uint8(0), uint8(32), uint8(12), uint16(1), uint24(900), address(token));
        bytes memory row = abi.encodePacked(payer, config.salt, uint96(amount), _voucher(config, amount));
        vm.prank(receiver);
        (bool success,) =
            address(channels).call(bytes.concat(IPaymentChannels.redeemGroupsBrief.selector, head, row));
        assertTrue(success);
        newest[i] = amount;
        ++done;
    }

    function claim(uint256 i, uint256 share, uint128 margin) external {
        i %= 3;
        uint128 amount = _next(i, share);
        uint128 ceiling = amount + uint128(bound(margin, 0, 1e20));
        IPaymentChannels.VoucherClaim[] memory rows = _claims(_config(i), ceiling, amount);
        vm.prank(receiver);
        channels.claim(rows);
        newest[i] = amount;
        ++done;
    }

    function claimBySignature(uint256 i, uint256 share) external {
        i %= 3;
        uint128 amount = _next(i, share);
        IPaymentChannels.VoucherClaim[] memory rows = _claims(_config(i), amount, amount);
        channels.claimWithSignature(rows, signed(keyOf("receiver"), channels.getClaimBatchDigest(rows)));
        newest[i] = amount;
        ++done;
    }

    /// An old voucher again, in both ways: one is refused, the other changes nothing.
    function replay(uint256 i, uint256 share) external {
        i %= 3;
        if (newest[i] == 0) return;
        uint128 old = uint128(bound(share, 1, newest[i]));
        IPaymentChannels.Redemption[] memory rows = _redemption(_config(i), old);
        IPaymentChannels.VoucherClaim[] memory claims = _claims(_config(i), old, old);
        vm.startPrank(receiver);
        try channels.redeem(rows) {
            paidTwice = true;
        } catch { }
        channels.claim(claims);
        vm.stopPrank();
        ++done;
    }

    function settle() external {
        channels.settle(receiver, address(token));
        ++done;
    }

    function refund(uint256 i, uint128 amount) external {
        uint256 before = token.balanceOf(payer);
        vm.prank(receiver);
        channels.refund(_config(i % 3), uint128(bound(amount, 1, 1e20)));
        returned += token.balanceOf(payer) - before;
        ++done;
    }

    function initiateWithdraw(uint256 i, uint256 share) external {
        i %= 3;
        (, uint40 since) = channels.pendingWithdrawals(idOf(i));
        if (since != 0) return;
        uint128 amount = uint128(bound(share, 1, _free(i)));
        vm.prank(payer);
        channels.initiateWithdraw(_config(i), amount);
        ++done;
    }

    function finalizeWithdraw(uint256 i) external {
        i %= 3;
        (, uint40 since) = channels.pendingWithdrawals(idOf(i));
        if (since == 0) return;
        _now += 900;
        vm.warp(_now);
        uint256 before = token.balanceOf(payer);
        vm.prank(payer);
        channels.finalizeWithdraw(_config(i));
        returned += token.balanceOf(payer) - before;
        ++done;
    }

    function _deposit(uint256 i, uint128 amount) internal {
        _open(i, amount);
        deposited += amount;
    }

    /// What nobody has claimed yet; never nothing.
    function _free(uint256 i) internal returns (uint128) {
        (uint128 balance, uint128 claimed) = channels.channels(idOf(i));
        if (balance > claimed) return balance - claimed;
        _deposit(i, 1e20);
        return 1e20;
    }

    /// A cumulative amount that adds something and is covered.
    function _next(uint256 i, uint256 share) internal returns (uint128) {
        return newest[i] + uint128(bound(share, 1, _free(i)));
    }
}

contract PaymentChannelsInvariants is PaymentFixture {
    PaymentHandler internal handler;

    function setUp() public {
        handler = new PaymentHandler();
        (channels, token) = handler.books();
        _target(address(handler));
    }

    function _unsettled() internal view returns (uint256) {
        (uint128 total, uint128 settled) = channels.receivers(receiver, address(token));
        return total - settled;
    }

    /// Deposits are what was paid out, to either side, plus what the contract still holds.
    function invariant_deposits_are_payouts_and_balances() public view {
        uint256 held = token.balanceOf(address(channels));
        assertEq(handler.deposited(), held + token.balanceOf(receiver) + handler.returned());
        assertEq(token.balanceOf(payer), 1e30 - handler.deposited() + handler.returned());
    }

    /// What the contract holds is what channels have unclaimed and receivers have unsettled.
    function invariant_the_contract_holds_what_it_owes() public view {
        uint256 owed = _unsettled();
        for (uint256 i = 0; i < 3; ++i) {
            (uint128 balance, uint128 claimed) = channels.channels(handler.idOf(i));
            owed += balance - claimed;
        }
        assertEq(token.balanceOf(address(channels)), owed);
    }

    /// The receiver has, or can settle, the newest voucher of each channel, and nothing beyond.
    function invariant_a_voucher_never_pays_twice() public view {
        uint256 earned = 0;
        for (uint256 i = 0; i < 3; ++i) {
            earned += handler.newest(i);
        }
        assertEq(token.balanceOf(receiver) + _unsettled(), earned);
        assertFalse(handler.paidTwice());
    }

    /// Tried in the middle of every life; forge throws away what an invariant changes, and the life goes
    /// on. The receiver shows the vouchers it still holds, the payer takes the rest after its delay, and
    /// nobody else sends anything.
    function invariant_each_side_gets_out_without_anyones_help() public {
        if (handler.done() % 8 != 7) return;
        uint256 earned = 0;
        for (uint256 i = 0; i < 3; ++i) {
            earned += _showLastVoucher(_config(i));
        }
        uint256 now_ = handler.time();
        for (uint256 i = 0; i < 3; ++i) {
            now_ = _leave(_config(i), now_);
        }
        vm.prank(receiver);
        channels.settle(receiver, address(token));
        assertEq(token.balanceOf(receiver), earned);
        assertEq(token.balanceOf(payer), 1e30 - earned);
        assertEq(token.balanceOf(address(channels)), 0);
    }

    function afterInvariant() public view {
        assertTrue(handler.done() >= 16, "done");
    }

    function _showLastVoucher(IPaymentChannels.ChannelConfig memory config) internal returns (uint128 last) {
        (uint128 balance, uint128 claimed) = channels.channels(channels.getChannelId(config));
        last = claimed + (balance - claimed) / 2;
        if (last == claimed) return last;
        IPaymentChannels.Redemption[] memory rows = _redemption(config, last);
        vm.prank(receiver);
        channels.redeem(rows);
    }

    /// A withdrawal that runs is ended first, then the rest is withdrawn.
    function _leave(IPaymentChannels.ChannelConfig memory config, uint256 now_) internal returns (uint256) {
        bytes32 id = channels.getChannelId(config);
        vm.startPrank(payer);
        (, uint40 since) = channels.pendingWithdrawals(id);
        if (since != 0) {
            vm.warp(now_ += config.withdrawDelay);
            channels.finalizeWithdraw(config);
        }
        (uint128 balance, uint128 claimed) = channels.channels(id);
        if (balance > claimed) {
            channels.initiateWithdraw(config, balance - claimed);
            vm.warp(now_ += config.withdrawDelay);
            channels.finalizeWithdraw(config);
        }
        vm.stopPrank();
        return now_;
    }
}
