// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "../Base.sol";
import { Channel, ChannelWord } from "../../../../contracts/libraries/ChannelWord.sol";

/// given the word of a channel
///   ├── its fields lie side by side and fill it: deposit 88, balance 88, version 40, deadline 40
///   ├── a field is replaced without touching the others
///   ├── it is used when anything is in it
///   └── it is due from the second of its deadline on, and never without one
contract ChannelWordTest is Test {
    using ChannelWord for Channel;

    function test_fields_lie_side_by_side(uint256 word) public pure {
        Channel channel = Channel.wrap(word);
        (uint256 deposit, uint256 balance) = (channel.deposit(), channel.balanceA());
        (uint256 version, uint256 deadline) = (channel.version(), channel.deadline());
        assertEq(deposit * 2 ** 168 + balance * 2 ** 80 + version * 2 ** 40 + deadline, word);
        Channel packed = ChannelWord.pack(uint88(deposit), uint88(balance), uint40(version), uint40(deadline));
        assertEq(Channel.unwrap(packed), word);
    }

    function test_a_new_channel_has_no_version_and_no_deadline(uint88 deposit, uint88 balance) public pure {
        Channel channel = ChannelWord.opened(deposit, balance);
        assertEq(Channel.unwrap(channel), Channel.unwrap(ChannelWord.pack(deposit, balance, 0, 0)));
    }

    function test_a_field_is_replaced_alone(uint256 word, uint88 amount) public pure {
        Channel channel = Channel.wrap(word);
        (uint88 deposit, uint88 balance) = (channel.deposit(), channel.balanceA());
        (uint40 version, uint40 deadline) = (channel.version(), channel.deadline());
        Channel expected = ChannelWord.pack(amount, balance, version, deadline);
        assertEq(Channel.unwrap(channel.withDeposit(amount)), Channel.unwrap(expected));
        expected = ChannelWord.pack(deposit, amount, version, deadline);
        assertEq(Channel.unwrap(channel.withBalance(amount)), Channel.unwrap(expected));
    }

    function test_a_channel_is_used_when_anything_is_in_its_word(uint8 bit) public pure {
        assertFalse(Channel.wrap(0).isUsed());
        assertTrue(Channel.wrap(2 ** uint256(bit)).isUsed());
        assertTrue(Channel.wrap(1).isUsed());
    }

    function test_a_challenge_is_due_from_its_deadline_on(uint40 deadline, uint216 others) public {
        deadline = uint40(bound(deadline, 1, type(uint40).max - 1));
        Channel channel = Channel.wrap(uint256(others) << 40 | deadline);
        vm.warp(uint256(deadline) - 1);
        assertFalse(this.isDue(channel));
        vm.warp(deadline);
        assertTrue(this.isDue(channel));
        vm.warp(uint256(deadline) + 1);
        assertTrue(this.isDue(channel));
        assertFalse(this.isDue(Channel.wrap(uint256(others) << 40)));
    }

    /// Through a call: the compiler takes block.timestamp for a constant within one.
    function isDue(Channel channel) external view returns (bool) {
        return channel.isDue();
    }

    function test_closed_is_the_last_version() public pure {
        assertEq(ChannelWord.CLOSED, type(uint40).max);
    }
}
