// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Log, Test } from "./Base.sol";
import { PaymentFixture } from "./PaymentFixture.sol";
import { StateFixture } from "./StateFixture.sol";
import { CoreToken } from "../../../contracts/CoreToken.sol";
import { ICoreToken } from "../../../contracts/interfaces/ICoreToken.sol";
import { ISignedToken } from "../../../contracts/interfaces/ISignedToken.sol";
import { IPaymentChannels } from "../../../contracts/interfaces/IPaymentChannels.sol";
import { IStateChannels } from "../../../contracts/interfaces/IStateChannels.sol";
import { BlockingToken } from "../../../contracts/mocks/Tokens.sol";

/// given any change of the books
///   └── an event tells all of it: who follows the events never has to ask back
contract PaymentEventsTest is PaymentFixture {
    IPaymentChannels.ChannelConfig internal config;
    bytes32 internal channelId;

    function setUp() public {
        _start();
        config = _config(1);
        channelId = channels.getChannelId(config);
    }

    function test_a_channel_is_announced_once_and_each_deposit_with_its_sum() public {
        vm.startPrank(payer);
        vm.expectEmit(address(channels));
        emit IPaymentChannels.ChannelCreated(channelId, config);
        vm.expectEmit(address(channels));
        emit IPaymentChannels.Deposited(channelId, payer, 10, 10);
        channels.open(config, 10);
        vm.recordLogs();
        channels.open(config, 5);
        Log[] memory logs = _logsOf(address(channels));
        assertEq(logs.length, 1);
        assertEq(logs[0].topics[0], IPaymentChannels.Deposited.selector);
        assertEq(keccak256(logs[0].data), keccak256(abi.encode(5, 15)));
    }

    function test_claims_settlements_and_redemptions_tell_amount_and_total() public {
        _open(1, 10);
        IPaymentChannels.VoucherClaim[] memory claims = _claims(config, 4, 3);
        IPaymentChannels.Redemption[] memory rows = _redemption(config, 8);
        vm.startPrank(receiver);
        vm.expectEmit(address(channels));
        emit IPaymentChannels.Claimed(channelId, receiver, 3, 3);
        channels.claim(claims);
        vm.expectEmit(address(channels));
        emit IPaymentChannels.Settled(receiver, address(token), receiver, 3);
        channels.settle(receiver, address(token));
        vm.expectEmit(address(channels));
        emit IPaymentChannels.Redeemed(channelId, receiver, 5, 8);
        channels.redeem(rows);
    }

    function test_the_ways_back_tell_the_amount_and_the_end() public {
        _open(1, 10);
        vm.startPrank(payer);
        vm.expectEmit(address(channels));
        emit IPaymentChannels.WithdrawInitiated(channelId, 6, 1_700_000_900);
        channels.initiateWithdraw(config, 6);
        vm.warp(1_700_000_900);
        vm.expectEmit(address(channels));
        emit IPaymentChannels.WithdrawFinalized(channelId, payer, 6);
        channels.finalizeWithdraw(config);
        vm.stopPrank();
        vm.prank(receiver);
        vm.expectEmit(address(channels));
        emit IPaymentChannels.Refunded(channelId, receiver, 4);
        vm.expectEmit(address(channels));
        emit IPaymentChannels.ChannelClosed(channelId, config);
        channels.refund(config, 9);
    }
}

contract StateEventsTest is StateFixture {
    function setUp() public {
        _start();
    }

    function _word(uint256 deposit, uint256 balanceA, uint256 version, uint256 deadline)
        internal
        pure
        returns (uint256)
    {
        return deposit << 168 | balanceA << 80 | version << 40 | deadline;
    }

    function _words(bytes memory packed) internal pure returns (bytes32[3] memory) {
        return abi.decode(packed, (bytes32[3]));
    }

    function test_every_step_of_a_channel_is_told() public {
        IStateChannels.Terms memory terms = _terms(1);
        bytes32 channelId = channels.channelIdOf(terms);
        vm.startPrank(a);
        vm.expectEmit(address(channels));
        emit IStateChannels.ChannelOpened(_words(abi.encodePacked(_pack(terms), uint88(10), uint88(7))));
        channels.open(terms, 7, 3);
        vm.expectEmit(address(channels));
        emit IStateChannels.ChannelToppedUp(channelId, _word(15, 7, 0, 0));
        channels.topUp(terms, 5);
        vm.stopPrank();
        vm.expectEmit(address(channels));
        emit IStateChannels.ChannelChallenged(channelId, _word(15, 6, 2, 1_700_003_600));
        channels.challenge(terms, _state(terms, 2, 6));
        vm.expectEmit(address(channels));
        emit IStateChannels.ChannelChallenged(channelId, _word(15, 5, 3, 1_700_003_600));
        channels.respond(terms, _state(terms, 3, 5));
        vm.warp(1_700_003_600);
        vm.expectEmit(address(channels));
        emit IStateChannels.ChannelClosed(channelId, _word(15, 5, 3, 1_700_003_600));
        channels.finalise(terms);
    }

    function test_what_is_held_back_and_released_is_told() public {
        BlockingToken coin = new BlockingToken();
        coin.mint(a, 10);
        IStateChannels.Terms memory terms = _terms(1);
        terms.token = address(coin);
        vm.startPrank(a);
        coin.approve(address(channels), 10);
        channels.open(terms, 4, 6);
        coin.setBlocked(b, true);
        bytes memory ofB = signed(keyOf("party b"), _closeDigest(terms, 4));
        vm.expectEmit(address(channels));
        emit IStateChannels.PayoutHeld(b, address(coin), 6);
        channels.close(terms, 4, "", ofB);
        coin.setBlocked(b, false);
        vm.expectEmit(address(channels));
        emit IStateChannels.PayoutReleased(b, address(coin), 6);
        channels.withdrawHeld(b, address(coin));
    }
}

contract TokenAndBatchEventsTest is Test {
    CoreToken internal token;

    function setUp() public {
        vm.warp(1_700_000_000);
        token = new CoreToken(address(this), address(this), address(this), 60, 100, 0, address(this), 1000);
    }

    function test_roots_and_claims_are_told() public {
        address owner = address(7);
        bytes26 root = bytes26(keccak256(abi.encode(keccak256(abi.encodePacked(owner, uint128(5))))));
        vm.expectEmit(address(token));
        emit ICoreToken.RootProposed(uint256(bytes32(root)) | 1_700_000_060 << 16 | 1, 9, 50);
        token.proposeRoot(1, root, 9, 50);
        vm.expectEmit(address(token));
        emit ICoreToken.RootVetoed(1);
        token.veto(1);
        token.proposeRoot(1, root, 9, 50);
        vm.warp(1_700_000_060);
        vm.expectEmit(address(token));
        emit ICoreToken.Claimed(owner, 5, 5);
        vm.expectEmit(address(token));
        emit ISignedToken.Transfer(address(0), owner, 5);
        token.claim(owner, 5, 0, new bytes26[](0));
    }

    function test_moves_and_allowances_are_told(address to, uint256 amount) public {
        vm.assume(to != address(0));
        amount = bound(amount, 0, 1000);
        vm.expectEmit(address(token));
        emit ISignedToken.Approval(address(this), to, amount);
        token.approve(to, amount);
        vm.expectEmit(address(token));
        emit ISignedToken.Transfer(address(this), to, amount);
        assertTrue(token.transfer(to, amount));
    }
}
