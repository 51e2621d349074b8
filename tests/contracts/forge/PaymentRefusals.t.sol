// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { PaymentFixture } from "./PaymentFixture.sol";
import { PaymentChannels } from "../../../contracts/PaymentChannels.sol";
import { IPaymentChannels } from "../../../contracts/interfaces/IPaymentChannels.sol";
import { HighS } from "../../../contracts/libraries/Signatures.sol";

/// given calls that say nothing, or say it at the wrong time, or in the name of others
///   └── each is refused by its own name
/// given a withdrawal that runs
///   ├── no second one starts
///   └── a refund meanwhile shortens it, or ends it
contract PaymentRefusalsTest is PaymentFixture {
    function setUp() public {
        _start();
    }

    function test_an_empty_call_is_refused() public {
        vm.expectRevert(IPaymentChannels.EmptyBatch.selector);
        channels.claim(new IPaymentChannels.VoucherClaim[](0));
        vm.expectRevert(IPaymentChannels.EmptyBatch.selector);
        channels.claimWithSignature(new IPaymentChannels.VoucherClaim[](0), "");
        vm.expectRevert(IPaymentChannels.EmptyBatch.selector);
        channels.redeem(new IPaymentChannels.Redemption[](0));
    }

    function test_every_party_of_the_terms_must_be_named(uint8 which) public {
        IPaymentChannels.ChannelConfig memory config = _config(1);
        if (which % 4 == 0) config.payer = address(0);
        if (which % 4 == 1) config.receiver = address(0);
        if (which % 4 == 2) config.receiverAuthorizer = address(0);
        if (which % 4 == 3) config.token = address(0);
        vm.prank(payer);
        vm.expectRevert(IPaymentChannels.InvalidChannel.selector);
        channels.open(config, 1);
    }

    function test_the_bounds_of_the_delay_are_in() public {
        IPaymentChannels.ChannelConfig memory config = _config(1);
        vm.startPrank(payer);
        (config.withdrawDelay) = channels.MIN_WITHDRAW_DELAY();
        channels.open(config, 1);
        (config.withdrawDelay) = channels.MAX_WITHDRAW_DELAY();
        channels.open(config, 1);
        assertEq(token.balanceOf(address(channels)), 2);
    }

    function test_a_deposit_that_the_books_cannot_hold_is_refused(uint128 amount) public {
        amount = uint128(bound(amount, 1, 1e30));
        IPaymentChannels.ChannelConfig memory config = _open(1, amount);
        vm.prank(payer);
        vm.expectRevert(IPaymentChannels.DepositOverflow.selector);
        channels.open(config, type(uint128).max - amount + 1);
    }

    function test_a_deposit_needs_a_collector() public {
        vm.expectRevert(IPaymentChannels.InvalidCollector.selector);
        channels.deposit(_config(1), 5, address(0), "");
    }

    function test_claims_by_signature_are_of_one_authorizer() public {
        IPaymentChannels.ChannelConfig memory config = _config(2);
        config.receiverAuthorizer = payer;
        vm.prank(payer);
        channels.open(config, 10);
        IPaymentChannels.VoucherClaim[] memory rows = new IPaymentChannels.VoucherClaim[](2);
        rows[0] = _claims(_open(1, 10), 5, 5)[0];
        rows[1] = _claims(config, 5, 5)[0];
        bytes memory signature = signed(keyOf("receiver"), channels.getClaimBatchDigest(rows));
        vm.expectRevert(IPaymentChannels.NotReceiverAuthorizer.selector);
        channels.claimWithSignature(rows, signature);
    }

    function test_the_high_s_twin_of_a_voucher_is_refused(uint128 amount) public {
        amount = uint128(bound(amount, 1, 10));
        IPaymentChannels.ChannelConfig memory config = _open(1, 10);
        IPaymentChannels.Redemption[] memory rows = _redemption(config, amount);
        bytes32 digest = channels.getVoucherDigest(channels.getChannelId(config), amount);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(payerKey, digest);
        rows[0].signature =
            abi.encodePacked(r, bytes32(SECP256K1_ORDER - uint256(s)), v == 27 ? uint8(28) : uint8(27));
        vm.prank(receiver);
        vm.expectRevert(HighS.selector);
        channels.redeem(rows);
    }

    function test_a_voucher_signed_twice_in_one_call_pays_once() public {
        IPaymentChannels.ChannelConfig memory config = _open(1, 10);
        IPaymentChannels.Redemption[] memory rows = new IPaymentChannels.Redemption[](2);
        rows[0] = _redemption(config, 5)[0];
        rows[1] = rows[0];
        vm.prank(receiver);
        vm.expectRevert(
            abi.encodeWithSelector(IPaymentChannels.VoucherRegressed.selector, uint128(5), uint128(5))
        );
        channels.redeem(rows);
    }

    // -------------------------------------------------------------------- leaving

    function test_a_withdrawal_is_of_something_that_is_there(uint128 amount) public {
        amount = uint128(bound(amount, 11, type(uint128).max));
        IPaymentChannels.ChannelConfig memory config = _open(1, 10);
        vm.startPrank(payer);
        vm.expectRevert(IPaymentChannels.NothingToWithdraw.selector);
        channels.initiateWithdraw(config, 0);
        vm.expectRevert(IPaymentChannels.WithdrawAmountExceedsAvailable.selector);
        channels.initiateWithdraw(config, amount);
    }

    function test_no_second_withdrawal_while_one_runs() public {
        IPaymentChannels.ChannelConfig memory config = _open(1, 10);
        vm.startPrank(payer);
        channels.initiateWithdraw(config, 5);
        vm.expectRevert(IPaymentChannels.WithdrawalAlreadyPending.selector);
        channels.initiateWithdraw(config, 5);
    }

    function test_a_refund_shortens_or_ends_the_withdrawal_that_runs(uint128 amount, uint128 refunded)
        public
    {
        amount = uint128(bound(amount, 1, 100));
        refunded = uint128(bound(refunded, 1, 100));
        IPaymentChannels.ChannelConfig memory config = _open(1, 100);
        vm.prank(payer);
        channels.initiateWithdraw(config, amount);
        vm.prank(receiver);
        channels.refund(config, refunded);
        (uint128 left, uint40 since) = channels.pendingWithdrawals(channels.getChannelId(config));
        assertEq(left, refunded < amount ? amount - refunded : 0);
        assertEq(since, refunded < amount ? block.timestamp : 0);
    }

    function test_only_the_receivers_side_refunds_and_never_nothing(address stranger) public {
        vm.assume(stranger != receiver);
        IPaymentChannels.ChannelConfig memory config = _open(1, 10);
        vm.prank(stranger);
        vm.expectRevert(IPaymentChannels.NotAuthorizedToRefund.selector);
        channels.refund(config, 5);
        vm.prank(receiver);
        vm.expectRevert(IPaymentChannels.ZeroRefund.selector);
        channels.refund(config, 0);
    }

    /// What is claimed is not refunded; the number of the refund is used up all the same.
    function test_a_refund_of_a_channel_that_is_claimed_to_the_end_moves_nothing() public {
        IPaymentChannels.ChannelConfig memory config = _open(1, 10);
        IPaymentChannels.Redemption[] memory rows = _redemption(config, 10);
        vm.startPrank(receiver);
        channels.redeem(rows);
        channels.refund(config, 5);
        assertEq(token.balanceOf(payer), 1e30 - 10);
        assertEq(channels.refundNonce(channels.getChannelId(config)), 1);
    }

    function test_nothing_is_settled_where_nothing_is_due(address anyone) public {
        _open(1, 10);
        channels.settle(anyone, address(token));
        assertEq(token.balanceOf(address(channels)), 10);
    }

    function test_the_error_of_a_call_among_many_is_its_own(uint128 amount) public {
        amount = uint128(bound(amount, 11, type(uint128).max));
        IPaymentChannels.ChannelConfig memory config = _open(1, 10);
        bytes[] memory calls = new bytes[](1);
        calls[0] = abi.encodeCall(PaymentChannels.initiateWithdraw, (config, amount));
        vm.prank(payer);
        vm.expectRevert(IPaymentChannels.WithdrawAmountExceedsAvailable.selector);
        channels.multicall(calls);
    }
}
