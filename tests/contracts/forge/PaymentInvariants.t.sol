// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "./Base.sol";
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
    uint256 internal _now = 1_700_000_000;

    constructor() {
        _start();
    }

    function books() external view returns (PaymentChannels, MintableToken, address, address) {
        return (channels, token, payer, receiver);
    }

    function idOf(uint256 i) public view returns (bytes32) {
        return channels.getChannelId(_config(i));
    }

    function open(uint256 i, uint128 amount) external {
        _deposit(i % 3, uint128(bound(amount, 1, 1e20)));
    }

    function redeem(uint256 i, uint256 share) external {
        i %= 3;
        uint128 amount = _next(i, share);
        IPaymentChannels.Redemption[] memory rows = _redemption(_config(i), amount);
        vm.prank(receiver);
        channels.redeem(rows);
        newest[i] = amount;
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
    }

    function claim(uint256 i, uint256 share, uint128 margin) external {
        i %= 3;
        uint128 amount = _next(i, share);
        uint128 ceiling = amount + uint128(bound(margin, 0, 1e20));
        IPaymentChannels.VoucherClaim[] memory rows = _claims(_config(i), ceiling, amount);
        vm.prank(receiver);
        channels.claim(rows);
        newest[i] = amount;
    }

    function claimBySignature(uint256 i, uint256 share) external {
        i %= 3;
        uint128 amount = _next(i, share);
        IPaymentChannels.VoucherClaim[] memory rows = _claims(_config(i), amount, amount);
        channels.claimWithSignature(rows, signed(keyOf("receiver"), channels.getClaimBatchDigest(rows)));
        newest[i] = amount;
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
    }

    function settle() external {
        channels.settle(receiver, address(token));
    }

    function refund(uint256 i, uint128 amount) external {
        uint256 before = token.balanceOf(payer);
        vm.prank(receiver);
        channels.refund(_config(i % 3), uint128(bound(amount, 1, 1e20)));
        returned += token.balanceOf(payer) - before;
    }

    function initiateWithdraw(uint256 i, uint256 share) external {
        i %= 3;
        (, uint40 since) = channels.pendingWithdrawals(idOf(i));
        if (since != 0) return;
        uint128 amount = uint128(bound(share, 1, _free(i)));
        vm.prank(payer);
        channels.initiateWithdraw(_config(i), amount);
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

contract PaymentChannelsInvariants is Test {
    PaymentHandler internal handler;
    PaymentChannels internal channels;
    MintableToken internal token;
    address internal payer;
    address internal receiver;

    function setUp() public {
        handler = new PaymentHandler();
        (channels, token, payer, receiver) = handler.books();
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
}
