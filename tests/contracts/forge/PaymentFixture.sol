// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "./Base.sol";
import { PaymentChannels } from "../../../contracts/PaymentChannels.sol";
import { IPaymentChannels } from "../../../contracts/interfaces/IPaymentChannels.sol";
import { MintableToken } from "../../../contracts/mocks/Tokens.sol";

/// A payer with tokens and an allowance, a receiver, and how to make channels, vouchers and rows of them.
abstract contract PaymentFixture is Test {
    PaymentChannels internal channels;
    MintableToken internal token;
    uint256 internal payerKey = keyOf("payer");
    address internal payer = makeAddr("payer");
    address internal receiver = makeAddr("receiver");

    function _start() internal {
        vm.warp(1_700_000_000);
        channels = new PaymentChannels(address(0));
        token = new MintableToken();
        token.mint(payer, 1e30);
        vm.prank(payer);
        token.approve(address(channels), type(uint256).max);
    }

    function _config(uint256 salt) internal view returns (IPaymentChannels.ChannelConfig memory) {
        return IPaymentChannels.ChannelConfig(
            payer, payer, receiver, receiver, address(token), 900, bytes32(salt)
        );
    }

    function _open(uint256 salt, uint128 amount)
        internal
        returns (IPaymentChannels.ChannelConfig memory config)
    {
        config = _config(salt);
        vm.prank(payer);
        channels.open(config, amount);
    }

    function _voucher(IPaymentChannels.ChannelConfig memory config, uint128 amount)
        internal
        view
        returns (bytes memory)
    {
        return signedCompact(payerKey, channels.getVoucherDigest(channels.getChannelId(config), amount));
    }

    function _redemption(IPaymentChannels.ChannelConfig memory config, uint128 amount)
        internal
        view
        returns (IPaymentChannels.Redemption[] memory rows)
    {
        rows = new IPaymentChannels.Redemption[](1);
        rows[0] = IPaymentChannels.Redemption(config, amount, _voucher(config, amount));
    }

    function _claims(IPaymentChannels.ChannelConfig memory config, uint128 ceiling, uint128 total)
        internal
        view
        returns (IPaymentChannels.VoucherClaim[] memory rows)
    {
        rows = new IPaymentChannels.VoucherClaim[](1);
        IPaymentChannels.Voucher memory voucher = IPaymentChannels.Voucher(config, ceiling);
        rows[0] = IPaymentChannels.VoucherClaim(voucher, _voucher(config, ceiling), total);
    }
}
