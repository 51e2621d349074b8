// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "../Base.sol";
import { RewardRoot, RewardRoots } from "../../../../contracts/libraries/RewardRoots.sol";

/// given the word of a reward root
///   ├── root, window, the bit of the role and epoch lie side by side and fill it
///   ├── only that bit outlives a root
///   ├── the next epoch is the one after the other root, and later than both
///   └── it waits until its second has come, and is active from then on; nothing is neither
contract RewardRootsTest is Test {
    using RewardRoots for RewardRoot;

    RewardRoot private constant NONE = RewardRoot.wrap(0);

    function test_fields_lie_side_by_side(bytes26 root, uint32 activeAt, uint16 epoch, bool handed)
        public
        pure
    {
        epoch &= 0x7fff;
        RewardRoot place = handed ? NONE.handedOver() : NONE;
        RewardRoot word = place.followedBy(root, activeAt, epoch);
        bytes32 expected = bytes32(abi.encodePacked(root, activeAt, handed ? epoch | 0x8000 : epoch));
        assertEq(bytes32(RewardRoot.unwrap(word)), expected);
        assertEq(bytes32(word.root()), bytes32(root));
        assertEq(word.activeAt(), activeAt);
        assertEq(word.epoch(), epoch);
        assertTrue(word.isHandedOver() == handed);
    }

    function test_nothing_of_a_root_stays_but_that_the_role_went_over(RewardRoot old, bytes26 root)
        public
        pure
    {
        RewardRoot word = old.followedBy(root, 7, 9);
        assertEq(bytes32(word.root()), bytes32(root));
        assertEq(word.activeAt(), 7);
        assertEq(word.epoch(), 9);
        assertTrue(word.isHandedOver() == old.isHandedOver());
        assertEq(RewardRoot.unwrap(old.emptied()), old.isHandedOver() ? 0x8000 : 0);
    }

    function test_handing_over_changes_nothing_else(RewardRoot word) public pure {
        assertTrue(word.handedOver().isHandedOver());
        assertEq(
            RewardRoot.unwrap(word.handedOver()) & ~uint256(0x8000),
            RewardRoot.unwrap(word) & ~uint256(0x8000)
        );
    }

    function _root(uint256 epoch) private pure returns (RewardRoot) {
        bytes26 root = bytes26(keccak256(abi.encode(epoch)));
        return
            (epoch % 3 == 0 ? NONE.handedOver() : NONE)
            .followedBy(root, uint32(uint256(bytes32(root))), epoch);
    }

    function _expectNext(uint256 epoch, uint256 one, uint256 two) private pure {
        bool next = epoch == one + 1 && epoch > two && epoch <= 0x7fff;
        assertTrue((RewardRoots.isNotNext(epoch, _root(one), _root(two)) == 0) == next);
    }

    function test_the_next_epoch_follows_the_other_root_and_is_later_than_both(
        uint32 epoch,
        uint16 one,
        uint16 two
    ) public pure {
        (one, two) = (one & 0x7fff, two & 0x7fff);
        _expectNext(epoch, one, two);
        _expectNext(uint256(one) + 1, one, two);
        uint16[4] memory standing = [one, one - (one > 0 ? 1 : 0), one < 0x7fff ? one + 1 : one, 0];
        for (uint256 i = 0; i < 4; ++i) {
            _expectNext(uint256(one) + 1, one, standing[i]);
        }
        assertEq(RewardRoots.nextEpoch(_root(one), _root(two)), uint256(one > two ? one : two) + 1);
    }

    function test_epochs_end_with_15_bits() public pure {
        _expectNext(0x7fff, 0x7ffe, 0x7ffd);
        _expectNext(0x8000, 0x7fff, 0x7ffe);
        assertTrue(RewardRoots.isNotNext(0x7fff, _root(0x7ffe), _root(0x7ffd)) == 0);
    }

    /// Through calls: the compiler takes block.timestamp for a constant within one.
    function isActive(RewardRoot word) external view returns (bool) {
        return word.isActive();
    }

    function isWaiting(RewardRoot word) external view returns (bool) {
        return word.isWaiting();
    }

    function _expect(RewardRoot word, uint256 time, bool active) private {
        vm.warp(time);
        assertTrue(this.isActive(word) == active);
        assertTrue(this.isWaiting(word) == !active);
    }

    function test_a_root_is_active_from_its_second_on(bytes26 root, uint32 second, uint16 epoch) public {
        vm.assume(root != 0);
        uint256 time = bound(second, 1, type(uint32).max - 1);
        RewardRoot word = NONE.followedBy(root, time, epoch & 0x7fff);
        _expect(word, time - 1, false);
        _expect(word, time, true);
        _expect(word, time + 1, true);
    }

    function test_no_root_is_neither_active_nor_waiting() public view {
        assertFalse(this.isActive(RewardRoot.wrap(0)));
        assertFalse(this.isWaiting(RewardRoot.wrap(0)));
    }
}
