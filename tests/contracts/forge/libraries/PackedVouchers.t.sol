// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Log } from "../Base.sol";
import { EXACT_WALLET, IPackedHost, PackedFixture, SlowWallet } from "./PackedFixture.sol";
import { IPaymentChannels } from "../../../../contracts/interfaces/IPaymentChannels.sol";
import { InvalidSignature } from "../../../../contracts/libraries/Signatures.sol";

/// given groups of packed vouchers
///   ├── a row redeems the channel that its terms hash to, in every form and size, and nothing else changes
///   ├── what was redeemed is listed, what was refused is told with the reason, what adds nothing is passed over
///   ├── nobody signs for the address zero, or twice with one signature
///   ├── accounts judge within their gas, and cannot touch the list
///   └── bytes of another layout are refused, with their place
contract PackedVouchersTest is PackedFixture {
    function _head(uint8 kind, uint8 role) private pure returns (Head memory) {
        return Head(kind % 3, role % 3, 32, 12, 900, address(0x70cE7), address(0xCa11e4), address(0x07e4));
    }

    function _rows(Row memory one) private pure returns (Row[] memory rows) {
        rows = new Row[](1);
        rows[0] = one;
    }

    function _words(bytes32 one) private pure returns (bytes32[] memory words) {
        words = new bytes32[](1);
        words[0] = one;
    }

    // ------------------------------------------------------------------------------------------------- what is paid

    function _redeemsThree(Head memory h, uint256 salt, uint256 amount) private {
        Row[] memory rows = new Row[](3);
        bytes32[] memory words = new bytes32[](3);
        uint256 salts = h.saltBytes == 32 ? type(uint256).max : (uint256(1) << (8 * h.saltBytes)) - 1;
        uint256 most = (uint256(1) << (8 * h.amountBytes)) - 1;
        uint256 due = 0;
        for (uint256 i = 0; i < 3; ++i) {
            rows[i] = _row(h, (salt & salts) ^ i, i == 0 ? most : bound(amount, 1, most));
            _fund(h, rows[i], 0, rows[i].amount + i);
            (words[i], due) = (_listed(h, rows[i]), due + rows[i].amount);
        }
        Log[] memory logs = _redeems(h.caller, _group(h, rows), 3);
        assertEq(logs.length, 2);
        _isList(logs[0], words);
        _isPaid(logs[1], h, due);
        for (uint256 i = 0; i < 3; ++i) {
            _holds(h, rows[i], rows[i].amount, rows[i].amount + i);
        }
    }

    function test_every_form_redeems_the_channel_that_its_terms_hash_to(
        uint256 salt,
        uint96 amount,
        uint24 delay,
        address token,
        address caller,
        address other
    ) public {
        for (uint8 form = 0; form < 9; ++form) {
            (uint8 saltBytes, uint8 amountBytes) =
                (uint8(uint256(keccak256(abi.encode(salt, form))) % 33), 12);
            if (saltBytes == 0) saltBytes = 1;
            Head memory h = Head(form % 3, form / 3, saltBytes, amountBytes, delay, token, caller, other);
            _redeemsThree(h, salt, amount);
        }
    }

    function test_salts_have_0_to_32_bytes_and_amounts_1_to_12(uint256 salt, uint96 amount) public {
        uint8[2][7] memory sizes = [[1, 1], [1, 12], [32, 1], [32, 12], [31, 11], [0, 1], [0, 12]];
        for (uint256 i = 0; i < 7; ++i) {
            for (uint8 kind = 0; kind < 3; ++kind) {
                Head memory h = _head(kind, uint8(salt % 3));
                (h.saltBytes, h.amountBytes) = (sizes[i][0], sizes[i][1]);
                h.delay = uint24(i);
                if (h.saltBytes == 0) _redeemsOneWithoutSalt(h, amount);
                else _redeemsThree(h, salt, amount);
            }
        }
    }

    function _redeemsOneWithoutSalt(Head memory h, uint96 amount) private {
        uint256 most = (uint256(1) << (8 * h.amountBytes)) - 1;
        Row memory row = _row(h, 0, bound(amount, 1, most));
        _fund(h, row, 0, type(uint128).max);
        Log[] memory logs = _redeems(h.caller, _group(h, _rows(row)), 1);
        _isList(logs[0], _words(_listed(h, row)));
        _holds(h, row, row.amount, type(uint128).max);
    }

    /// A group leaves nothing of its terms, its salts or its list to the next one.
    function test_groups_do_not_mix(uint256 salt, uint8 first, uint8 second) public {
        Head memory one = _head(first, first / 3);
        Head memory two = _head(second, second / 3);
        (two.saltBytes, two.amountBytes, two.delay, two.token) = (2, 3, 901, address(1));
        Row[] memory rows = new Row[](2);
        (rows[0], rows[1]) = (_row(one, ~uint256(0), 5), _row(one, salt, 6));
        if (salt == ~uint256(0)) return;
        _fund(one, rows[0], 0, 9);
        _fund(one, rows[1], 0, 9);
        Row memory row = _row(two, uint16(salt), 7);
        _fund(two, row, 0, 9);
        Log[] memory logs = _redeems(one.caller, bytes.concat(_group(one, rows), _group(two, _rows(row))), 3);
        assertEq(logs.length, 4);
        bytes32[] memory words = new bytes32[](2);
        (words[0], words[1]) = (_listed(one, rows[0]), _listed(one, rows[1]));
        _isList(logs[0], words);
        _isPaid(logs[1], one, 11);
        _isList(logs[2], _words(_listed(two, row)));
        _isPaid(logs[3], two, 7);
    }

    function test_a_voucher_pays_what_it_adds(uint8 kind, uint96 claimed, uint96 amount, uint128 balance)
        public
    {
        Head memory h = _head(kind, kind / 3);
        amount = uint96(bound(amount, 2, type(uint96).max));
        claimed = uint96(bound(claimed, 0, amount - 1));
        balance = uint128(bound(balance, amount, type(uint128).max));
        Row[] memory rows = new Row[](3);
        (rows[0], rows[1], rows[2]) = (_row(h, 1, amount), _row(h, 1, amount), _row(h, 1, amount - 1));
        _fund(h, rows[0], claimed, balance);
        Log[] memory logs = _redeems(h.caller, _group(h, rows), 1);
        assertEq(logs.length, 2);
        _isList(logs[0], _words(_listed(h, rows[0])));
        _isPaid(logs[1], h, amount - claimed);
        _holds(h, rows[0], amount, balance);
    }

    function test_what_adds_nothing_is_passed_over_in_silence(uint8 kind, uint96 amount) public {
        Head memory h = _head(kind, kind / 3);
        Row memory row = _row(h, 1, amount);
        for (uint256 more = 0; more < 2; ++more) {
            _fund(h, row, uint256(amount) + more, type(uint128).max);
            Log[] memory logs = _redeems(h.caller, _group(h, _rows(row)), 0);
            assertEq(logs.length, 1);
            _isPaid(logs[0], h, 0);
            _holds(h, row, uint256(amount) + more, type(uint128).max);
        }
    }

    // ---------------------------------------------------------------------------------------------- what is refused

    function _refuses(Head memory h, Row memory bad, bytes4 why) private {
        Row[] memory rows = new Row[](3);
        (rows[0], rows[1], rows[2]) = (_row(h, 98, 5), bad, _row(h, 99, 6));
        _fund(h, rows[0], 0, 5);
        _fund(h, rows[2], 0, 6);
        uint256 word = host.get(_id(h, bad));
        Log[] memory logs = _redeems(h.caller, _group(h, rows), 2);
        assertEq(logs.length, 3);
        _isRefused(logs[0], h, bad, why);
        bytes32[] memory words = new bytes32[](2);
        (words[0], words[1]) = (_listed(h, rows[0]), _listed(h, rows[2]));
        _isList(logs[1], words);
        _isPaid(logs[2], h, 11);
        assertEq(host.get(_id(h, bad)), word);
    }

    function test_more_than_was_deposited_is_refused(uint8 kind, uint96 balance) public {
        Head memory h = _head(kind, kind / 3);
        balance = uint96(bound(balance, 0, type(uint96).max - 1));
        Row memory row = _row(h, 1, uint256(balance) + 1);
        _fund(h, row, 0, balance);
        _refuses(h, row, IPaymentChannels.ClaimExceedsBalance.selector);
    }

    function test_what_nobody_signed_is_refused(uint8 kind, uint8 place, uint8 change) public {
        vm.assume(change != 0);
        Head memory h = _head(kind, kind / 3);
        Row memory row = _row(h, 1, 7);
        _fund(h, row, 0, 7);
        row.signature[place % 64] ^= bytes1(change);
        _refuses(h, row, InvalidSignature.selector);
        _fund(h, row, 0, 6);
        _refuses(h, row, InvalidSignature.selector);
        row.signature = signedCompact(keyOf("thief"), _voucher(_id(h, row), 7));
        _refuses(h, row, InvalidSignature.selector);
    }

    /// The other encoding of the same consent, cut to the bits that 64 bytes have for it.
    function test_a_high_s_is_refused(uint8 kind, uint96 amount) public {
        Head memory h = _head(kind, kind / 3);
        Row memory row = _row(h, 1, bound(amount, 1, type(uint96).max));
        _fund(h, row, 0, row.amount);
        (, bytes32 r, bytes32 s) =
            vm.sign(keyOf(h.kind == 1 ? "voucher key" : "payer"), _voucher(_id(h, row), row.amount));
        uint256 high = SECP256K1_ORDER - uint256(s);
        for (uint256 parity = 0; parity < 2; ++parity) {
            row.signature = abi.encode(r, high << 1 >> 1 | parity << 255);
            _refuses(h, row, InvalidSignature.selector);
        }
    }

    /// Nobody can make such signatures, so what would be recovered from them is made up.
    function test_an_s_is_at_most_half_the_order(uint8 kind, bytes32 r) public {
        Head memory h = _head(kind % 2, kind / 2);
        for (uint256 more = 0; more < 2; ++more) {
            Row memory row = _row(h, more, 7);
            row.signature = abi.encode(r, SECP256K1_ORDER / 2 + more);
            bytes memory question = abi.encode(_voucher(_id(h, row), 7), 27, r, SECP256K1_ORDER / 2 + more);
            vm.mockCall(address(1), question, abi.encode(h.kind == 1 ? row.authorizer : row.payer));
            _fund(h, row, 0, 7);
            if (more == 0) _redeems(h.caller, _group(h, _rows(row)), 1);
            else _refuses(h, row, InvalidSignature.selector);
        }
    }

    /// A recovery that fails answers nothing; nothing must not pass for the address zero.
    function test_nobody_signs_for_the_address_zero(uint8 kind, bytes32 s) public {
        Head memory h = _head(kind, kind / 3);
        Row memory row = Row(kind % 3 == 1 ? payer : address(0), address(0), 1, 7, abi.encode(0, s));
        _fund(h, row, 0, 7);
        _refuses(h, row, InvalidSignature.selector);
        row.signature = abi.encode(SECP256K1_ORDER, uint256(1));
        _refuses(h, row, InvalidSignature.selector);
    }

    /// Nor may what an earlier row recovered.
    function test_a_signer_does_not_sign_the_next_row_too() public {
        Head memory h = _head(0, 0);
        Row[] memory rows = new Row[](2);
        (rows[0], rows[1]) = (_row(h, 1, 5), _row(h, 2, 5));
        _fund(h, rows[0], 0, 9);
        _fund(h, rows[1], 0, 9);
        rows[1].signature = abi.encode(0, 1);
        Log[] memory logs = _redeems(h.caller, _group(h, rows), 1);
        _isRefused(logs[0], h, rows[1], InvalidSignature.selector);
        _holds(h, rows[1], 0, 9);
    }

    // --------------------------------------------------------------------------------------------- contract accounts

    function _walletRow(Head memory h, address wallet, uint256 amount) private returns (Row memory r) {
        r = Row(wallet, address(0), 3, amount, "");
        r.signature = abi.encode(_voucher(_id(h, r), amount));
        _fund(h, r, 0, amount);
    }

    function test_accounts_judge_their_own_vouchers(uint8 role, uint96 amount) public {
        Head memory h = _head(2, role);
        amount = uint96(bound(amount, 1, type(uint96).max));
        Row[] memory rows = new Row[](4);
        bytes32[] memory words = new bytes32[](4);
        for (uint256 i = 0; i < 4; ++i) {
            rows[i] = i == 2 ? _row(h, 9, amount) : _walletRow(h, address(new SlowWallet(0)), amount);
            _fund(h, rows[i], 0, amount);
            words[i] = _listed(h, rows[i]);
        }
        Log[] memory logs = _redeems(h.caller, _group(h, rows), 4);
        _isList(logs[0], words);
        _isPaid(logs[1], h, 4 * uint256(amount));
    }

    function test_an_account_that_disagrees_is_refused(uint8 role, bytes calldata signature) public {
        Head memory h = _head(2, role);
        Row memory row = _walletRow(h, address(new SlowWallet(0)), 7);
        row.signature = signature;
        _refuses(h, row, InvalidSignature.selector);
    }

    /// 200,000 gas for each, the question included.
    function test_an_account_judges_within_its_gas(uint8 role) public {
        Head memory h = _head(2, role);
        _refuses(h, _walletRow(h, address(new SlowWallet(200_000)), 7), InvalidSignature.selector);
        Row memory row = _walletRow(h, address(new SlowWallet(180_000)), 7);
        _redeems(h.caller, _group(h, _rows(row)), 1);
        vm.etch(address(0xacc7), EXACT_WALLET);
        row = _walletRow(h, address(0xacc7), 7);
        _redeems(h.caller, _group(h, _rows(row)), 1);
    }

    function test_the_signature_of_an_account_ends_with_the_calldata(uint16 beyond) public {
        Head memory h = _head(2, 1);
        Row[] memory rows = new Row[](2);
        (rows[0], rows[1]) = (_row(h, 1, 7), _row(h, 2, 7));
        bytes memory group = _group(h, rows);
        uint256 place = group.length - 66;
        uint256 size = bound(beyond, 65, type(uint16).max);
        (group[place], group[place + 1]) = (bytes1(uint8(size >> 8)), bytes1(uint8(size)));
        _reverts(group, abi.encodeWithSelector(IPackedHost.MalformedRows.selector, group.length - 64 - 66));
        (group[place], group[place + 1]) = (0, bytes1(uint8(65)));
        _reverts(group, abi.encodeWithSelector(IPackedHost.MalformedRows.selector, group.length - 64 - 66));
    }

    // ------------------------------------------------------------------------------------------------ malformed bytes

    function _malformed(uint256 position) private pure returns (bytes memory) {
        return abi.encodeWithSelector(IPackedHost.MalformedRows.selector, position);
    }

    function test_a_head_that_means_nothing_is_refused(uint8 any) public {
        for (uint256 form = 0; form < 256; form += form < 16 ? 1 : 80) {
            if (form % 4 == 3 || form > 10) {
                _reverts(abi.encodePacked(uint8(form), hex"01010001", new bytes(999)), _malformed(0));
            }
        }
        uint8[4] memory salts = [33, 255, uint8(bound(any, 33, 255)), 64];
        uint8[4] memory amounts = [13, 0, 255, uint8(bound(any, 13, 255))];
        for (uint256 i = 0; i < 4; ++i) {
            _reverts(abi.encodePacked(uint8(0), salts[i], uint8(1), uint16(1), new bytes(999)), _malformed(0));
            _reverts(
                abi.encodePacked(uint8(0), uint8(1), amounts[i], uint16(1), new bytes(999)), _malformed(0)
            );
        }
        _reverts(abi.encodePacked(uint8(0), uint8(1), uint8(1), uint16(0), new bytes(999)), _malformed(0));
    }

    function test_rows_end_with_the_calldata(uint8 kind, uint8 role, uint8 count) public {
        Head memory h = _head(kind, role);
        Row[] memory rows = new Row[](bound(count, 1, 3));
        for (uint256 i = 0; i < rows.length; ++i) {
            rows[i] = _row(h, i, 7);
            if (h.kind == 2) rows[i].signature = "";
        }
        bytes memory group = _group(h, rows);
        (bool done,) = _call(h.caller, group);
        assertTrue(done);
        assembly ("memory-safe") {
            mstore(group, sub(mload(group), 1))
        }
        _reverts(group, _malformed(0));
        bytes memory good = _group(h, _rows(rows[0]));
        _reverts(bytes.concat(good, group), _malformed(good.length));
        _reverts(bytes.concat(good, hex"00"), _malformed(good.length));
    }

    function test_no_bytes_are_no_batch() public {
        _reverts("", abi.encodeWithSelector(IPaymentChannels.EmptyBatch.selector));
    }

    function test_memory_that_is_taken_is_not_written_over() public {
        bytes memory group = abi.encodePacked(uint8(0), hex"01010001", new bytes(999));
        for (uint256 size = 0; size <= 64; size += 32) {
            (bool kept,) = host.openAfter(size, group);
            assertTrue(kept, "kept");
        }
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 1));
        host.openAfter(65, group);
    }

    function test_a_list_reserves_a_word_for_each_row_and_no_more(uint8 kind, uint8 role, uint8 count)
        public
        view
    {
        uint256 rows = bound(count, 1, 255);
        bytes memory head = _headBytes(_head(kind, role), uint16(rows));
        (, uint256 reserved) = host.openAfter(0, bytes.concat(head, new bytes(rows * 148)));
        assertEq(reserved, 64 + 32 * rows);
    }
}
