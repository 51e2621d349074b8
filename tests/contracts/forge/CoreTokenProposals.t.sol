// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { CoreTokenFixture } from "./CoreTokenFixture.sol";
import { ICoreToken } from "../../../contracts/interfaces/ICoreToken.sol";

/// given a proposer and a guardian
///   ├── epochs follow each other, one root at a time, none over the cap
///   ├── a veto ends a root in its window, and nothing else
///   ├── no epoch that is over comes back, not after a veto either
///   ├── a packed proposal is the call in the ABI
///   └── a role goes over in two steps, and its last holder has nothing left
contract CoreTokenProposalsTest is CoreTokenFixture {
    function test_no_second_root_while_one_waits() public {
        _propose(1, bytes26(uint208(1)), 1);
        vm.prank(proposer);
        vm.expectRevert(
            abi.encodeWithSelector(ICoreToken.RootWaiting.selector, uint40(block.timestamp) + WINDOW)
        );
        token.proposeRoot(2, bytes26(uint208(2)), 2, 1);
    }

    function test_only_the_roles_propose_and_veto(address stranger) public {
        vm.assume(stranger != proposer && stranger != guardian);
        vm.startPrank(stranger);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.NotPermitted.selector, proposer, stranger));
        token.proposeRoot(1, bytes26(uint208(1)), 1, 1);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.NotPermitted.selector, guardian, stranger));
        token.veto(1);
    }

    function test_epochs_follow_each_other(uint32 epoch) public {
        vm.assume(epoch != 1);
        vm.startPrank(proposer);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.WrongEpoch.selector, uint32(1), epoch));
        token.proposeRoot(epoch, bytes26(uint208(1)), 1, 1);
    }

    function test_an_epoch_emits_no_more_than_the_cap(uint128 emission) public {
        emission = uint128(bound(emission, CAP + 1, type(uint128).max));
        vm.prank(proposer);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.EmissionOverCap.selector, CAP, emission));
        token.proposeRoot(1, bytes26(uint208(1)), 1, emission);
    }

    function test_a_veto_comes_too_late_after_the_window() public {
        _activate(1, bytes26(uint208(1)), 1);
        vm.prank(guardian);
        vm.expectRevert(ICoreToken.NothingToVeto.selector);
        token.veto(1);
    }

    /// A veto leaves a place without a root; epoch 1 would be the one after that.
    function test_no_epoch_that_is_over_comes_back_after_a_veto(uint32 epoch, uint8 counted) public {
        uint32 last = uint32(bound(counted, 0, 9));
        for (uint32 i = 1; i <= last; ++i) {
            _activate(i, bytes26(uint208(i)), 1);
        }
        _propose(last + 1, bytes26(uint208(77)), 1);
        vm.prank(guardian);
        token.veto(last + 1);
        epoch = uint32(bound(epoch, 0, 12));
        vm.assume(epoch != last + 1);
        vm.prank(proposer);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.WrongEpoch.selector, last + 1, epoch));
        token.proposeRoot(epoch, bytes26(uint208(78)), 1, 1);
        _expectRoots(last, bytes26(uint208(last)), 0, 0, 0);
        _activate(last + 1, bytes26(uint208(79)), 1);
    }

    /// Times are written out: within one function the compiler reads the clock once.
    function test_the_views_tell_what_waits_and_what_counts() public {
        (bytes26 one, bytes26 two) = (bytes26(uint208(1)), bytes26(uint208(2)));
        _propose(1, one, 5);
        _expectRoots(0, 0, 1, one, 1_700_000_000 + WINDOW);
        assertEq(token.emitted(), 0);
        vm.warp(1_700_000_000 + WINDOW);
        _expectRoots(1, one, 0, 0, 0);
        assertEq(token.emitted(), 0);
        _propose(2, two, 6);
        _expectRoots(1, one, 2, two, 1_700_000_000 + 2 * WINDOW);
        assertEq(token.emitted(), 0);
    }

    function _expectRoots(uint32 active, bytes26 root, uint32 pending, bytes26 waiting, uint40 until)
        internal
        view
    {
        (uint32 epoch, bytes26 found) = token.activeRoot();
        assertEq(epoch, active);
        assertEq(found, root);
        uint40 activeAt;
        (epoch, found, activeAt) = token.pendingRoot();
        assertEq(epoch, pending);
        assertEq(found, waiting);
        assertEq(activeAt, until);
    }

    function test_a_root_must_be_something_and_a_veto_must_name_its_epoch() public {
        vm.prank(proposer);
        vm.expectRevert(ICoreToken.ZeroRoot.selector);
        token.proposeRoot(1, 0, 1, 1);
        _propose(1, bytes26(uint208(1)), 1);
        vm.prank(guardian);
        vm.expectRevert(ICoreToken.NothingToVeto.selector);
        token.veto(2);
    }

    // --------------------------------------------------------------------------------------------------- roles

    function test_a_role_goes_over_in_two_steps(uint8 which, address next, address stranger) public {
        ICoreToken.Role role = ICoreToken.Role(which % 3);
        address holder_ = token.holderOf(role);
        vm.assume(next != stranger && stranger != holder_ && stranger != address(this) && next != address(0));
        vm.prank(holder_);
        token.offerRole(role, next);
        assertEq(token.candidateOf(role), next);
        assertEq(token.holderOf(role), holder_);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.NotPermitted.selector, next, stranger));
        token.acceptRole(role);
        vm.prank(next);
        token.acceptRole(role);
        assertEq(token.holderOf(role), next);
        vm.prank(next);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.NotPermitted.selector, address(0), next));
        token.acceptRole(role);
    }

    function test_only_the_holder_or_the_admin_offers_a_role(uint8 which, address stranger) public {
        ICoreToken.Role role = ICoreToken.Role(which % 3);
        vm.assume(stranger != address(this) && stranger != token.holderOf(role));
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.NotPermitted.selector, address(this), stranger));
        token.offerRole(role, stranger);
        // The admin replaces a lost proposer, with the new one's consent.
        token.offerRole(role, stranger);
        vm.prank(stranger);
        token.acceptRole(role);
        assertEq(token.holderOf(role), stranger);
    }

    /// Who is to be replaced sees the offer, and would put another one in its place as often as it is made.
    function test_an_offer_of_the_admin_stands_against_the_holder(bool proposers, address accomplice) public {
        (ICoreToken.Role role, address holder_) =
            proposers ? (ICoreToken.Role.Proposer, proposer) : (ICoreToken.Role.Guardian, guardian);
        address heir = makeAddr("heir");
        vm.prank(holder_);
        token.offerRole(role, accomplice);
        token.offerRole(role, heir);
        vm.prank(holder_);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.NotPermitted.selector, address(this), holder_));
        token.offerRole(role, accomplice);
        vm.prank(heir);
        token.acceptRole(role);
        assertEq(token.holderOf(role), heir);
        // What was accepted or taken back binds nobody.
        token.offerRole(role, accomplice);
        token.offerRole(role, address(0));
        vm.prank(heir);
        token.offerRole(role, holder_);
        assertEq(token.candidateOf(role), holder_);
    }

    function test_a_proposer_that_was_replaced_proposes_no_more(address next) public {
        vm.assume(next != proposer);
        token.offerRole(ICoreToken.Role.Proposer, next);
        vm.prank(next);
        token.acceptRole(ICoreToken.Role.Proposer);
        vm.prank(proposer);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.NotPermitted.selector, next, proposer));
        token.proposeRoot(1, bytes26(uint208(1)), 1, 1);
    }

    function test_the_next_proposer_goes_on_where_the_first_one_stopped(address next, bool vetoed) public {
        vm.assume(next != proposer);
        _activate(1, bytes26(uint208(1)), 1);
        _propose(2, bytes26(uint208(2)), 1);
        token.offerRole(ICoreToken.Role.Proposer, next);
        vm.prank(next);
        token.acceptRole(ICoreToken.Role.Proposer);
        (uint32 pending,,) = token.pendingRoot();
        assertEq(pending, 2);
        if (vetoed) {
            vm.prank(guardian);
            token.veto(2);
        }
        vm.warp(block.timestamp + WINDOW);
        (uint32 active, bytes26 root) = token.activeRoot();
        assertEq(active, vetoed ? 1 : 2);
        assertEq(root, bytes26(uint208(active)));
        uint32 epoch = active;
        for (uint256 i = 0; i < 3; ++i) {
            vm.prank(proposer);
            vm.expectRevert(abi.encodeWithSelector(ICoreToken.NotPermitted.selector, next, proposer));
            token.proposeRoot(epoch + 1, bytes26(uint208(9)), 1, 1);
            vm.prank(next);
            token.proposeRoot(++epoch, bytes26(uint208(9)), 1, 1);
            vm.warp(block.timestamp + WINDOW);
        }
        (active,) = token.activeRoot();
        assertEq(active, epoch);
    }

    function test_a_root_that_counts_is_not_replaced(uint32 epoch) public {
        _activate(1, bytes26(uint208(1)), 1);
        _activate(2, bytes26(uint208(2)), 1);
        vm.assume(epoch != 3);
        vm.prank(proposer);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.WrongEpoch.selector, uint32(3), epoch));
        token.proposeRoot(epoch, bytes26(uint208(3)), 1, 1);
    }

    // ---------------------------------------------------------------------------------------- packed proposals

    function _proposeInBrief(uint16 epoch, bytes26 root, uint64 throughBlock, uint128 emission) internal {
        bytes memory packed = abi.encodePacked(epoch, root, throughBlock, emission);
        vm.prank(proposer);
        (bool done,) = address(token).call(bytes.concat(ICoreToken.proposeInBrief.selector, packed));
        assertTrue(done);
    }

    function test_a_packed_proposal_is_the_call_in_the_abi(
        bytes26 root,
        uint64 throughBlock,
        uint128 emission
    ) public {
        vm.assume(root != 0);
        emission = uint128(bound(emission, 0, CAP));
        uint40 until = uint40(block.timestamp) + WINDOW;
        vm.expectEmit(address(token));
        emit ICoreToken.RootProposed(
            uint256(bytes32(root)) | uint256(until) << 16 | 1, throughBlock, emission
        );
        _proposeInBrief(1, root, throughBlock, emission);
        (uint32 epoch, bytes26 pending, uint40 activeAt) = token.pendingRoot();
        assertEq(epoch, 1);
        assertEq(pending, root);
        assertEq(activeAt, until);
    }

    function test_a_proposal_of_another_length_is_refused(uint8 length) public {
        vm.assume(length != 52);
        vm.prank(proposer);
        (bool done, bytes memory answer) =
            address(token).call(bytes.concat(ICoreToken.proposeInBrief.selector, new bytes(length)));
        assertFalse(done);
        assertEq(
            keccak256(answer),
            keccak256(abi.encodeWithSelector(ICoreToken.MalformedProposal.selector, uint256(length)))
        );
    }
}
