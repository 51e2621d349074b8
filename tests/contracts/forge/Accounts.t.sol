// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { PaymentFixture } from "./PaymentFixture.sol";
import { StateFixture } from "./StateFixture.sol";
import { IPaymentChannels } from "../../../contracts/interfaces/IPaymentChannels.sol";
import { IStateChannels } from "../../../contracts/interfaces/IStateChannels.sol";
import { HighS, InvalidSignature } from "../../../contracts/libraries/Signatures.sol";
import { DenyingWallet, KeyWallet, RevertingWallet } from "../../../contracts/mocks/Wallets.sol";

/// given an account with a key that has signed
///   when it takes on code that denies everything (EIP-7702)
///     └── what it has signed still binds it
/// given an account that is a contract (ERC-1271)
///   ├── what it agrees to counts
///   └── when it denies, reverts or answers nonsense, it has not agreed
contract PaymentAccountsTest is PaymentFixture {
    function setUp() public {
        _start();
    }

    /// A channel whose vouchers the payer itself signs, without a key of its own for that.
    function _ownChannel(address from, uint128 amount)
        internal
        returns (IPaymentChannels.ChannelConfig memory config)
    {
        config = _config(1);
        (config.payer, config.payerAuthorizer) = (from, address(0));
        vm.prank(payer);
        channels.open(config, amount);
    }

    function _redeem(IPaymentChannels.ChannelConfig memory config, uint128 amount, bytes memory signature)
        internal
    {
        IPaymentChannels.Redemption[] memory rows = new IPaymentChannels.Redemption[](1);
        rows[0] = IPaymentChannels.Redemption(config, amount, signature);
        vm.prank(receiver);
        channels.redeem(rows);
    }

    function _asWallet(bytes32 digest) internal view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(payerKey, digest);
        return abi.encode(r, s, v);
    }

    function test_a_payer_that_takes_on_code_cannot_take_its_vouchers_back(uint128 amount) public {
        amount = uint128(bound(amount, 1, 1e30));
        IPaymentChannels.ChannelConfig memory config = _ownChannel(payer, amount);
        bytes memory signature = _voucher(config, amount);
        vm.etch(payer, address(new DenyingWallet()).code);
        _redeem(config, amount, signature);
        assertEq(token.balanceOf(receiver), amount);
    }

    function test_a_payer_with_code_still_refuses_what_it_has_not_signed(uint256 seed) public {
        uint256 key = bound(seed, 1, SECP256K1_ORDER - 1);
        vm.assume(key != payerKey);
        IPaymentChannels.ChannelConfig memory config = _ownChannel(payer, 10);
        bytes32 digest = channels.getVoucherDigest(channels.getChannelId(config), 5);
        vm.etch(payer, address(new DenyingWallet()).code);
        vm.expectRevert(InvalidSignature.selector);
        this.redeem(config, 5, signed(key, digest));
    }

    /// From outside, so that the revert is that of the next call and not of a helper before it.
    function redeem(IPaymentChannels.ChannelConfig memory config, uint128 amount, bytes memory signature)
        external
    {
        _redeem(config, amount, signature);
    }

    function test_the_high_s_twin_of_a_voucher_is_refused_with_and_without_code(uint128 amount) public {
        amount = uint128(bound(amount, 1, 10));
        IPaymentChannels.ChannelConfig memory config = _ownChannel(payer, 10);
        bytes32 digest = channels.getVoucherDigest(channels.getChannelId(config), amount);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(payerKey, digest);
        bytes memory twin =
            abi.encodePacked(r, bytes32(SECP256K1_ORDER - uint256(s)), v == 27 ? uint8(28) : uint8(27));
        vm.expectRevert(HighS.selector);
        this.redeem(config, amount, twin);
        vm.etch(payer, address(new DenyingWallet()).code);
        vm.expectRevert(InvalidSignature.selector);
        this.redeem(config, amount, twin);
    }

    function test_a_contract_pays_with_what_it_agrees_to(uint128 amount) public {
        amount = uint128(bound(amount, 1, 1e30));
        IPaymentChannels.ChannelConfig memory config = _ownChannel(address(new KeyWallet(payer)), amount);
        bytes32 channelId = channels.getChannelId(config);
        _redeem(config, amount, _asWallet(channels.getVoucherDigest(channelId, amount)));
        assertEq(token.balanceOf(receiver), amount);
    }

    function test_a_contract_that_does_not_agree_does_not_pay(uint8 kind) public {
        address[4] memory wallets = [
            address(new KeyWallet(receiver)),
            address(new DenyingWallet()),
            address(new RevertingWallet()),
            address(token)
        ];
        IPaymentChannels.ChannelConfig memory config = _ownChannel(wallets[kind % 4], 10);
        bytes32 digest = channels.getVoucherDigest(channels.getChannelId(config), 5);
        vm.expectRevert(InvalidSignature.selector);
        this.redeem(config, 5, _asWallet(digest));
    }

    function test_a_contract_may_speak_for_the_receivers_side() public {
        IPaymentChannels.ChannelConfig memory config = _config(1);
        config.receiverAuthorizer = address(new KeyWallet(payer));
        vm.prank(payer);
        channels.open(config, 10);
        bytes memory signature = _asWallet(channels.getRefundDigest(channels.getChannelId(config), 0, 4));
        channels.refundWithSignature(config, 4, 0, signature);
        assertEq(token.balanceOf(payer), 1e30 - 6);
    }
}

contract StateAccountsTest is StateFixture {
    function setUp() public {
        _start();
    }

    function test_a_party_that_takes_on_code_cannot_take_its_states_back(uint88 balance) public {
        balance = uint88(bound(balance, 0, 100));
        IStateChannels.Terms memory terms = _open(1, 100, 0);
        IStateChannels.SignedState memory newest = _state(terms, 9, balance);
        IStateChannels.SignedState memory stale = _state(terms, 1, 100);
        vm.etch(a, address(new DenyingWallet()).code);
        vm.prank(a);
        channels.challenge(terms, stale);
        vm.prank(b);
        channels.respond(terms, newest);
        vm.warp(block.timestamp + PERIOD);
        channels.finalise(terms);
        assertEq(token.balanceOf(b), 100 - balance);
    }

    function test_a_contract_can_be_a_party() public {
        IStateChannels.Terms memory terms = _terms(1);
        terms.partyB = address(new KeyWallet(b));
        vm.startPrank(a);
        channels.open(terms, 10, 0);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf("party b"), _closeDigest(terms, 4));
        channels.close(terms, 4, "", abi.encode(r, s, v));
        assertEq(token.balanceOf(terms.partyB), 6);
    }
}
