// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "./Base.sol";
import { CoreToken } from "../../../contracts/CoreToken.sol";
import { ICoreToken } from "../../../contracts/interfaces/ICoreToken.sol";
import { InvalidProof } from "../../../contracts/libraries/PositionalTree.sol";
import { HighS, InvalidSignature } from "../../../contracts/libraries/Signatures.sol";

/// given a proposed root
///   when its window runs
///     ├── it pays nobody, and the root before still pays
///     ├── it can be vetoed by the guardian; no other root comes meanwhile
///   when its window has passed
///     ├── it pays each owner once, the difference to what was claimed
///     ├── it pays the owner in the leaf, whoever sends the claim
///     └── it never pays more than the epochs have emitted
/// given a holder
///   ├── permit and EIP-3009 move its tokens once, as signed
///   └── nobody moves them otherwise
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

    // -------------------------------------------------------------------- ERC-20

    function test_a_transfer_moves_exactly_the_amount(address to, uint256 amount) public {
        vm.assume(to != address(0) && to != holder);
        amount = bound(amount, 0, 1e24);
        vm.prank(holder);
        token.transfer(to, amount);
        assertEq(token.balanceOf(to), amount);
        assertEq(token.balanceOf(holder), 1e24 - amount);
    }

    function test_a_transfer_to_oneself_changes_nothing(uint256 amount) public {
        amount = bound(amount, 0, 1e24);
        vm.prank(holder);
        token.transfer(holder, amount);
        assertEq(token.balanceOf(holder), 1e24);
    }

    function test_nobody_spends_more_than_they_have(address to, uint256 amount) public {
        vm.assume(to != address(0));
        amount = bound(amount, 1e24 + 1, type(uint256).max);
        vm.prank(holder);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.InsufficientBalance.selector, holder, 1e24, amount));
        token.transfer(to, amount);
    }

    function test_an_allowance_is_used_up(address spender, uint256 allowed) public {
        vm.assume(spender != holder && spender != address(0));
        allowed = bound(allowed, 1, 1e24);
        vm.prank(holder);
        token.approve(spender, allowed);
        vm.startPrank(spender);
        token.transferFrom(holder, address(7), allowed);
        vm.expectRevert(
            abi.encodeWithSelector(ICoreToken.InsufficientAllowance.selector, spender, uint256(0), uint256(1))
        );
        token.transferFrom(holder, address(7), 1);
    }

    // ------------------------------------------------------- permit and EIP-3009

    function _digest(bytes32 structHash) internal view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), structHash));
    }

    function _permitDigest(address spender, uint256 value, uint256 nonce, uint256 deadline)
        internal
        view
        returns (bytes32)
    {
        bytes32 typehash = keccak256(
            "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
        );
        return _digest(keccak256(abi.encode(typehash, holder, spender, value, nonce, deadline)));
    }

    function test_a_permit_works_once(address spender, uint256 value) public {
        uint256 deadline = block.timestamp + 1;
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf("holder"), _permitDigest(spender, value, 0, deadline));
        token.permit(holder, spender, value, deadline, v, r, s);
        assertEq(token.allowance(holder, spender), value);
        vm.expectRevert(InvalidSignature.selector);
        token.permit(holder, spender, value, deadline, v, r, s);
    }

    function test_an_expired_permit_is_refused(address spender) public {
        uint256 deadline = block.timestamp - 1;
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf("holder"), _permitDigest(spender, 1, 0, deadline));
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.Expired.selector, deadline));
        token.permit(holder, spender, 1, deadline, v, r, s);
    }

    function test_the_high_s_twin_of_a_permit_is_refused(address spender) public {
        uint256 deadline = block.timestamp + 1;
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf("holder"), _permitDigest(spender, 1, 0, deadline));
        bytes32 twin = bytes32(SECP256K1_ORDER - uint256(s));
        vm.expectRevert(HighS.selector);
        token.permit(holder, spender, 1, deadline, v == 27 ? 28 : 27, r, twin);
    }

    function _authorization(string memory kind, address to, uint256 value, bytes32 nonce)
        internal
        view
        returns (bytes memory)
    {
        bytes32 typehash = keccak256(
            bytes(
                string.concat(
                    kind,
                    "WithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
                )
            )
        );
        bytes32 structHash = keccak256(abi.encode(typehash, holder, to, value, 0, type(uint256).max, nonce));
        return signed(keyOf("holder"), _digest(structHash));
    }

    function test_a_transfer_authorisation_works_once(address to, uint256 value, bytes32 nonce) public {
        vm.assume(to != address(0) && to != holder);
        value = bound(value, 0, 1e24);
        bytes memory signature = _authorization("Transfer", to, value, nonce);
        token.transferWithAuthorization(holder, to, value, 0, type(uint256).max, nonce, signature);
        assertEq(token.balanceOf(to), value);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.AuthorizationSpent.selector, holder, nonce));
        token.transferWithAuthorization(holder, to, value, 0, type(uint256).max, nonce, signature);
    }

    function test_a_receive_authorisation_is_for_its_receiver(address to, address thief, bytes32 nonce)
        public
    {
        vm.assume(to != address(0) && to != holder && thief != to);
        bytes memory signature = _authorization("Receive", to, 5, nonce);
        vm.prank(thief);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.NotReceiver.selector, to, thief));
        token.receiveWithAuthorization(holder, to, 5, 0, type(uint256).max, nonce, signature);
        vm.prank(to);
        token.receiveWithAuthorization(holder, to, 5, 0, type(uint256).max, nonce, signature);
        assertEq(token.balanceOf(to), 5);
    }

    function test_a_cancelled_authorisation_moves_nothing(address to, bytes32 nonce) public {
        bytes32 typehash = keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");
        bytes32 digest = _digest(keccak256(abi.encode(typehash, holder, nonce)));
        token.cancelAuthorization(holder, nonce, signed(keyOf("holder"), digest));
        bytes memory signature = _authorization("Transfer", to, 1, nonce);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.AuthorizationSpent.selector, holder, nonce));
        token.transferWithAuthorization(holder, to, 1, 0, type(uint256).max, nonce, signature);
    }

    function test_an_authorisation_has_its_time(bytes32 nonce) public {
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.NotYetValid.selector, block.timestamp));
        token.transferWithAuthorization(holder, address(7), 1, block.timestamp, type(uint256).max, nonce, "");
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.Expired.selector, block.timestamp));
        token.transferWithAuthorization(holder, address(7), 1, 0, block.timestamp, nonce, "");
    }
}

/// Calls the token with every kind of claim; the roots are its own.
contract RewardsHandler is Test {
    CoreToken public token;
    address[3] public owners = [address(0xA1), address(0xA2), address(0xA3)];
    uint128[3] public earned;
    uint128[3] internal _proven;
    uint256 public emitted;
    uint32 internal _epoch;
    uint256 internal _now = 1_700_000_000;

    constructor() {
        vm.warp(_now);
        token = new CoreToken(address(this), address(this), address(this), 1 days, 1e24, address(9), 1e24);
    }

    function _leaf(uint256 i, uint128 cumulative) internal view returns (bytes26) {
        return bytes26(keccak256(abi.encode(keccak256(abi.encodePacked(owners[i], cumulative)))));
    }

    function _pair(bytes26 left, bytes26 right) internal pure returns (bytes26) {
        return bytes26(keccak256(abi.encodePacked(left, right)));
    }

    function newEpoch(uint128 a, uint128 b, uint128 c) external {
        (a, b, c) = (uint128(bound(a, 0, 1e20)), uint128(bound(b, 0, 1e20)), uint128(bound(c, 0, 1e20)));
        (earned[0], earned[1], earned[2]) = (earned[0] + a, earned[1] + b, earned[2] + c);
        _proven = earned;
        bytes26 left = _pair(_leaf(0, earned[0]), _leaf(1, earned[1]));
        ++_epoch;
        token.proposeRoot(_epoch, _pair(left, _pair(_leaf(2, earned[2]), 0)), _epoch, a + b + c);
        emitted += a + b + c;
        _now += 1 days;
        vm.warp(_now);
    }

    function claim(uint256 who) external {
        uint256 i = bound(who, 0, 2);
        bytes26[] memory proof = new bytes26[](2);
        proof[0] = i == 0 ? _leaf(1, _proven[1]) : i == 1 ? _leaf(0, _proven[0]) : bytes26(0);
        proof[1] = i == 2 ? _pair(_leaf(0, _proven[0]), _leaf(1, _proven[1])) : _pair(_leaf(2, _proven[2]), 0);
        token.claim(owners[i], _proven[i], uint32(i), proof);
    }

    function give(uint256 from, uint256 to, uint256 amount) external {
        address sender = owners[bound(from, 0, 2)];
        amount = bound(amount, 0, token.balanceOf(sender));
        vm.prank(sender);
        token.transfer(owners[bound(to, 0, 2)], amount);
    }
}

contract CoreTokenInvariants is Test {
    RewardsHandler internal handler;

    function setUp() public {
        handler = new RewardsHandler();
        _target(address(handler));
    }

    /// What was minted beyond the first supply was emitted by some epoch.
    function invariant_minted_is_never_more_than_emitted() public view {
        assertTrue(handler.token().totalSupply() - 1e24 <= handler.emitted());
    }

    /// Nobody has claimed more than it has earned.
    function invariant_a_claim_never_pays_twice() public view {
        for (uint256 i = 0; i < 3; ++i) {
            assertTrue(handler.token().claimedOf(handler.owners(i)) <= handler.earned(i));
        }
    }

    /// Balances add up to the supply.
    function invariant_balances_add_up() public view {
        CoreToken token = handler.token();
        uint256 total = token.balanceOf(address(9));
        for (uint256 i = 0; i < 3; ++i) {
            total += token.balanceOf(handler.owners(i));
        }
        assertEq(total, token.totalSupply());
    }
}
