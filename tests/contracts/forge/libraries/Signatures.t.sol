// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "../Base.sol";
import { HighS, InvalidSignature, Signatures } from "../../../../contracts/libraries/Signatures.sol";

contract SignaturesCaller {
    function recover(bytes32 digest, bytes calldata signature) external pure returns (address) {
        return Signatures.recover(digest, signature);
    }

    function recoverParts(bytes32 digest, uint8 v, bytes32 r, bytes32 s) external pure returns (address) {
        return Signatures.recover(digest, v, r, s);
    }

    function requireAccount(address account, bytes32 digest, bytes calldata signature) external view {
        Signatures.requireAccount(account, digest, signature);
    }

    function isByAccount(address account, bytes32 digest, bytes calldata signature, uint256 gasLimit)
        external
        view
        returns (bool)
    {
        return Signatures.isByAccount(account, digest, signature, gasLimit);
    }

    function requireSigner(address signer, bytes32 digest, bytes calldata signature) external pure {
        Signatures.requireSigner(signer, digest, signature);
    }

    function isCompactBy(address signer, bytes32 digest, bytes calldata signature)
        external
        pure
        returns (bool)
    {
        return Signatures.isCompactBy(signer, digest, signature);
    }

    function isP256By(bytes32 x, bytes32 y, bytes32 digest, bytes calldata signature)
        external
        view
        returns (bool)
    {
        return Signatures.isP256By(x, y, digest, signature);
    }

    function hasP256() external view returns (bool) {
        return Signatures.hasP256();
    }

    function requireP256(bytes32 x, bytes32 y, bytes32 digest, bytes calldata signature) external view {
        Signatures.requireP256(x, y, digest, signature);
    }
}

/// A contract account, or a precompile, that answers every question alike and says what it was asked.
contract ScriptedJudge {
    bytes32 public word;
    uint256 public length;
    bool public reverts;
    bytes32 public expected;

    function answer(bytes32 newWord, uint256 newLength, bool newReverts) external {
        (word, length, reverts) = (newWord, newLength, newReverts);
    }

    /// Only this question is answered; zero for any.
    function expect(bytes32 question) external {
        expected = question;
    }

    fallback() external {
        (bytes32 found, uint256 size, bool fails) = (word, length, reverts);
        if (expected != 0 && keccak256(msg.data) != expected) found = 0;
        assembly ("memory-safe") {
            mstore(0, found)
            if fails { revert(0, size) }
            return(0, size)
        }
    }
}

/// given a digest and a signature
///   ├── a key's is taken in 64 or 65 bytes, with a low s, and in no other form
///   ├── a contract account is asked when the key has not signed, and agrees with one word only
///   └── a P-256 key's is taken with a low s, where the chain verifies it
contract SignaturesTest is Test {
    uint256 internal constant P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551;
    bytes4 internal constant MAGIC = 0x1626ba7e;

    SignaturesCaller internal caller = new SignaturesCaller();
    uint256 internal key = keyOf("signer");
    address internal signer = makeAddr("signer");
    ScriptedJudge internal account = new ScriptedJudge();

    function _highS(bytes32 digest) private view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, bytes32(SECP256K1_ORDER - uint256(s)), v ^ 7);
    }

    function _recovers(bytes32 digest, bytes memory signature) private view {
        assertEq(caller.recover(digest, signature), signer);
        caller.requireSigner(signer, digest, signature);
        caller.requireAccount(signer, digest, signature);
        assertTrue(caller.isByAccount(signer, digest, signature, 50_000));
    }

    function _refused(bytes32 digest, bytes memory signature, bytes4 why) private {
        assertFalse(caller.isByAccount(signer, digest, signature, 50_000));
        assertFalse(caller.isCompactBy(signer, digest, signature));
        vm.expectRevert(why);
        caller.recover(digest, signature);
        vm.expectRevert(why);
        caller.requireSigner(signer, digest, signature);
        vm.expectRevert(why);
        caller.requireAccount(signer, digest, signature);
    }

    function test_a_key_signs_in_64_or_65_bytes(bytes32 seed) public view {
        for (uint256 i = 0; i < 4; ++i) {
            bytes32 digest = keccak256(abi.encode(seed, i));
            (bytes memory short, bytes memory long) = (signedCompact(key, digest), signed(key, digest));
            _recovers(digest, short);
            _recovers(digest, long);
            assertTrue(caller.isCompactBy(signer, digest, short));
            assertFalse(caller.isCompactBy(signer, digest, long));
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
            assertEq(caller.recoverParts(digest, v, r, s), signer);
        }
    }

    function test_a_high_s_is_a_second_encoding(bytes32 digest) public {
        bytes memory high = _highS(digest);
        _refused(digest, high, HighS.selector);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        vm.expectRevert(HighS.selector);
        caller.recoverParts(digest, v ^ 7, r, bytes32(SECP256K1_ORDER - uint256(s)));
    }

    /// Half the order is the last low s; what it recovers to is nobody's business.
    function test_half_the_order_is_low(bytes32 digest, bytes32 r) public {
        uint256 half = SECP256K1_ORDER / 2;
        bytes memory edge = abi.encodePacked(bytes32(uint256(1)), half, uint8(27));
        assertTrue(caller.recover(digest, edge) != address(0));
        assertTrue(caller.recoverParts(digest, 27, bytes32(uint256(1)), bytes32(half)) != address(0));
        address whose = caller.recover(digest, edge);
        assertTrue(caller.isByAccount(whose, digest, edge, 0));
        vm.expectRevert(HighS.selector);
        caller.recover(digest, abi.encodePacked(r, half + 1, uint8(27)));
        vm.expectRevert(HighS.selector);
        caller.recoverParts(digest, 27, r, bytes32(half + 1));
        (bool same, address other) = _ecrecover(digest, half + 1);
        assertTrue(same);
        assertFalse(caller.isByAccount(other, digest, abi.encodePacked(uint256(1), half + 1, uint8(27)), 0));
    }

    function _ecrecover(bytes32 digest, uint256 s) private pure returns (bool found, address whose) {
        whose = ecrecover(digest, 27, bytes32(uint256(1)), bytes32(s));
        found = whose != address(0);
    }

    function test_a_signature_has_no_other_length(bytes32 digest, uint8 length) public {
        bytes memory long = bytes.concat(signed(key, digest), new bytes(64));
        for (uint256 i = 0; i < 4; ++i) {
            uint256 size = [uint256(63), 66, 0, length][i];
            if (size == 64 || size == 65) continue;
            bytes memory cut = bytes.concat(long, new bytes(128));
            assembly ("memory-safe") {
                mstore(cut, size)
            }
            _refused(digest, cut, InvalidSignature.selector);
        }
    }

    function test_v_is_27_or_28(bytes32 digest, uint8 v) public {
        vm.assume(v != 27 && v != 28);
        (, bytes32 r, bytes32 s) = vm.sign(key, digest);
        _refused(digest, abi.encodePacked(r, s, v), InvalidSignature.selector);
        vm.expectRevert(InvalidSignature.selector);
        caller.recoverParts(digest, v, r, s);
    }

    function test_nobody_signs_for_another(bytes32 digest, bytes32 other) public {
        vm.assume(digest != other);
        bytes memory signature = signed(key, other);
        assertFalse(caller.isByAccount(signer, digest, signature, 50_000));
        vm.expectRevert(InvalidSignature.selector);
        caller.requireSigner(signer, digest, signature);
        vm.expectRevert(InvalidSignature.selector);
        caller.requireAccount(signer, digest, signature);
    }

    /// A recovery that fails gives the address zero, which must not count as a signer.
    function test_the_address_zero_signs_nothing(bytes32 digest) public {
        bytes memory nothing = new bytes(64);
        assertFalse(caller.isCompactBy(address(0), digest, nothing));
        assertFalse(caller.isByAccount(address(0), digest, nothing, 50_000));
        vm.expectRevert(InvalidSignature.selector);
        caller.requireSigner(address(0), digest, nothing);
        vm.expectRevert(InvalidSignature.selector);
        caller.requireAccount(address(0), digest, nothing);
    }

    function _agrees(bytes32 digest, bytes memory signature, bool expected) private {
        assertTrue(caller.isByAccount(address(account), digest, signature, 100_000) == expected);
        if (!expected) vm.expectRevert(InvalidSignature.selector);
        caller.requireAccount(address(account), digest, signature);
    }

    function test_a_contract_agrees_by_one_word(bytes32 digest, bytes calldata signature) public {
        account.expect(keccak256(abi.encodeWithSelector(MAGIC, digest, signature)));
        account.answer(MAGIC, 32, false);
        _agrees(digest, signature, true);
        account.answer(MAGIC, 64, false);
        _agrees(digest, signature, true);
    }

    function test_a_contract_disagrees_by_anything_else(bytes32 digest, bytes32 word, uint8 length) public {
        bytes memory signature = signed(keyOf("somebody else"), digest);
        vm.assume(word != MAGIC);
        account.answer(word, 32, false);
        _agrees(digest, signature, false);
        account.answer(MAGIC, bound(length, 0, 31), false);
        _agrees(digest, signature, false);
        account.answer(MAGIC, 31, false);
        _agrees(digest, signature, false);
        account.answer(MAGIC, 32, true);
        _agrees(digest, signature, false);
        account.answer(bytes32(MAGIC) | bytes32(uint256(1)), 32, false);
        _agrees(digest, signature, false);
    }

    function test_an_account_without_code_agrees_to_nothing(bytes32 digest, bytes32 r) public {
        address nobody = makeAddr("nobody");
        assertFalse(caller.isByAccount(nobody, digest, abi.encode(r), 50_000));
        vm.expectRevert(InvalidSignature.selector);
        caller.requireAccount(nobody, digest, abi.encode(r));
    }

    /// An account that takes on code later (EIP-7702) does not take back what its key has signed.
    function test_the_key_is_asked_before_the_code(bytes32 digest) public {
        bytes memory signature = signed(key, digest);
        vm.etch(signer, address(account).code);
        _recovers(digest, signature);
    }

    function test_a_contract_gets_no_more_gas_than_it_is_given(bytes32 digest) public {
        account.answer(MAGIC, 32, false);
        assertTrue(caller.isByAccount(address(account), digest, "", 100_000));
        assertFalse(caller.isByAccount(address(account), digest, "", 100));
        assertFalse(caller.isByAccount(address(account), digest, "", 0));
    }

    function _p256(bytes32 digest) private view returns (bytes32 x, bytes32 y, bytes32 r, uint256 s) {
        (uint256 px, uint256 py) = vm.publicKeyP256(key);
        (bytes32 one, bytes32 two) = vm.signP256(key, digest);
        uint256 low = uint256(two) > P256_ORDER / 2 ? P256_ORDER - uint256(two) : uint256(two);
        return (bytes32(px), bytes32(py), one, low);
    }

    function test_a_p256_key_signs_with_a_low_s(bytes32 digest) public {
        (bytes32 x, bytes32 y, bytes32 r, uint256 s) = _p256(digest);
        bytes memory signature = abi.encode(r, s);
        caller.requireP256(x, y, digest, signature);
        assertTrue(caller.isP256By(x, y, digest, signature));
        bytes memory high = abi.encode(r, P256_ORDER - s);
        assertFalse(caller.isP256By(x, y, digest, high));
        vm.expectRevert(HighS.selector);
        caller.requireP256(x, y, digest, high);
    }

    function test_another_p256_signature_is_refused(bytes32 digest, bytes32 other) public {
        vm.assume(digest != other);
        (bytes32 x, bytes32 y, bytes32 r, uint256 s) = _p256(digest);
        assertFalse(caller.isP256By(x, y, other, abi.encode(r, s)));
        vm.expectRevert(InvalidSignature.selector);
        caller.requireP256(x, y, other, abi.encode(r, s));
        vm.expectRevert(InvalidSignature.selector);
        caller.requireP256(x, y, digest, abi.encodePacked(r, s, uint8(0)));
        vm.expectRevert(InvalidSignature.selector);
        caller.requireP256(x, y, digest, abi.encodePacked(r, uint248(s >> 8)));
    }

    function test_the_chain_is_known_to_verify_p256() public view {
        assertTrue(caller.hasP256());
    }

    function _verifiesNothing() private {
        assertFalse(caller.hasP256());
        assertFalse(caller.isP256By(0, 0, 0, new bytes(64)));
        vm.expectRevert(InvalidSignature.selector);
        caller.requireP256(0, 0, 0, new bytes(64));
    }

    function _half(uint256 s) private view returns (bool) {
        return caller.isP256By(0, 0, 0, abi.encode(bytes32(0), s));
    }

    function test_only_a_word_that_is_one_verifies(bytes32 word) public {
        // A precompile cannot be replaced here, so its answers are mocked.
        vm.assume(word != bytes32(uint256(1)));
        vm.mockCall(address(0x100), "", abi.encode(1));
        assertTrue(_half(P256_ORDER / 2));
        assertFalse(_half(P256_ORDER / 2 + 1));
        caller.requireP256(0, 0, 0, abi.encode(0, P256_ORDER / 2));
        vm.expectRevert(HighS.selector);
        caller.requireP256(0, 0, 0, abi.encode(0, P256_ORDER / 2 + 1));
        vm.mockCall(address(0x100), "", "");
        _verifiesNothing();
        vm.mockCall(address(0x100), "", abi.encode(word));
        _verifiesNothing();
        vm.mockCall(address(0x100), "", abi.encode(1, 1));
        _verifiesNothing();
        vm.mockCall(address(0x100), "", abi.encodePacked(uint248(1)));
        _verifiesNothing();
    }
}
