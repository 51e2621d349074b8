// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Channel, ChannelWord } from "../../../contracts/libraries/ChannelWord.sol";
import { RewardRoot, RewardRoots } from "../../../contracts/libraries/RewardRoots.sol";

/// For every word there is:
///   ├── a field that is set is read, and its neighbours stay
///   ├── an accepted epoch is later than both roots, so the root that counts is never replaced
///   └── a root waits, counts or is none
contract WordProofs {
    using ChannelWord for Channel;
    using RewardRoots for RewardRoot;

    function check_a_root_is_what_was_put_together(
        RewardRoot place,
        bytes26 root,
        uint32 activeAt,
        uint16 epoch
    ) public pure {
        epoch &= 0x7fff;
        RewardRoot word = place.followedBy(root, activeAt, epoch);
        assert(word.root() == root && word.activeAt() == activeAt && word.epoch() == epoch);
        assert(word.isHandedOver() == place.isHandedOver());
    }

    function check_handing_over_and_vetoing_change_nothing_else(RewardRoot word) public pure {
        RewardRoot over = word.handedOver();
        assert(over.root() == word.root() && over.activeAt() == word.activeAt());
        assert(over.epoch() == word.epoch() && over.isHandedOver());
        RewardRoot gone = word.emptied();
        assert(gone.root() == 0 && gone.activeAt() == 0 && gone.epoch() == 0);
        assert(gone.isHandedOver() == word.isHandedOver());
    }

    function check_an_accepted_epoch_is_later_than_both_roots(
        uint256 epoch,
        RewardRoot before,
        RewardRoot standing
    ) public pure {
        bool accepted = RewardRoots.isNotNext(epoch, before, standing) == 0;
        bool next = epoch == uint256(before.epoch()) + 1 && epoch > standing.epoch() && epoch <= 0x7fff;
        assert(accepted == next);
        if (accepted) assert(epoch == RewardRoots.nextEpoch(before, standing));
    }

    function check_a_root_waits_or_counts_or_is_none(RewardRoot word) public view {
        assert(!(word.isActive() && word.isWaiting()));
        if (word.root() != 0) assert(word.isActive() || word.isWaiting());
        assert(!RewardRoot.wrap(0).isActive() && !RewardRoot.wrap(0).isWaiting());
    }

    function check_a_channel_is_what_was_put_together(
        uint88 deposit,
        uint88 balance,
        uint40 version,
        uint40 deadline
    ) public pure {
        Channel word = ChannelWord.pack(deposit, balance, version, deadline);
        assert(word.deposit() == deposit && word.balanceA() == balance);
        assert(word.version() == version && word.deadline() == deadline);
        word = ChannelWord.opened(deposit, balance);
        assert(word.deposit() == deposit && word.balanceA() == balance);
        assert(word.version() == 0 && word.deadline() == 0);
    }

    function check_another_deposit_or_balance_changes_nothing_else(
        Channel word,
        uint88 deposit,
        uint88 balance
    ) public pure {
        Channel richer = word.withDeposit(deposit);
        assert(richer.deposit() == deposit && richer.balanceA() == word.balanceA());
        assert(richer.version() == word.version() && richer.deadline() == word.deadline());
        Channel moved = word.withBalance(balance);
        assert(moved.balanceA() == balance && moved.deposit() == word.deposit());
        assert(moved.version() == word.version() && moved.deadline() == word.deadline());
    }
}
