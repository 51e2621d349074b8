// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Cheats } from "./Stage.sol";
import { CoreToken } from "../../../contracts/CoreToken.sol";
import { RewardRoot, RewardRoots } from "../../../contracts/libraries/RewardRoots.sol";

/// For any two roots that can stand side by side, and any step that anybody takes:
///   ├── the root that counts still counts
///   └── the two can still stand side by side
/// For any accounts: a transfer moves what it says, a claim pays what it adds, and neither makes more of anything.
contract RewardProofs {
    using RewardRoots for RewardRoot;

    Cheats private constant vm = Cheats(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint256 private constant SUPPLY_SLOT = 0;
    uint256 private constant ACCOUNTS_SLOT = 4;
    uint256 private constant ROOTS_SLOT = 11;
    uint128 private constant CAP = 1e24;
    uint256 private constant INITIAL = 1e24;
    address private constant PROPOSER = address(0xA1);
    address private constant GUARDIAN = address(0xA2);

    CoreToken private token;

    function setUp() public {
        token = new CoreToken(address(this), PROPOSER, GUARDIAN, 1 days, CAP, 100, address(1), uint128(INITIAL));
    }

    // ------------------------------------------------------------------------------------------------------- roots

    function _put(RewardRoot even, RewardRoot odd, uint32 time) private {
        vm.warp(time);
        vm.store(address(token), bytes32(ROOTS_SLOT), bytes32(RewardRoot.unwrap(even)));
        vm.store(address(token), bytes32(ROOTS_SLOT + 1), bytes32(RewardRoot.unwrap(odd)));
    }

    function _even() private view returns (RewardRoot) {
        return RewardRoot.wrap(uint256(vm.load(address(token), bytes32(ROOTS_SLOT))));
    }

    function _odd() private view returns (RewardRoot) {
        return RewardRoot.wrap(uint256(vm.load(address(token), bytes32(ROOTS_SLOT + 1))));
    }

    /// One of an even and one of an odd epoch that follow each other, or one, or none; only the later one can wait.
    function _standSideBySide(RewardRoot even, RewardRoot odd) private view returns (bool) {
        bool noEven = even.root() == 0 && even.activeAt() == 0 && even.epoch() == 0;
        bool noOdd = odd.root() == 0 && odd.activeAt() == 0 && odd.epoch() == 0;
        bool wellFormed = (noEven || (even.root() != 0 && even.epoch() % 2 == 0 && even.epoch() > 0))
            && (noOdd || (odd.root() != 0 && odd.epoch() % 2 == 1)) && even.isHandedOver() == odd.isHandedOver();
        if (!wellFormed) return false;
        // The first root ever can be vetoed: then there is none. A later one is vetoed beside one that counts.
        if (noEven) return noOdd || !odd.isWaiting() || odd.epoch() == 1;
        if (noOdd) return !even.isWaiting();
        bool evenIsLater = even.epoch() == odd.epoch() + 1;
        return (evenIsLater || odd.epoch() == even.epoch() + 1) && !(evenIsLater ? odd : even).isWaiting();
    }

    function _expectSame(uint32 epoch, bytes26 root) private view {
        (uint32 epochAfter, bytes26 rootAfter) = token.activeRoot();
        assert(epochAfter == epoch && rootAfter == root);
        assert(_standSideBySide(_even(), _odd()));
    }

    function check_a_proposal_leaves_the_root_that_counts(
        RewardRoot even,
        RewardRoot odd,
        uint32 time,
        address sender,
        uint32 epoch,
        bytes26 root,
        uint128 emission
    ) public {
        if (time > type(uint32).max - 1 days) return;
        _put(even, odd, time);
        if (!_standSideBySide(even, odd)) return;
        (uint32 active, bytes26 counting) = token.activeRoot();
        vm.prank(sender);
        try token.proposeRoot(epoch, root, 0, emission) {
            assert(root != 0 && emission <= CAP);
            assert(even.isHandedOver() || sender == PROPOSER);
            (uint32 pending,, uint40 activeAt) = token.pendingRoot();
            assert(pending == epoch && activeAt == uint256(time) + 1 days);
        } catch { }
        _expectSame(active, counting);
    }

    function check_a_veto_leaves_the_root_that_counts(
        RewardRoot even,
        RewardRoot odd,
        uint32 time,
        address sender,
        uint32 epoch
    ) public {
        _put(even, odd, time);
        if (!_standSideBySide(even, odd)) return;
        (uint32 active, bytes26 counting) = token.activeRoot();
        vm.prank(sender);
        try token.veto(epoch) {
            assert(sender == GUARDIAN);
            (uint32 pending,,) = token.pendingRoot();
            assert(pending == 0);
        } catch { }
        _expectSame(active, counting);
    }

    // ---------------------------------------------------------------------------------------------------- accounts

    function _account(address owner, uint128 balance, uint128 claimed) private {
        bytes32 slot = keccak256(abi.encode(owner, ACCOUNTS_SLOT));
        vm.store(address(token), slot, bytes32(uint256(claimed) << 128 | balance));
        assert(token.balanceOf(owner) == balance && token.claimedOf(owner) == claimed);
    }

    function check_a_transfer_moves_what_it_says(
        address from,
        address to,
        uint120 one,
        uint120 two,
        uint128 claimed,
        uint256 amount
    ) public {
        _account(to, two, ~claimed);
        _account(from, one, claimed);
        uint256 before = token.balanceOf(to);
        vm.prank(from);
        try token.transfer(to, amount) {
            assert(amount <= one && to != address(0));
            assert(token.balanceOf(from) == (from == to ? one : one - amount));
            assert(token.balanceOf(to) == (from == to ? one : before + amount));
        } catch {
            assert(amount > one || to == address(0));
        }
        assert(token.claimedOf(from) == claimed);
    }

    /// A root of one leaf, so the proof is empty.
    function check_a_claim_pays_what_it_adds_within_the_cap(
        address owner,
        uint120 balance,
        uint120 claimed,
        uint120 cumulative,
        uint120 emitted,
        uint16 epoch
    ) public {
        epoch &= 0x7fff;
        bytes26 leaf = bytes26(keccak256(abi.encode(keccak256(abi.encodePacked(owner, uint128(cumulative))))));
        RewardRoot none = RewardRoot.wrap(0);
        RewardRoot root = none.followedBy(leaf, 1, epoch);
        _put(epoch % 2 == 0 ? root : none, epoch % 2 == 0 ? none : root, 2);
        vm.store(address(token), bytes32(SUPPLY_SLOT), bytes32(INITIAL + emitted));
        _account(owner, balance, claimed);
        try token.claim(owner, cumulative, 0, new bytes26[](0)) {
            assert(cumulative > claimed);
            uint256 added = cumulative - claimed;
            assert(token.balanceOf(owner) == balance + added && token.claimedOf(owner) == cumulative);
            assert(token.emitted() == emitted + added && token.emitted() <= uint256(CAP) * epoch);
        } catch {
            assert(cumulative <= claimed || emitted + uint256(cumulative) - claimed > uint256(CAP) * epoch || leaf == 0);
        }
    }
}
