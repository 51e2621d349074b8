// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { CoreTokenFixture } from "./CoreTokenFixture.sol";
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
contract CoreTokenTest is CoreTokenFixture {
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

    function test_a_root_that_promises_more_than_the_cap_does_not_pay_it(uint128 emission, uint128 excess)
        public
    {
        emission = uint128(bound(emission, 0, CAP));
        excess = uint128(bound(excess, 1, type(uint128).max - CAP));
        _activate(1, _leaf(address(7), CAP + excess), emission);
        bytes memory refusal = abi.encodeWithSelector(
            ICoreToken.EmissionExhausted.selector, uint256(CAP), uint256(CAP) + excess
        );
        vm.expectRevert(refusal);
        token.claim(address(7), CAP + excess, 0, none);
    }

    function test_many_claims_skip_those_with_nothing_left() public {
        (address a, address b) = (address(0xA), address(0xB));
        bytes26 root = bytes26(keccak256(abi.encodePacked(_leaf(a, 5), _leaf(b, 7))));
        _activate(1, root, 12);
        ICoreToken.Claim[] memory claims = new ICoreToken.Claim[](3);
        claims[0] = ICoreToken.Claim(a, 5, 0, _one(_leaf(b, 7)));
        claims[1] = ICoreToken.Claim(b, 7, 1, _one(_leaf(a, 5)));
        claims[2] = claims[0];
        assertEq(token.claimMany(claims, 0), 2);
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

    // ------------------------------------------------------------------------------------------- relayed claims

    function test_the_fee_of_a_relayer_is_what_was_fixed_at_the_deployment(uint128 amount) public {
        amount = uint128(bound(amount, 1, CAP));
        _activate(1, _leaf(address(7), amount), amount);
        ICoreToken.Claim[] memory claims = new ICoreToken.Claim[](1);
        claims[0] = ICoreToken.Claim(address(7), amount, 0, none);
        vm.prank(address(9));
        assertEq(token.claimMany(claims, 0), 1);
        uint256 fee = uint256(amount) * FEE_BPS / 10_000;
        assertEq(token.balanceOf(address(9)), fee);
        assertEq(token.balanceOf(address(7)), amount - fee);
        assertEq(token.claimedOf(address(7)), amount);
        assertEq(token.totalSupply(), 1e24 + uint256(amount));
    }

    function test_one_bad_row_does_not_block_the_others(uint128 minimum, bytes26 junk) public {
        (address a, address b) = (address(0xA), address(0xB));
        bytes26 root = bytes26(keccak256(abi.encodePacked(_leaf(a, 5), _leaf(b, 7))));
        _activate(1, root, 12);
        vm.assume(junk != _leaf(b, 7));
        minimum = uint128(bound(minimum, 0, 8));
        ICoreToken.Claim[] memory claims = new ICoreToken.Claim[](4);
        claims[0] = ICoreToken.Claim(a, 5, 0, _one(junk));
        claims[1] = ICoreToken.Claim(a, type(uint128).max, 0, new bytes26[](40));
        claims[2] = ICoreToken.Claim(b, 7, 1, _one(_leaf(a, 5)));
        claims[3] = ICoreToken.Claim(a, 5, 7, _one(_leaf(b, 7)));
        assertEq(token.claimMany(claims, minimum), minimum <= 7 ? 1 : 0);
        assertEq(token.claimedOf(a), 0);
        assertEq(token.claimedOf(b), minimum <= 7 ? 7 : 0);
    }

    function test_rows_below_the_minimum_or_without_proof_are_passed_over(uint128 minimum, uint8 bad) public {
        (address a, address b) = (address(0xA), address(0xB));
        bytes26 root = bytes26(keccak256(abi.encodePacked(_leaf(a, 500), _leaf(b, 700))));
        _activate(1, root, 12);
        minimum = uint128(bound(minimum, 0, 800));
        uint128 amountB = bad % 3 == 0 ? 701 : 700;
        ICoreToken.Claim[] memory claims = new ICoreToken.Claim[](3);
        claims[0] = ICoreToken.Claim(a, 500, 0, _one(_leaf(b, 700)));
        claims[1] = ICoreToken.Claim(b, amountB, 1, _one(_leaf(a, 500)));
        claims[2] = ICoreToken.Claim(a, 500, bad % 2 == 0 ? 0 : 9, _one(_leaf(b, 700)));
        token.claimMany(claims, minimum);
        uint256 paidA = minimum <= 500 ? 500 : 0;
        uint256 paidB = minimum <= 700 && amountB == 700 ? 700 : 0;
        assertEq(token.claimedOf(a), paidA);
        assertEq(token.claimedOf(b), paidB);
        assertEq(token.emitted(), paidA + paidB);
        assertEq(token.balanceOf(a), paidA - paidA * FEE_BPS / 10_000);
    }

    function test_many_claims_together_stay_under_the_cap() public {
        (address a, address b) = (address(0xA), address(0xB));
        bytes26 root = bytes26(keccak256(abi.encodePacked(_leaf(a, CAP), _leaf(b, 1))));
        _activate(1, root, 12);
        ICoreToken.Claim[] memory claims = new ICoreToken.Claim[](2);
        claims[0] = ICoreToken.Claim(a, CAP, 0, _one(_leaf(b, 1)));
        claims[1] = ICoreToken.Claim(b, 1, 1, _one(_leaf(a, CAP)));
        assertEq(token.claimMany(claims, 0), 1);
        assertEq(token.emitted(), CAP);
    }

    function test_a_relayers_fee_has_a_limit(uint16 bps) public {
        bps = uint16(bound(bps, 101, type(uint16).max));
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.FeeOverLimit.selector, bps));
        new CoreToken(address(this), proposer, guardian, WINDOW, CAP, bps, holder, 1e24);
    }

    function _withWindow(uint256 window) private returns (CoreToken) {
        return new CoreToken(address(this), proposer, guardian, uint40(window), CAP, FEE_BPS, holder, 1e24);
    }

    /// 30 days in milliseconds would leave no window at all.
    function test_a_window_has_a_second_at_least_and_a_year_at_most(uint40 given) public {
        uint256[3] memory windows = [0, bound(given, 365 days + 1, type(uint40).max), 30 days * 1000];
        for (uint256 i = 0; i < 3; ++i) {
            vm.expectRevert(abi.encodeWithSelector(ICoreToken.WindowOutOfRange.selector, uint40(windows[i])));
            _withWindow(windows[i]);
        }
        assertEq(_withWindow(1).disputeWindow(), 1);
        assertEq(_withWindow(365 days).disputeWindow(), 365 days);
    }
}
