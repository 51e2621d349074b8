// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "./Base.sol";
import { CoreToken } from "../../../contracts/CoreToken.sol";
import { ICoreToken } from "../../../contracts/interfaces/ICoreToken.sol";
import { InvalidProof } from "../../../contracts/libraries/PositionalTree.sol";

/// given a proposed root
///   when its window runs
///     ├── it pays nobody, and the root before still pays
///     ├── it can be vetoed by the guardian; no other root comes meanwhile
///   when its window has passed
///     ├── it pays each owner once, the difference to what was claimed
///     ├── it pays the owner in the leaf, whoever sends the claim
///     └── it never pays more than the epochs have emitted
contract CoreTokenTest is Test {
    uint40 internal constant WINDOW = 1 days;
    uint128 internal constant CAP = 1e24;
    CoreToken internal token;
    address internal proposer = makeAddr("proposer");
    address internal guardian = makeAddr("guardian");
    address internal holder = makeAddr("holder");
    bytes26[] internal none;

    function setUp() public {
        vm.warp(1_700_000_000);
        token = new CoreToken(address(this), proposer, guardian, WINDOW, CAP, holder, 1e24);
    }

    function _leaf(address owner, uint128 cumulative) internal pure returns (bytes26) {
        return bytes26(keccak256(abi.encode(keccak256(abi.encodePacked(owner, cumulative)))));
    }

    function _propose(uint32 epoch, bytes26 root, uint128 emission) internal {
        vm.prank(proposer);
        token.proposeRoot(epoch, root, epoch, emission);
    }

    function _activate(uint32 epoch, bytes26 root, uint128 emission) internal {
        _propose(epoch, root, emission);
        vm.warp(block.timestamp + WINDOW);
    }

    function test_a_root_pays_once_after_its_window(address owner, uint128 amount) public {
        vm.assume(owner != holder);
        amount = uint128(bound(amount, 1, CAP));
        _propose(1, _leaf(owner, amount), amount);
        vm.expectRevert(InvalidProof.selector);
        token.claim(owner, amount, 0, none);
        vm.warp(block.timestamp + WINDOW);
        token.claim(owner, amount, 0, none);
        assertEq(token.balanceOf(owner), amount);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.NothingToClaim.selector, amount, amount));
        token.claim(owner, amount, 0, none);
    }

    function test_a_later_epoch_pays_the_difference(address owner, uint128 first, uint128 second) public {
        vm.assume(owner != holder);
        first = uint128(bound(first, 1, CAP));
        second = uint128(bound(second, 1, CAP));
        _activate(1, _leaf(owner, first), first);
        token.claim(owner, first, 0, none);
        _activate(2, _leaf(owner, first + second), second);
        token.claim(owner, first + second, 0, none);
        assertEq(token.balanceOf(owner), uint256(first) + second);
        assertEq(token.claimedOf(owner), first + second);
    }

    function test_the_root_before_stays_claimable_during_the_next_window(address owner, uint128 amount)
        public
    {
        vm.assume(owner != holder);
        amount = uint128(bound(amount, 1, CAP));
        _activate(1, _leaf(owner, amount), amount);
        _propose(2, _leaf(owner, amount + 1), 1);
        token.claim(owner, amount, 0, none);
        assertEq(token.balanceOf(owner), amount);
    }

    function test_no_second_root_while_one_waits() public {
        _propose(1, bytes26(uint208(1)), 1);
        vm.prank(proposer);
        vm.expectRevert(
            abi.encodeWithSelector(ICoreToken.RootWaiting.selector, uint40(block.timestamp) + WINDOW)
        );
        token.proposeRoot(2, bytes26(uint208(2)), 2, 1);
    }

    function test_a_vetoed_root_never_pays(address owner, uint128 amount) public {
        amount = uint128(bound(amount, 1, CAP));
        _propose(1, _leaf(owner, amount), amount);
        vm.prank(guardian);
        token.veto(1);
        vm.warp(block.timestamp + WINDOW);
        vm.expectRevert(InvalidProof.selector);
        token.claim(owner, amount, 0, none);
        _activate(1, _leaf(owner, amount), amount);
        token.claim(owner, amount, 0, none);
    }

    function test_a_veto_comes_too_late_after_the_window() public {
        _activate(1, bytes26(uint208(1)), 1);
        vm.prank(guardian);
        vm.expectRevert(ICoreToken.NothingToVeto.selector);
        token.veto(1);
    }

    function test_only_the_roles_propose_and_veto(address stranger) public {
        vm.assume(stranger != proposer && stranger != guardian);
        vm.startPrank(stranger);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.NotPermitted.selector, proposer, stranger));
        token.proposeRoot(1, bytes26(uint208(1)), 1, 1);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.NotPermitted.selector, guardian, stranger));
        token.veto(1);
    }

    function test_epochs_follow_each_other_in_number_and_block(uint32 epoch) public {
        vm.assume(epoch != 1);
        vm.startPrank(proposer);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.WrongEpoch.selector, uint32(1), epoch));
        token.proposeRoot(epoch, bytes26(uint208(1)), 1, 1);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.BlockRegressed.selector, uint64(0), uint64(0)));
        token.proposeRoot(1, bytes26(uint208(1)), 0, 1);
    }

    function test_an_epoch_emits_no_more_than_the_cap(uint128 emission) public {
        emission = uint128(bound(emission, CAP + 1, type(uint128).max));
        vm.prank(proposer);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.EmissionOverCap.selector, CAP, emission));
        token.proposeRoot(1, bytes26(uint208(1)), 1, emission);
    }

    function test_a_root_that_promises_more_than_emitted_does_not_pay_it(uint128 emission, uint128 excess)
        public
    {
        emission = uint128(bound(emission, 0, CAP));
        excess = uint128(bound(excess, 1, CAP));
        _activate(1, _leaf(address(7), emission + excess), emission);
        vm.expectRevert(
            abi.encodeWithSelector(
                ICoreToken.EmissionExhausted.selector, emission, uint256(emission) + excess
            )
        );
        token.claim(address(7), emission + excess, 0, none);
    }

    function test_many_claims_skip_those_with_nothing_left() public {
        (address a, address b) = (address(0xA), address(0xB));
        bytes26 root = bytes26(keccak256(abi.encodePacked(_leaf(a, 5), _leaf(b, 7))));
        _activate(1, root, 12);
        ICoreToken.Claim[] memory claims = new ICoreToken.Claim[](3);
        claims[0] = ICoreToken.Claim(a, 5, 0, _one(_leaf(b, 7)));
        claims[1] = ICoreToken.Claim(b, 7, 1, _one(_leaf(a, 5)));
        claims[2] = claims[0];
        token.claimMany(claims);
        assertEq(token.balanceOf(a), 5);
        assertEq(token.balanceOf(b), 7);
    }

    function _one(bytes26 node) internal pure returns (bytes26[] memory proof) {
        proof = new bytes26[](1);
        proof[0] = node;
    }

    function test_a_claim_of_anothers_share_is_refused(address thief, uint128 amount, uint32 position)
        public
    {
        (address a, address b) = (address(0xA), address(0xB));
        _activate(1, bytes26(keccak256(abi.encodePacked(_leaf(a, 5), _leaf(b, 7)))), 12);
        vm.assume(amount > 0 && !(thief == a && amount == 5 && position == 0));
        vm.expectRevert(InvalidProof.selector);
        token.claim(thief, amount, position, _one(_leaf(b, 7)));
    }

    /// The root itself, or a node, with a shorter proof: a leaf is hashed twice, so no node is the hash of a claim.
    function test_a_node_cannot_pass_as_a_share(address owner, uint128 amount) public {
        amount = uint128(bound(amount, 1, CAP));
        bytes26 left = bytes26(keccak256(abi.encodePacked(owner, amount)));
        _activate(1, bytes26(keccak256(abi.encodePacked(left, _leaf(address(7), 7)))), CAP);
        vm.expectRevert(InvalidProof.selector);
        token.claim(owner, amount, 0, _one(_leaf(address(7), 7)));
        vm.expectRevert(InvalidProof.selector);
        token.claim(owner, amount, 0, none);
    }

    function test_a_proof_longer_than_any_tree_is_refused() public {
        _activate(1, bytes26(uint208(1)), 1);
        vm.expectRevert(InvalidProof.selector);
        token.claim(address(7), 1, 0, new bytes26[](33));
    }

    /// Times are written out: within one function the compiler reads the clock once.
    function test_the_views_tell_what_waits_and_what_counts() public {
        (bytes26 one, bytes26 two) = (bytes26(uint208(1)), bytes26(uint208(2)));
        _propose(1, one, 5);
        _expectRoots(0, 0, 1, one, 1_700_000_000 + WINDOW);
        assertEq(token.emitted(), 0);
        vm.warp(1_700_000_000 + WINDOW);
        _expectRoots(1, one, 0, 0, 0);
        assertEq(token.emitted(), 5);
        _propose(2, two, 6);
        _expectRoots(1, one, 2, two, 1_700_000_000 + 2 * WINDOW);
        assertEq(token.emitted(), 5);
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
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.WrongEpoch.selector, uint32(1), uint32(2)));
        token.veto(2);
    }

    function test_only_the_admin_gives_roles(address stranger, address next) public {
        vm.assume(stranger != address(this) && next != proposer);
        vm.startPrank(stranger);
        bytes memory refusal =
            abi.encodeWithSelector(ICoreToken.NotPermitted.selector, address(this), stranger);
        vm.expectRevert(refusal);
        token.setRoles(stranger, stranger);
        vm.expectRevert(refusal);
        token.offerAdmin(stranger);
        vm.stopPrank();
        token.setRoles(next, guardian);
        vm.prank(proposer);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.NotPermitted.selector, next, proposer));
        token.proposeRoot(1, bytes26(uint208(1)), 1, 1);
    }

    function test_the_admin_role_goes_over_in_two_steps(address next, address stranger) public {
        vm.assume(next != stranger && next != address(this));
        token.offerAdmin(next);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.NotPermitted.selector, next, stranger));
        token.acceptAdmin();
        vm.prank(next);
        token.acceptAdmin();
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.NotPermitted.selector, next, address(this)));
        token.setRoles(stranger, stranger);
    }
}
