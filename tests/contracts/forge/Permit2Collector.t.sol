// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "./Base.sol";
import { CoreToken } from "../../../contracts/CoreToken.sol";
import { PaymentChannels } from "../../../contracts/PaymentChannels.sol";
import { Permit2Collector } from "../../../contracts/collectors/Permit2Collector.sol";
import { IPaymentChannels } from "../../../contracts/interfaces/IPaymentChannels.sol";
import { IPermit2 } from "../../../contracts/interfaces/IPermit2.sol";
import { TokenTypes } from "../../../contracts/libraries/TokenTypes.sol";
import { MockPermit2 } from "../../../contracts/mocks/Permit2.sol";
import { FeeToken, MintableToken } from "../../../contracts/mocks/Tokens.sol";

/// given a payer that has approved Permit2
///   ├── when it signs a deposit into a channel
///   │   ├── it moves exactly this amount into exactly this channel, whoever sends it
///   │   └── it does so once
///   └── when anything signed is changed: nothing moves
/// given a payer that has approved nobody
///   ├── an ERC-2612 permit in the same deposit stands for the approval
///   └── a permit that somebody else has sent first does no harm
/// given anyone but the channel contract: it collects nothing
contract Permit2CollectorTest is Test {
    bytes32 internal constant TYPEHASH = keccak256(
        "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,DepositWitness witness)DepositWitness(bytes32 channelId)TokenPermissions(address token,uint256 amount)"
    );

    PaymentChannels internal channels;
    Permit2Collector internal collector;
    MockPermit2 internal permit2;
    CoreToken internal core;
    MintableToken internal plain;
    uint256 internal payerKey = keyOf("payer");
    address internal payer = makeAddr("payer");

    function setUp() public {
        vm.warp(1_700_000_000);
        channels = new PaymentChannels(address(0));
        permit2 = new MockPermit2();
        collector = new Permit2Collector(address(channels), address(permit2));
        core = new CoreToken(address(0), address(0), address(0), 1, 0, 0, payer, 1e30);
        plain = new MintableToken();
        plain.mint(payer, 1e30);
        vm.prank(payer);
        plain.approve(address(permit2), type(uint256).max);
    }

    function test_a_signature_deposits_into_its_channel_whoever_sends_it(
        uint128 amount,
        uint256 nonce,
        address sender
    ) public {
        amount = uint128(bound(amount, 1, 1e30));
        IPaymentChannels.ChannelConfig memory config = _config(address(plain), 1);
        bytes memory data = _data(config, amount, nonce, "");
        vm.prank(sender);
        channels.deposit(config, amount, address(collector), data);
        assertEq(_balance(config), amount);
        assertEq(plain.balanceOf(address(channels)), amount);
        assertEq(plain.balanceOf(address(collector)), 0);
    }

    function test_a_signature_deposits_once() public {
        IPaymentChannels.ChannelConfig memory config = _config(address(plain), 1);
        bytes memory data = _data(config, 100, 7, "");
        channels.deposit(config, 100, address(collector), data);
        vm.expectRevert(MockPermit2.InvalidNonce.selector);
        channels.deposit(config, 100, address(collector), data);
    }

    function test_a_signature_is_good_for_no_other_channel(uint256 salt) public {
        vm.assume(salt != 1);
        bytes memory data = _data(_config(address(plain), 1), 100, 7, "");
        vm.expectRevert(MockPermit2.InvalidSigner.selector);
        channels.deposit(_config(address(plain), salt), 100, address(collector), data);
    }

    function test_a_signature_is_good_for_no_other_amount(uint128 amount) public {
        amount = uint128(bound(amount, 1, 1e30));
        vm.assume(amount != 100);
        IPaymentChannels.ChannelConfig memory config = _config(address(plain), 1);
        bytes memory data = _data(config, 100, 7, "");
        vm.expectRevert(MockPermit2.InvalidSigner.selector);
        channels.deposit(config, amount, address(collector), data);
    }

    function test_a_signature_is_good_for_no_other_collector() public {
        IPaymentChannels.ChannelConfig memory config = _config(address(plain), 1);
        bytes memory data = _data(config, 100, 7, "");
        Permit2Collector other = new Permit2Collector(address(channels), address(permit2));
        vm.expectRevert(MockPermit2.InvalidSigner.selector);
        channels.deposit(config, 100, address(other), data);
    }

    function test_a_signature_is_good_on_no_other_chain(uint64 chainId) public {
        vm.assume(chainId != 0 && chainId != block.chainid);
        IPaymentChannels.ChannelConfig memory config = _config(address(plain), 1);
        bytes memory data = _data(config, 100, 7, "");
        vm.chainId(chainId);
        vm.expectRevert(MockPermit2.InvalidSigner.selector);
        channels.deposit(config, 100, address(collector), data);
    }

    function test_a_signature_ends_after_its_deadline() public {
        IPaymentChannels.ChannelConfig memory config = _config(address(plain), 1);
        bytes memory data = _data(config, 100, 7, "");
        vm.warp(block.timestamp + 1 hours);
        channels.deposit(config, 100, address(collector), data);
        data = _data(config, 100, 8, "");
        uint256 deadline = block.timestamp + 1 hours;
        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(MockPermit2.SignatureExpired.selector, deadline));
        channels.deposit(config, 100, address(collector), data);
    }

    function test_nobody_but_the_channel_contract_collects(address caller) public {
        vm.assume(caller != address(channels));
        IPaymentChannels.ChannelConfig memory config = _config(address(plain), 1);
        bytes memory data = _data(config, 100, 7, "");
        bytes32 channelId = channels.getChannelId(config);
        vm.prank(caller);
        vm.expectRevert(
            abi.encodeWithSelector(Permit2Collector.NotChannels.selector, address(channels), caller)
        );
        collector.collect(payer, address(plain), 100, channelId, data);
    }

    function test_a_permit_stands_for_the_approval(uint128 amount) public {
        amount = uint128(bound(amount, 1, 1e30));
        IPaymentChannels.ChannelConfig memory config = _config(address(core), 1);
        bytes memory data = _data(config, amount, 7, _permit(amount));
        channels.deposit(config, amount, address(collector), data);
        assertEq(_balance(config), amount);
        assertEq(core.allowance(payer, address(permit2)), 0);
    }

    function test_a_permit_that_came_before_does_no_harm() public {
        IPaymentChannels.ChannelConfig memory config = _config(address(core), 1);
        bytes memory permit = _permit(100);
        bytes memory data = _data(config, 100, 7, permit);
        (uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s) =
            abi.decode(permit, (uint256, uint256, uint8, bytes32, bytes32));
        vm.prank(makeAddr("attacker"));
        core.permit(payer, address(permit2), value, deadline, v, r, s);
        channels.deposit(config, 100, address(collector), data);
        assertEq(_balance(config), 100);
    }

    function test_without_approval_or_permit_nothing_moves() public {
        IPaymentChannels.ChannelConfig memory config = _config(address(core), 1);
        bytes memory data = _data(config, 100, 7, "");
        vm.expectRevert();
        channels.deposit(config, 100, address(collector), data);
        assertEq(_balance(config), 0);
    }

    function test_a_token_that_takes_a_fee_is_refused() public {
        FeeToken fee = new FeeToken();
        fee.mint(payer, 1000);
        vm.prank(payer);
        fee.approve(address(permit2), 1000);
        IPaymentChannels.ChannelConfig memory config = _config(address(fee), 1);
        bytes memory data = _data(config, 100, 7, "");
        vm.expectRevert(IPaymentChannels.DepositCollectionFailed.selector);
        channels.deposit(config, 100, address(collector), data);
    }

    function _config(address token, uint256 salt)
        internal
        view
        returns (IPaymentChannels.ChannelConfig memory)
    {
        address receiver = makeAddr("receiver");
        return IPaymentChannels.ChannelConfig(payer, payer, receiver, receiver, token, 900, bytes32(salt));
    }

    function _balance(IPaymentChannels.ChannelConfig memory config) internal view returns (uint256 balance) {
        (balance,) = channels.channels(channels.getChannelId(config));
    }

    /// What the payer signs for a deposit, as the collector takes it.
    function _data(
        IPaymentChannels.ChannelConfig memory config,
        uint128 amount,
        uint256 nonce,
        bytes memory permit
    ) internal view returns (bytes memory) {
        uint256 deadline = block.timestamp + 1 hours;
        bytes32 channelId = channels.getChannelId(config);
        bytes32 witness = keccak256(abi.encode(keccak256("DepositWitness(bytes32 channelId)"), channelId));
        bytes32 digest = permit2.permitDigest(
            IPermit2.PermitTransferFrom(IPermit2.TokenPermissions(config.token, amount), nonce, deadline),
            address(collector),
            witness,
            TYPEHASH
        );
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(payerKey, digest);
        return abi.encode(nonce, deadline, abi.encodePacked(r, s, v), permit);
    }

    function _permit(uint256 value) internal view returns (bytes memory) {
        uint256 deadline = block.timestamp + 1 hours;
        bytes32 structHash =
            keccak256(abi.encode(TokenTypes.PERMIT, payer, address(permit2), value, 0, deadline));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", core.DOMAIN_SEPARATOR(), structHash));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(payerKey, digest);
        return abi.encode(value, deadline, v, r, s);
    }
}
