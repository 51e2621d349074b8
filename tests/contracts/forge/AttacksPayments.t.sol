// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { RebasingToken, Schemer, StoppableToken } from "./AttackMocks.sol";
import { PaymentFixture } from "./PaymentFixture.sol";
import { CoreToken } from "../../../contracts/CoreToken.sol";
import { PaymentChannels } from "../../../contracts/PaymentChannels.sol";
import { IPaymentChannels } from "../../../contracts/interfaces/IPaymentChannels.sol";
import { TransferFailed } from "../../../contracts/libraries/SafeErc20.sol";
import { InvalidSignature } from "../../../contracts/libraries/Signatures.sol";
import { TokenTypes } from "../../../contracts/libraries/TokenTypes.sol";
import {
    BombToken,
    BombWallet,
    HookedFeeToken,
    StingyToken
} from "../../../contracts/mocks/HostileTokens.sol";
import { BlockingToken, MintableToken } from "../../../contracts/mocks/Tokens.sol";

/// given a token that is not what it should be
///   ├── it cannot pass a deposit off as another one, nor burn its caller's gas by what it returns
///   ├── a payout that it refuses uses up nothing: it can be tried again
///   └── it harms nobody who does not use it
/// given money that nobody deposited
///   └── it changes nothing
/// given deadlines and delays
///   └── they are meant to the second
contract AttacksPaymentsTest is PaymentFixture {
    /// A token that returns a megabyte needs two million gas for itself; to copy it would cost as much again.
    uint256 internal constant BOMB_GAS = 3_000_000;
    bytes4 internal constant YES = 0x1626ba7e;

    function setUp() public {
        _start();
    }

    function _openIn(MintableToken coin, uint256 salt, uint128 amount)
        internal
        returns (IPaymentChannels.ChannelConfig memory config)
    {
        config = _config(salt);
        config.token = address(coin);
        _fund(config, amount);
    }

    function _fund(IPaymentChannels.ChannelConfig memory config, uint128 amount) internal {
        MintableToken coin = MintableToken(config.token);
        coin.mint(payer, amount);
        vm.startPrank(payer);
        coin.approve(address(channels), amount);
        channels.open(config, amount);
        vm.stopPrank();
    }

    function _redeem(IPaymentChannels.ChannelConfig memory config, uint128 amount) internal {
        IPaymentChannels.Redemption[] memory rows = _redemption(config, amount);
        vm.prank(config.receiver);
        channels.redeem(rows);
    }

    function _redeemFails(IPaymentChannels.ChannelConfig memory config, uint128 amount) internal {
        IPaymentChannels.Redemption[] memory rows = _redemption(config, amount);
        vm.prank(config.receiver);
        vm.expectRevert(abi.encodeWithSelector(TransferFailed.selector, config.token));
        channels.redeem(rows);
    }

    function _withdraw(IPaymentChannels.ChannelConfig memory config, uint128 amount, uint256 now_) internal {
        vm.startPrank(payer);
        channels.initiateWithdraw(config, amount);
        vm.warp(now_ + config.withdrawDelay);
        channels.finalizeWithdraw(config);
        vm.stopPrank();
    }

    // --------------------------------------------------------------------------------------- hostile tokens

    function _schemers() internal returns (HookedFeeToken coin, Schemer thief, Schemer accomplice) {
        coin = new HookedFeeToken();
        (thief, accomplice) = (new Schemer(coin, address(channels)), new Schemer(coin, address(channels)));
        coin.mint(address(thief), 1000);
        coin.mint(address(accomplice), 1000);
        coin.exempt(address(accomplice));
    }

    function _deposit(address coin, uint256 salt, uint128 amount) internal view returns (bytes memory) {
        IPaymentChannels.ChannelConfig memory config = _config(salt);
        config.token = coin;
        return abi.encodeCall(IPaymentChannels.open, (config, amount));
    }

    /// The inner tokens would stand for those that the token kept of the outer ones: two deposits, paid once.
    function test_a_deposit_within_a_deposit_covers_no_fee(bool hides) public {
        (HookedFeeToken coin, Schemer thief, Schemer accomplice) = _schemers();
        coin.startFee();
        thief.plan(accomplice, _deposit(address(coin), 2, 1), hides);
        vm.expectRevert(abi.encodeWithSelector(TransferFailed.selector, address(coin)));
        thief.act(_deposit(address(coin), 1, 100));
        assertEq(coin.balanceOf(address(channels)), 0);
    }

    function test_who_comes_back_during_a_deposit_meets_the_lock() public {
        (HookedFeeToken coin, Schemer thief, Schemer accomplice) = _schemers();
        bytes[] memory calls = new bytes[](1);
        calls[0] = _deposit(address(coin), 2, 1);
        thief.plan(accomplice, abi.encodeCall(PaymentChannels.multicall, (calls)), true);
        thief.act(_deposit(address(coin), 1, 100));
        assertEq(bytes32(thief.reason()), bytes32(IPaymentChannels.Reentered.selector));
        assertEq(coin.balanceOf(address(channels)), 100);
        IPaymentChannels.ChannelConfig memory inner = _config(2);
        inner.token = address(coin);
        (uint128 balance,) = channels.channels(channels.getChannelId(inner));
        assertEq(balance, 0);
    }

    function test_a_token_that_answers_with_a_megabyte_costs_its_caller_nothing() public {
        IPaymentChannels.ChannelConfig memory config = _openIn(new BombToken(), 1, 100);
        IPaymentChannels.Redemption[] memory rows = _redemption(config, 60);
        vm.prank(receiver);
        channels.redeem{ gas: BOMB_GAS }(rows);
        assertEq(MintableToken(config.token).balanceOf(receiver), 60);
    }

    function _walletChannel(bytes4 word) internal returns (IPaymentChannels.ChannelConfig memory config) {
        config = _config(7);
        (config.payer, config.payerAuthorizer) = (address(new BombWallet(word)), address(0));
        token.mint(address(this), 100);
        token.approve(address(channels), 100);
        channels.open(config, 100);
    }

    function test_a_wallet_that_answers_with_a_megabyte_is_still_understood(bool agrees) public {
        IPaymentChannels.ChannelConfig memory config = _walletChannel(agrees ? YES : bytes4(0));
        IPaymentChannels.Redemption[] memory rows = new IPaymentChannels.Redemption[](1);
        rows[0] = IPaymentChannels.Redemption(config, 60, hex"01");
        vm.prank(receiver);
        if (!agrees) vm.expectRevert(InvalidSignature.selector);
        channels.redeem{ gas: BOMB_GAS }(rows);
        assertEq(token.balanceOf(receiver), agrees ? 60 : 0);
    }

    function test_a_wallet_that_burns_gas_does_not_hold_up_a_batch() public {
        IPaymentChannels.ChannelConfig memory bad = _walletChannel(YES);
        IPaymentChannels.ChannelConfig memory good = _config(8);
        good.payerAuthorizer = address(0);
        vm.prank(payer);
        channels.open(good, 100);
        bytes memory head =
            abi.encodePacked(uint8(2), uint8(32), uint8(12), uint16(2), uint24(900), address(token));
        bytes memory rows = abi.encodePacked(bad.payer, bad.salt, uint96(60), uint16(1), hex"01");
        rows = abi.encodePacked(rows, good.payer, good.salt, uint96(60), uint16(64), _voucher(good, 60));
        vm.prank(receiver);
        (bool success,) = address(channels).call{ gas: 500_000 }(
            bytes.concat(IPaymentChannels.redeemGroupsBrief.selector, head, rows)
        );
        assertTrue(success);
        assertEq(token.balanceOf(receiver), 60);
    }

    function test_a_voucher_outlives_a_token_that_says_no() public {
        StingyToken coin = new StingyToken();
        IPaymentChannels.ChannelConfig memory config = _openIn(coin, 1, 100);
        _redeemFails(config, 60);
        coin.open();
        _redeem(config, 60);
        assertEq(coin.balanceOf(receiver), 60);
    }

    function test_a_voucher_outlives_a_token_that_stands_still() public {
        StoppableToken coin = new StoppableToken();
        IPaymentChannels.ChannelConfig memory config = _openIn(coin, 1, 100);
        coin.stop(true);
        _redeemFails(config, 60);
        coin.stop(false);
        _redeem(config, 60);
        assertEq(coin.balanceOf(receiver), 60);
    }

    function test_a_receiver_that_the_token_blocks_keeps_nobody_else_from_its_money() public {
        BlockingToken coin = new BlockingToken();
        IPaymentChannels.ChannelConfig memory config = _openIn(coin, 1, 100);
        coin.setBlocked(receiver, true);
        _redeemFails(config, 60);
        _withdraw(config, 100, 1_700_000_000);
        assertEq(coin.balanceOf(payer), 100);
        IPaymentChannels.ChannelConfig memory other = config;
        other.receiver = makeAddr("other receiver");
        _fund(other, 100);
        _redeem(other, 100);
        assertEq(coin.balanceOf(other.receiver), 100);
    }

    function test_a_token_that_shrinks_costs_only_who_used_it(uint256 percent) public {
        percent = bound(percent, 0, 99);
        RebasingToken coin = new RebasingToken();
        IPaymentChannels.ChannelConfig memory shrinking = _openIn(coin, 1, 100);
        IPaymentChannels.ChannelConfig memory solid = _open(2, 100);
        coin.rebase(address(channels), percent);
        // Who asks for what is there gets it; no other token pays for what is not.
        if (percent > 0) _redeem(shrinking, uint128(percent));
        IPaymentChannels.Redemption[] memory rows = _redemption(shrinking, 100);
        vm.prank(receiver);
        vm.expectRevert();
        channels.redeem(rows);
        _redeem(solid, 100);
        assertEq(token.balanceOf(receiver), 100);
        assertEq(coin.balanceOf(receiver), percent);
    }

    function test_a_token_that_grows_credits_nobody(uint128 amount, uint256 percent) public {
        amount = uint128(bound(amount, 1, 1e30));
        RebasingToken coin = new RebasingToken();
        IPaymentChannels.ChannelConfig memory config = _openIn(coin, 1, amount);
        coin.rebase(address(channels), bound(percent, 101, 1000));
        _openIn(coin, 1, amount);
        (uint128 balance,) = channels.channels(channels.getChannelId(config));
        assertEq(balance, 2 * amount);
        _redeem(config, 2 * amount);
        assertEq(coin.balanceOf(receiver), 2 * uint256(amount));
    }

    /// The contract knows base units only, so the number of decimals cannot matter.
    function test_a_token_of_six_decimals_is_paid_to_the_last_unit(uint64 deposited, uint64 earned) public {
        deposited = uint64(bound(deposited, 2, 1e12));
        earned = uint64(bound(earned, 1, deposited - 1));
        MintableToken dollars = new MintableToken();
        IPaymentChannels.ChannelConfig memory config = _openIn(dollars, 1, deposited);
        _redeem(config, earned);
        _withdraw(config, deposited - earned, 1_700_000_000);
        assertEq(dollars.balanceOf(receiver), earned);
        assertEq(dollars.balanceOf(payer), deposited - earned);
        assertEq(dollars.balanceOf(address(channels)), 0);
    }

    function test_where_no_token_is_nothing_is_deposited(address place) public {
        vm.assume(place.code.length == 0 && uint160(place) > 0x200);
        IPaymentChannels.ChannelConfig memory config = _config(1);
        config.token = place;
        vm.expectRevert(abi.encodeWithSelector(TransferFailed.selector, place));
        channels.open(config, 1);
    }

    // --------------------------------------------------------------------------- money that nobody deposited

    function test_ether_and_tokens_that_are_forced_in_change_nothing(uint96 gift) public {
        IPaymentChannels.ChannelConfig memory config = _open(1, 100);
        vm.deal(address(channels), gift);
        token.mint(address(channels), gift);
        vm.deal(address(this), 1);
        (bool accepted,) = address(channels).call{ value: 1 }("");
        assertFalse(accepted);
        address idle = address(new IdleCollector());
        vm.expectRevert(IPaymentChannels.DepositCollectionFailed.selector);
        channels.deposit(config, 1, idle, "");
        _redeem(config, 60);
        _withdraw(config, 40, 1_700_000_000);
        assertEq(token.balanceOf(receiver), 60);
        assertEq(token.balanceOf(address(channels)), gift);
        assertEq(address(channels).balance, gift);
    }

    // ----------------------------------------------------------------------------------------- to the second

    function test_a_withdrawal_ends_in_the_second_of_its_delay_and_not_before() public {
        IPaymentChannels.ChannelConfig memory config = _open(1, 100);
        vm.startPrank(payer);
        channels.initiateWithdraw(config, 100);
        vm.warp(1_700_000_899);
        vm.expectRevert(IPaymentChannels.WithdrawDelayNotElapsed.selector);
        channels.finalizeWithdraw(config);
        vm.stopPrank();
        _redeem(config, 60); // the receiver's last second
        vm.warp(1_700_000_900);
        vm.prank(payer);
        channels.finalizeWithdraw(config);
        assertEq(token.balanceOf(receiver), 60);
        assertEq(token.balanceOf(payer), 1e30 - 60);
    }

    // ----------------------------------------------------------------------------------------- front-running

    function test_a_permit_that_was_sent_first_does_no_harm_to_a_channel(bool sentBefore) public {
        CoreToken core = new CoreToken(address(this), address(this), address(this), 1, 1, 0, payer, 1000);
        IPaymentChannels.ChannelConfig memory config = _config(1);
        config.token = address(core);
        bytes32 structHash =
            keccak256(abi.encode(TokenTypes.PERMIT, payer, address(channels), 100, 0, type(uint256).max));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", core.DOMAIN_SEPARATOR(), structHash));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(payerKey, digest);
        if (sentBefore) core.permit(payer, address(channels), 100, type(uint256).max, v, r, s);
        vm.prank(payer);
        channels.openWithPermit(config, 100, type(uint256).max, v, r, s);
        assertEq(core.balanceOf(address(channels)), 100);
    }

    /// Each field of the terms has 32 bytes of its own under the hash: bytes cannot move from one to the
    /// next.
    function test_other_terms_are_another_payment_channel(uint8 field, bytes32 other) public view {
        IPaymentChannels.ChannelConfig memory one = _config(1);
        IPaymentChannels.ChannelConfig memory two = _config(1);
        address place = address(uint160(uint256(other)));
        if (field % 7 == 0) two.payer = place;
        if (field % 7 == 1) two.payerAuthorizer = place;
        if (field % 7 == 2) two.receiver = place;
        if (field % 7 == 3) two.receiverAuthorizer = place;
        if (field % 7 == 4) two.token = place;
        if (field % 7 == 5) two.withdrawDelay = uint40(uint256(other));
        if (field % 7 == 6) two.salt = other;
        bool same = keccak256(abi.encode(one)) == keccak256(abi.encode(two));
        assertTrue((channels.getChannelId(one) == channels.getChannelId(two)) == same);
    }
}

/// A collector that brings nothing.
contract IdleCollector {
    function collect(address, address, uint256, bytes32, bytes calldata) external { }
}
