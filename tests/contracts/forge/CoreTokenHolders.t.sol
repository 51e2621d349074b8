// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "./Base.sol";
import { CoreToken } from "../../../contracts/CoreToken.sol";
import { ICoreToken } from "../../../contracts/interfaces/ICoreToken.sol";
import { ISignedToken } from "../../../contracts/interfaces/ISignedToken.sol";
import { HighS, InvalidSignature } from "../../../contracts/libraries/Signatures.sol";

/// given a holder
///   ├── permit and EIP-3009 move its tokens once, as signed, on this chain
///   └── nobody moves them otherwise
contract CoreTokenHoldersTest is Test {
    CoreToken internal token;
    address internal holder = makeAddr("holder");

    function setUp() public {
        vm.warp(1_700_000_000);
        token = new CoreToken(address(this), address(this), address(this), 1 days, 1e24, 0, holder, 1e24);
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
        vm.expectRevert(
            abi.encodeWithSelector(ISignedToken.InsufficientBalance.selector, holder, 1e24, amount)
        );
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
            abi.encodeWithSelector(
                ISignedToken.InsufficientAllowance.selector, spender, uint256(0), uint256(1)
            )
        );
        token.transferFrom(holder, address(7), 1);
    }

    function test_an_endless_allowance_is_not_used_up(address spender) public {
        vm.assume(spender != holder && spender != address(0));
        vm.prank(holder);
        token.approve(spender, type(uint256).max);
        vm.prank(spender);
        token.transferFrom(holder, address(7), 5);
        assertEq(token.allowance(holder, spender), type(uint256).max);
    }

    function test_tokens_do_not_go_to_the_zero_address() public {
        vm.prank(holder);
        vm.expectRevert(ISignedToken.ZeroReceiver.selector);
        token.transfer(address(0), 1);
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
        vm.expectRevert(abi.encodeWithSelector(ISignedToken.Expired.selector, deadline));
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
        vm.expectRevert(abi.encodeWithSelector(ISignedToken.AuthorizationSpent.selector, holder, nonce));
        token.transferWithAuthorization(holder, to, value, 0, type(uint256).max, nonce, signature);
    }

    function test_a_receive_authorisation_is_for_its_receiver(address to, address thief, bytes32 nonce)
        public
    {
        vm.assume(to != address(0) && to != holder && thief != to);
        bytes memory signature = _authorization("Receive", to, 5, nonce);
        vm.prank(thief);
        vm.expectRevert(abi.encodeWithSelector(ISignedToken.NotReceiver.selector, to, thief));
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
        vm.expectRevert(abi.encodeWithSelector(ISignedToken.AuthorizationSpent.selector, holder, nonce));
        token.transferWithAuthorization(holder, to, 1, 0, type(uint256).max, nonce, signature);
    }

    function test_an_authorisation_has_its_time(bytes32 nonce) public {
        vm.expectRevert(abi.encodeWithSelector(ISignedToken.NotYetValid.selector, block.timestamp));
        token.transferWithAuthorization(holder, address(7), 1, block.timestamp, type(uint256).max, nonce, "");
        vm.expectRevert(abi.encodeWithSelector(ISignedToken.Expired.selector, block.timestamp));
        token.transferWithAuthorization(holder, address(7), 1, 0, block.timestamp, nonce, "");
    }

    function test_an_authorisation_says_who_and_how_much(address to, uint256 value, bytes32 nonce) public {
        vm.assume(to != address(0) && to != address(7) && value != 5);
        bytes memory signature = _authorization("Transfer", address(7), 5, nonce);
        vm.expectRevert(InvalidSignature.selector);
        token.transferWithAuthorization(holder, to, 5, 0, type(uint256).max, nonce, signature);
        vm.expectRevert(InvalidSignature.selector);
        token.transferWithAuthorization(holder, address(7), value, 0, type(uint256).max, nonce, signature);
        vm.prank(address(7));
        vm.expectRevert(InvalidSignature.selector);
        token.receiveWithAuthorization(holder, address(7), 5, 0, type(uint256).max, nonce, signature);
    }

    function test_an_authorisation_of_another_chain_moves_nothing(bytes32 nonce) public {
        bytes memory signature = _authorization("Transfer", address(7), 5, nonce);
        vm.chainId(block.chainid + 1);
        vm.expectRevert(InvalidSignature.selector);
        token.transferWithAuthorization(holder, address(7), 5, 0, type(uint256).max, nonce, signature);
    }

    function test_an_authorisation_is_cancelled_once_and_by_its_author(bytes32 nonce) public {
        bytes32 typehash = keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");
        bytes32 digest = _digest(keccak256(abi.encode(typehash, holder, nonce)));
        bytes memory foreign = signed(keyOf("proposer"), digest);
        vm.expectRevert(InvalidSignature.selector);
        token.cancelAuthorization(holder, nonce, foreign);
        bytes memory own = signed(keyOf("holder"), digest);
        token.cancelAuthorization(holder, nonce, own);
        vm.expectRevert(abi.encodeWithSelector(ISignedToken.AuthorizationSpent.selector, holder, nonce));
        token.cancelAuthorization(holder, nonce, own);
    }

    // ------------------------------------------------- signatures in three parts

    function _parts(bytes memory signature) internal pure returns (uint8 v, bytes32 r, bytes32 s) {
        assertEq(signature.length, 65);
        v = uint8(signature[64]);
        for (uint256 i = 0; i < 32; ++i) {
            r |= bytes32(signature[i]) >> (8 * i);
            s |= bytes32(signature[32 + i]) >> (8 * i);
        }
    }

    function test_both_forms_of_a_signature_are_one_authorisation(address to, uint256 value, bytes32 nonce)
        public
    {
        vm.assume(to != address(0) && to != holder);
        value = bound(value, 0, 1e24);
        bytes memory whole = _authorization("Transfer", to, value, nonce);
        (uint8 v, bytes32 r, bytes32 s) = _parts(whole);
        token.transferWithAuthorization(holder, to, value, 0, type(uint256).max, nonce, v, r, s);
        assertEq(token.balanceOf(to), value);
        vm.expectRevert(abi.encodeWithSelector(ISignedToken.AuthorizationSpent.selector, holder, nonce));
        token.transferWithAuthorization(holder, to, value, 0, type(uint256).max, nonce, whole);
    }

    function test_in_three_parts_too_it_is_for_its_receiver(address to, address thief, bytes32 nonce) public {
        vm.assume(to != address(0) && to != holder && thief != to);
        (uint8 v, bytes32 r, bytes32 s) = _parts(_authorization("Receive", to, 5, nonce));
        vm.prank(thief);
        vm.expectRevert(abi.encodeWithSelector(ISignedToken.NotReceiver.selector, to, thief));
        token.receiveWithAuthorization(holder, to, 5, 0, type(uint256).max, nonce, v, r, s);
        vm.prank(to);
        token.receiveWithAuthorization(holder, to, 5, 0, type(uint256).max, nonce, v, r, s);
        assertEq(token.balanceOf(to), 5);
    }

    function test_in_three_parts_too_another_key_or_high_s_moves_nothing(bytes32 nonce) public {
        bytes memory signature = _authorization("Transfer", address(7), 5, nonce);
        (uint8 v, bytes32 r, bytes32 s) = _parts(signature);
        vm.expectRevert(InvalidSignature.selector);
        token.transferWithAuthorization(address(8), address(7), 5, 0, type(uint256).max, nonce, v, r, s);
        bytes32 twin = bytes32(SECP256K1_ORDER - uint256(s));
        vm.expectRevert(HighS.selector);
        token.transferWithAuthorization(holder, address(7), 5, 0, type(uint256).max, nonce, 55 - v, r, twin);
        assertFalse(token.authorizationState(holder, nonce));
    }

    function test_in_three_parts_too_an_authorisation_is_cancelled(bytes32 nonce) public {
        bytes32 typehash = keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");
        bytes32 digest = _digest(keccak256(abi.encode(typehash, holder, nonce)));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf("holder"), digest);
        vm.expectRevert(InvalidSignature.selector);
        token.cancelAuthorization(address(8), nonce, v, r, s);
        vm.expectEmit(address(token));
        emit ISignedToken.AuthorizationCanceled(holder, nonce);
        token.cancelAuthorization(holder, nonce, v, r, s);
        assertTrue(token.authorizationState(holder, nonce));
    }
}
