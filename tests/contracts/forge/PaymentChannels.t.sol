// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { PaymentFixture } from "./PaymentFixture.sol";
import { PaymentChannels } from "../../../contracts/PaymentChannels.sol";
import { CoreToken } from "../../../contracts/CoreToken.sol";
import { Erc3009Collector } from "../../../contracts/collectors/Erc3009Collector.sol";
import { IPaymentChannels } from "../../../contracts/interfaces/IPaymentChannels.sol";
import { TransferFailed } from "../../../contracts/libraries/SafeErc20.sol";
import { InvalidSignature } from "../../../contracts/libraries/Signatures.sol";
import { FeeToken, ReentrantToken, RefusingToken, SilentToken } from "../../../contracts/mocks/Tokens.sol";

/// given an open channel
///   when the receiver redeems or claims a voucher
///     ├── it is paid the difference to what was claimed, once
///     ├── a voucher that adds nothing is refused (redeem) or skipped (claim)
///     ├── it is never paid beyond the deposit or the voucher's ceiling
///     └── one transfer pays many channels of one receiver
///   when the voucher is of another channel, contract, chain or key
///     └── it is refused
///   when the payer wants out
///     ├── it waits for the delay, and the receiver can still claim meanwhile
///     └── it gets exactly what nobody has claimed, without anyone's help
///   when the receiver refunds, or signs that it does
///     └── the payer gets it back; the signature works once
/// given a strange token
///   └── a fee, a refusal or a re-entry does not bring the books out of balance
contract PaymentChannelsTest is PaymentFixture {
    function setUp() public {
        _start();
    }

    function test_a_voucher_pays_the_difference_once(uint128 deposit, uint128 first, uint128 second) public {
        deposit = uint128(bound(deposit, 2, 1e30));
        first = uint128(bound(first, 1, deposit - 1));
        second = uint128(bound(second, first + 1, deposit));
        IPaymentChannels.ChannelConfig memory config = _open(1, deposit);
        vm.startPrank(receiver);
        channels.redeem(_redemption(config, first));
        assertEq(token.balanceOf(receiver), first);
        channels.redeem(_redemption(config, second));
        assertEq(token.balanceOf(receiver), second);
        IPaymentChannels.Redemption[] memory again = _redemption(config, first);
        vm.expectRevert(abi.encodeWithSelector(IPaymentChannels.VoucherRegressed.selector, second, first));
        channels.redeem(again);
    }

    function test_redeeming_and_settling_never_pay_twice(uint128 deposit, uint128 one, uint128 two) public {
        deposit = uint128(bound(deposit, 2, 1e30));
        one = uint128(bound(one, 1, deposit - 1));
        two = uint128(bound(two, one + 1, deposit));
        IPaymentChannels.ChannelConfig memory config = _open(1, deposit);
        vm.startPrank(receiver);
        channels.claim(_claims(config, one, one));
        channels.redeem(_redemption(config, two));
        channels.settle(receiver, address(token));
        channels.settle(receiver, address(token));
        assertEq(token.balanceOf(receiver), two);
    }

    function test_a_voucher_over_the_deposit_is_refused(uint128 deposit, uint128 amount) public {
        deposit = uint128(bound(deposit, 1, 1e30));
        amount = uint128(bound(amount, deposit + 1, type(uint128).max));
        IPaymentChannels.ChannelConfig memory config = _open(1, deposit);
        IPaymentChannels.Redemption[] memory rows = _redemption(config, amount);
        vm.prank(receiver);
        vm.expectRevert(IPaymentChannels.ClaimExceedsBalance.selector);
        channels.redeem(rows);
    }

    function test_a_claim_over_the_ceiling_is_refused(uint128 ceiling) public {
        ceiling = uint128(bound(ceiling, 1, 1e20));
        IPaymentChannels.ChannelConfig memory config = _open(1, 1e30);
        IPaymentChannels.VoucherClaim[] memory rows = _claims(config, ceiling, ceiling + 1);
        vm.prank(receiver);
        vm.expectRevert(IPaymentChannels.ClaimExceedsCeiling.selector);
        channels.claim(rows);
    }

    function test_only_the_receivers_side_claims(address stranger) public {
        vm.assume(stranger != receiver);
        IPaymentChannels.ChannelConfig memory config = _open(1, 10);
        IPaymentChannels.Redemption[] memory rows = _redemption(config, 5);
        IPaymentChannels.VoucherClaim[] memory claims = _claims(config, 5, 5);
        vm.startPrank(stranger);
        vm.expectRevert(IPaymentChannels.NotAuthorizedToClaim.selector);
        channels.redeem(rows);
        vm.expectRevert(IPaymentChannels.NotAuthorizedToClaim.selector);
        channels.claim(claims);
    }

    function test_a_voucher_of_another_channel_is_refused() public {
        IPaymentChannels.ChannelConfig memory config = _open(1, 10);
        IPaymentChannels.ChannelConfig memory other = _open(2, 10);
        IPaymentChannels.Redemption[] memory rows = _redemption(config, 5);
        rows[0].config = other;
        vm.prank(receiver);
        vm.expectRevert(InvalidSignature.selector);
        channels.redeem(rows);
    }

    function test_a_voucher_of_another_chain_is_refused() public {
        IPaymentChannels.ChannelConfig memory config = _open(1, 10);
        IPaymentChannels.Redemption[] memory rows = _redemption(config, 5);
        vm.chainId(block.chainid + 1);
        vm.startPrank(payer);
        channels.open(config, 10);
        vm.stopPrank();
        vm.prank(receiver);
        vm.expectRevert(InvalidSignature.selector);
        channels.redeem(rows);
    }

    function test_a_voucher_of_another_contract_is_refused() public {
        IPaymentChannels.ChannelConfig memory config = _open(1, 10);
        IPaymentChannels.Redemption[] memory rows = _redemption(config, 5);
        PaymentChannels other = new PaymentChannels(address(0));
        vm.startPrank(payer);
        token.approve(address(other), 10);
        other.open(config, 10);
        vm.stopPrank();
        vm.prank(receiver);
        vm.expectRevert(InvalidSignature.selector);
        other.redeem(rows);
    }

    function test_a_voucher_of_another_key_is_refused(uint256 seed) public {
        uint256 key = bound(seed, 1, SECP256K1_ORDER - 1);
        vm.assume(key != payerKey);
        IPaymentChannels.ChannelConfig memory config = _open(1, 10);
        IPaymentChannels.Redemption[] memory rows = _redemption(config, 5);
        rows[0].signature = signed(key, channels.getVoucherDigest(channels.getChannelId(config), 5));
        vm.prank(receiver);
        vm.expectRevert(InvalidSignature.selector);
        channels.redeem(rows);
    }

    function test_one_call_redeems_many_channels(uint8 size) public {
        uint256 count = bound(size, 1, 20);
        IPaymentChannels.Redemption[] memory rows = new IPaymentChannels.Redemption[](count);
        for (uint256 i = 0; i < count; ++i) {
            rows[i] = _redemption(_open(i, 100), uint128(i + 1))[0];
        }
        vm.prank(receiver);
        channels.redeem(rows);
        assertEq(token.balanceOf(receiver), count * (count + 1) / 2);
    }

    function test_one_call_pays_each_receiver_its_own() public {
        address other = makeAddr("other");
        IPaymentChannels.ChannelConfig memory config = _config(2);
        (config.receiver, config.receiverAuthorizer) = (other, receiver);
        vm.prank(payer);
        channels.open(config, 10);
        IPaymentChannels.Redemption[] memory rows = new IPaymentChannels.Redemption[](3);
        rows[0] = _redemption(_open(1, 10), 3)[0];
        rows[1] = _redemption(config, 4)[0];
        rows[2] = _redemption(_open(3, 10), 5)[0];
        vm.prank(receiver);
        channels.redeem(rows);
        assertEq(token.balanceOf(receiver), 8);
        assertEq(token.balanceOf(other), 4);
    }

    // -------------------------------------------------------------------- leaving

    function test_the_payer_gets_out_alone_after_the_delay(uint128 deposit, uint128 claimed) public {
        deposit = uint128(bound(deposit, 2, 1e30));
        claimed = uint128(bound(claimed, 1, deposit - 1));
        IPaymentChannels.ChannelConfig memory config = _open(1, deposit);
        vm.prank(payer);
        channels.initiateWithdraw(config, deposit);
        IPaymentChannels.Redemption[] memory rows = _redemption(config, claimed);
        vm.prank(receiver);
        channels.redeem(rows);
        vm.startPrank(payer);
        vm.expectRevert(IPaymentChannels.WithdrawDelayNotElapsed.selector);
        channels.finalizeWithdraw(config);
        vm.warp(block.timestamp + 900);
        channels.finalizeWithdraw(config);
        assertEq(token.balanceOf(payer), 1e30 - claimed);
        vm.expectRevert(IPaymentChannels.WithdrawalNotPending.selector);
        channels.finalizeWithdraw(config);
    }

    function test_only_the_payers_side_withdraws(address stranger) public {
        vm.assume(stranger != payer);
        IPaymentChannels.ChannelConfig memory config = _open(1, 10);
        vm.startPrank(stranger);
        vm.expectRevert(IPaymentChannels.InvalidChannel.selector);
        channels.initiateWithdraw(config, 5);
        vm.expectRevert(IPaymentChannels.NotAuthorizedToFinalizeWithdraw.selector);
        channels.finalizeWithdraw(config);
    }

    function test_a_refund_goes_to_the_payer(uint128 deposit, uint128 amount) public {
        deposit = uint128(bound(deposit, 1, 1e30));
        amount = uint128(bound(amount, 1, type(uint128).max));
        IPaymentChannels.ChannelConfig memory config = _open(1, deposit);
        vm.prank(receiver);
        channels.refund(config, amount);
        assertEq(token.balanceOf(payer), 1e30 - deposit + (amount < deposit ? amount : deposit));
    }

    function test_a_signed_refund_works_once() public {
        IPaymentChannels.ChannelConfig memory config = _open(1, 10);
        bytes32 channelId = channels.getChannelId(config);
        bytes memory signature = signed(keyOf("receiver"), channels.getRefundDigest(channelId, 0, 4));
        channels.refundWithSignature(config, 4, 0, signature);
        assertEq(token.balanceOf(payer), 1e30 - 6);
        vm.expectRevert(IPaymentChannels.InvalidRefundNonce.selector);
        channels.refundWithSignature(config, 4, 0, signature);
        vm.expectRevert(InvalidSignature.selector);
        channels.refundWithSignature(config, 4, 1, signature);
    }

    function test_claims_by_signature_can_be_sent_by_anyone(address sender, uint128 amount) public {
        amount = uint128(bound(amount, 1, 10));
        IPaymentChannels.ChannelConfig memory config = _open(1, 10);
        IPaymentChannels.VoucherClaim[] memory rows = _claims(config, 10, amount);
        bytes memory signature = signed(keyOf("receiver"), channels.getClaimBatchDigest(rows));
        vm.prank(sender);
        channels.claimWithSignature(rows, signature);
        rows[0].totalClaimed = 10;
        vm.assume(amount != 10);
        vm.expectRevert(InvalidSignature.selector);
        channels.claimWithSignature(rows, signature);
    }

    // ------------------------------------------------------------------- deposits

    function test_terms_must_be_whole_and_in_bounds(uint40 delay) public {
        vm.assume(delay < 900 || delay > 30 days);
        IPaymentChannels.ChannelConfig memory config = _config(1);
        config.withdrawDelay = delay;
        vm.startPrank(payer);
        vm.expectRevert(IPaymentChannels.WithdrawDelayOutOfRange.selector);
        channels.open(config, 1);
        config = _config(1);
        config.receiver = address(0);
        vm.expectRevert(IPaymentChannels.InvalidChannel.selector);
        channels.open(config, 1);
        config = _config(1);
        vm.expectRevert(IPaymentChannels.ZeroDeposit.selector);
        channels.open(config, 0);
    }

    function _core() internal returns (CoreToken core, IPaymentChannels.ChannelConfig memory config) {
        core = new CoreToken(address(this), address(this), address(this), 1, 0, 0, payer, 1e24);
        config = _config(1);
        config.token = address(core);
    }

    function _receive(CoreToken core, address to, uint256 value, bytes32 nonce)
        internal
        view
        returns (bytes memory)
    {
        bytes32 typehash = keccak256(
            "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );
        bytes32 structHash = keccak256(abi.encode(typehash, payer, to, value, 0, type(uint256).max, nonce));
        return signed(payerKey, keccak256(abi.encodePacked(hex"1901", core.DOMAIN_SEPARATOR(), structHash)));
    }

    function test_a_signature_opens_without_an_allowance(uint128 amount, uint256 salt) public {
        amount = uint128(bound(amount, 1, 1e24));
        (CoreToken core, IPaymentChannels.ChannelConfig memory config) = _core();
        bytes32 nonce = keccak256(abi.encode(channels.getChannelId(config), salt));
        bytes memory signature = _receive(core, address(channels), amount, nonce);
        channels.openWithAuthorization(config, amount, 0, type(uint256).max, salt, signature);
        assertEq(core.balanceOf(address(channels)), amount);
    }

    function test_a_collector_deposits_by_signature(uint128 amount, uint256 salt) public {
        amount = uint128(bound(amount, 1, 1e24));
        (CoreToken core, IPaymentChannels.ChannelConfig memory config) = _core();
        Erc3009Collector collector = new Erc3009Collector(address(channels));
        bytes32 nonce = keccak256(abi.encode(channels.getChannelId(config), salt));
        bytes memory signature = _receive(core, address(collector), amount, nonce);
        bytes memory data = abi.encode(uint256(0), type(uint256).max, salt, signature);
        channels.deposit(config, amount, address(collector), data);
        (uint128 balance,) = channels.channels(channels.getChannelId(config));
        assertEq(balance, amount);
        vm.expectRevert(
            abi.encodeWithSelector(Erc3009Collector.NotChannels.selector, address(channels), address(this))
        );
        collector.collect(payer, address(core), amount, 0, data);
    }

    function test_a_collector_that_brings_nothing_is_refused() public {
        IPaymentChannels.ChannelConfig memory config = _config(1);
        vm.mockCall(address(77), bytes(""), bytes(""));
        vm.etch(address(77), hex"00");
        vm.expectRevert(IPaymentChannels.DepositCollectionFailed.selector);
        channels.deposit(config, 5, address(77), "");
    }

    function test_a_token_that_takes_a_fee_is_refused(uint128 amount) public {
        amount = uint128(bound(amount, 100, 1e30));
        FeeToken fee = new FeeToken();
        fee.mint(payer, amount);
        IPaymentChannels.ChannelConfig memory config = _config(1);
        config.token = address(fee);
        vm.startPrank(payer);
        fee.approve(address(channels), amount);
        vm.expectRevert(abi.encodeWithSelector(TransferFailed.selector, address(fee)));
        channels.open(config, amount);
    }

    function test_a_token_that_returns_nothing_works(uint128 amount) public {
        amount = uint128(bound(amount, 1, 1e30));
        SilentToken silent = new SilentToken();
        silent.mint(payer, amount);
        IPaymentChannels.ChannelConfig memory config = _config(1);
        config.token = address(silent);
        vm.prank(payer);
        channels.open(config, amount);
        IPaymentChannels.Redemption[] memory rows = _redemption(config, amount);
        vm.prank(receiver);
        channels.redeem(rows);
        assertEq(silent.balanceOf(receiver), amount);
    }

    function test_a_token_that_refuses_opens_nothing() public {
        RefusingToken refusing = new RefusingToken();
        IPaymentChannels.ChannelConfig memory config = _config(1);
        config.token = address(refusing);
        vm.prank(payer);
        vm.expectRevert(abi.encodeWithSelector(TransferFailed.selector, address(refusing)));
        channels.open(config, 1);
    }

    function test_a_token_that_calls_back_gets_nowhere() public {
        ReentrantToken evil = new ReentrantToken();
        evil.mint(payer, 10);
        IPaymentChannels.ChannelConfig memory config = _config(1);
        config.token = address(evil);
        vm.startPrank(payer);
        evil.approve(address(channels), 10);
        channels.open(config, 10);
        vm.stopPrank();
        evil.arm(address(channels), abi.encodeCall(PaymentChannels.settle, (receiver, address(evil))));
        IPaymentChannels.Redemption[] memory rows = _redemption(config, 5);
        vm.prank(receiver);
        vm.expectRevert(abi.encodeWithSelector(TransferFailed.selector, address(evil)));
        channels.redeem(rows);
    }

    function test_a_multicall_is_all_or_nothing() public {
        IPaymentChannels.ChannelConfig memory config = _config(1);
        bytes[] memory calls = new bytes[](2);
        calls[0] = abi.encodeCall(IPaymentChannels.open, (config, 5));
        calls[1] = abi.encodeCall(IPaymentChannels.open, (config, 0));
        vm.startPrank(payer);
        vm.expectRevert(IPaymentChannels.ZeroDeposit.selector);
        channels.multicall(calls);
        calls[1] = abi.encodeCall(IPaymentChannels.open, (config, 6));
        channels.multicall(calls);
        (uint128 balance,) = channels.channels(channels.getChannelId(config));
        assertEq(balance, 11);
    }
}
