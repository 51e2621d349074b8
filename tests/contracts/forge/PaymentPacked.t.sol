// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Log } from "./Base.sol";
import { PaymentFixture } from "./PaymentFixture.sol";
import { IPaymentChannels } from "../../../contracts/interfaces/IPaymentChannels.sol";
import { MalformedRows } from "../../../contracts/libraries/PackedVouchers.sol";
import { InvalidSignature } from "../../../contracts/libraries/Signatures.sol";
import { MintableToken } from "../../../contracts/mocks/Tokens.sol";
import { KeyWallet, RevertingWallet } from "../../../contracts/mocks/Wallets.sol";

/// given channels of several payers to one receiver
///   when vouchers are redeemed packed
///     ├── each channel and each balance is as after the ABI call, for every form of row and role of the caller
///     ├── a voucher pays once, whichever way it is shown, in any order
///     ├── a stale voucher is passed over, one that is not signed or not covered is told and left out
///     ├── every total is told in the log
///     ├── a contract account judges its own vouchers, and cannot hold up the others
///     └── two receivers or tokens are paid separately
///   when the bytes are not of the layout
///     └── nothing is paid, and the place is named
contract PaymentPackedTest is PaymentFixture {
    uint256 internal constant SECP_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
    address internal operator = makeAddr("operator");

    function setUp() public {
        _start();
    }

    /// A channel whose voucher key, salt and receiver's operator are chosen.
    function _channel(uint8 kind, bytes32 salt, address authorizer)
        internal
        view
        returns (IPaymentChannels.ChannelConfig memory config)
    {
        config = _config(0);
        config.salt = salt;
        config.receiverAuthorizer = authorizer;
        if (kind == 1) config.payerAuthorizer = makeAddr("voucher key");
        if (kind == 2) config.payerAuthorizer = address(0);
    }

    function _fund(IPaymentChannels.ChannelConfig memory config, uint128 amount) internal {
        vm.prank(payer);
        channels.open(config, amount);
    }

    function _signature(IPaymentChannels.ChannelConfig memory config, uint128 amount)
        internal
        view
        returns (bytes memory)
    {
        uint256 key = config.payerAuthorizer == makeAddr("voucher key") ? keyOf("voucher key") : payerKey;
        return signedCompact(key, channels.getVoucherDigest(channels.getChannelId(config), amount));
    }

    function _head(IPaymentChannels.ChannelConfig memory c, uint8 kind, uint8 role, uint16 count)
        internal
        pure
        returns (bytes memory)
    {
        bytes memory head = abi.encodePacked(
            uint8(kind + 4 * role), uint8(32), uint8(12), count, uint24(c.withdrawDelay), c.token
        );
        if (role == 0) return head;
        return bytes.concat(head, bytes20(role == 1 ? c.receiverAuthorizer : c.receiver));
    }

    function _row(IPaymentChannels.ChannelConfig memory c, uint8 kind, uint128 amount, bytes memory signature)
        internal
        pure
        returns (bytes memory)
    {
        bytes memory middle = abi.encodePacked(c.salt, uint96(amount));
        if (kind == 1) middle = bytes.concat(bytes20(c.payerAuthorizer), middle);
        if (kind == 2) middle = bytes.concat(middle, bytes2(uint16(signature.length)));
        return bytes.concat(bytes20(c.payer), middle, signature);
    }

    function _one(IPaymentChannels.ChannelConfig memory c, uint8 kind, uint8 role, uint128 amount)
        internal
        view
        returns (bytes memory)
    {
        return bytes.concat(_head(c, kind, role, 1), _row(c, kind, amount, _signature(c, amount)));
    }

    function _send(address sender, bytes memory groups) internal returns (bool success, bytes memory answer) {
        vm.prank(sender);
        (success, answer) =
            address(channels).call(bytes.concat(IPaymentChannels.redeemGroupsBrief.selector, groups));
    }

    function _redeemed(address sender, bytes memory groups) internal returns (uint256) {
        (bool success, bytes memory answer) = _send(sender, groups);
        assertTrue(success, "redeemed");
        return abi.decode(answer, (uint256));
    }

    function _claimed(IPaymentChannels.ChannelConfig memory config) internal view returns (uint128 total) {
        (, total) = channels.channels(channels.getChannelId(config));
    }

    // ------------------------------------------------------------------------------------- as the ABI call

    function test_packed_vouchers_do_what_the_others_do(
        uint8 kind,
        uint8 role,
        bytes32 salt,
        uint128 deposit,
        uint128 first,
        uint128 second
    ) public {
        (kind, role) = (kind % 3, role % 3);
        deposit = uint128(bound(deposit, 2, 1e24));
        first = uint128(bound(first, 1, deposit - 1));
        second = uint128(bound(second, first + 1, deposit));
        address authorizer = role == 0 ? receiver : operator;
        IPaymentChannels.ChannelConfig memory one = _channel(kind, salt, authorizer);
        IPaymentChannels.ChannelConfig memory two = _channel(kind, ~salt, authorizer);
        _fund(one, deposit);
        _fund(two, deposit);
        address caller = role == 2 ? operator : receiver;
        _paysAlike(one, _one(two, kind, role, first), first, caller);
        _standsAlike(one, two, deposit);
        _paysAlike(one, _one(two, kind, role, second), second, caller);
        _standsAlike(one, two, deposit);
    }

    /// The voucher of the one channel pays by the ABI what that of the other pays packed.
    function _paysAlike(
        IPaymentChannels.ChannelConfig memory one,
        bytes memory packed,
        uint128 amount,
        address caller
    ) private {
        IPaymentChannels.Redemption[] memory rows = new IPaymentChannels.Redemption[](1);
        rows[0] = IPaymentChannels.Redemption(one, amount, _signature(one, amount));
        uint256 before = token.balanceOf(receiver);
        vm.prank(caller);
        channels.redeem(rows);
        uint256 paid = token.balanceOf(receiver) - before;
        assertEq(_redeemed(caller, packed), 1);
        assertEq(token.balanceOf(receiver) - before, 2 * paid);
    }

    function _standsAlike(
        IPaymentChannels.ChannelConfig memory one,
        IPaymentChannels.ChannelConfig memory two,
        uint128 deposit
    ) private view {
        assertEq(_claimed(two), _claimed(one));
        (uint128 balance,) = channels.channels(channels.getChannelId(two));
        assertEq(balance, deposit);
    }

    function test_who_is_not_on_the_receivers_side_redeems_nothing(address stranger, uint8 role) public {
        vm.assume(stranger != receiver && stranger != operator);
        role %= 3;
        IPaymentChannels.ChannelConfig memory config = _channel(0, 0, role == 0 ? receiver : operator);
        _fund(config, 100);
        uint256 before = token.balanceOf(stranger);
        // The terms of another caller hash to another channel, which has no deposit: the voucher is refused.
        (bool success, bytes memory answer) = _send(stranger, _one(config, 0, role, 50));
        assertTrue(success);
        assertEq(abi.decode(answer, (uint256)), 0);
        assertEq(_claimed(config), 0);
        assertEq(token.balanceOf(receiver), 0);
        assertEq(token.balanceOf(stranger), before);
    }

    function test_a_voucher_pays_once_whichever_way_it_is_shown(uint8 order, uint128 amount) public {
        amount = uint128(bound(amount, 1, 1e20));
        IPaymentChannels.ChannelConfig memory config = _config(0);
        _fund(config, 1e20);
        bytes memory packed = _one(config, 0, 0, amount);
        if (order % 3 == 0) {
            assertEq(_redeemed(receiver, bytes.concat(packed, packed)), 1);
        } else if (order % 3 == 1) {
            IPaymentChannels.Redemption[] memory rows = _redemption(config, amount);
            vm.prank(receiver);
            channels.redeem(rows);
        } else {
            IPaymentChannels.VoucherClaim[] memory rows = _claims(config, amount, amount);
            vm.prank(receiver);
            channels.claim(rows);
            channels.settle(receiver, address(token));
        }
        assertEq(_redeemed(receiver, packed), 0);
        assertEq(token.balanceOf(receiver), amount);
        assertEq(_claimed(config), amount);
    }

    // -------------------------------------------------------------------------------------- bad rows among good

    function test_one_bad_voucher_does_not_hold_up_the_others(uint8 flaw, uint8 place, uint128 junk) public {
        (flaw, place) = (flaw % 5, place % 3);
        bytes memory groups;
        IPaymentChannels.ChannelConfig[3] memory configs;
        for (uint256 i = 0; i < 3; ++i) {
            configs[i] = _config(i);
            _fund(configs[i], 1000);
            uint128 amount = 100;
            bytes memory signature = _signature(configs[i], amount);
            if (i == place) (amount, signature) = _flawed(configs[i], flaw, junk, signature);
            groups = bytes.concat(groups, _row(configs[i], 0, amount, signature));
        }
        vm.recordLogs();
        assertEq(_redeemed(receiver, bytes.concat(_head(configs[0], 0, 0, 3), groups)), 2);
        assertEq(token.balanceOf(receiver), 200);
        for (uint256 i = 0; i < 3; ++i) {
            assertEq(_claimed(configs[i]), i == place ? 0 : 100);
        }
        _expectLogs(configs, place, flaw);
    }

    function _flawed(
        IPaymentChannels.ChannelConfig memory config,
        uint8 flaw,
        uint128 junk,
        bytes memory signature
    ) internal view returns (uint128, bytes memory) {
        if (flaw == 0) return (101, signature); // signed for another amount
        if (flaw == 1) return (1001, _signature(config, 1001)); // more than was deposited
        if (flaw == 2) return (0, signature); // adds nothing
        if (flaw == 3) return (100, abi.encodePacked(uint256(junk), uint256(junk) + 1)); // nobody's
        bytes32 digest = channels.getVoucherDigest(channels.getChannelId(config), 100);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(payerKey, digest);
        uint256 high = SECP_ORDER - uint256(s); // the other encoding of the same consent
        uint256 parity = v == 27 ? 1 : 0;
        return (100, abi.encodePacked(r, high | parity << 255));
    }

    function _expectLogs(IPaymentChannels.ChannelConfig[3] memory configs, uint8 place, uint8 flaw) internal {
        Log[] memory logs = _logsOf(address(channels));
        bool refused = flaw != 2;
        assertEq(logs.length, refused ? 2 : 1);
        if (refused) {
            assertEq(logs[0].topics[0], IPaymentChannels.VoucherRefused.selector);
            assertEq(logs[0].topics[1], channels.getChannelId(configs[place]));
            (, bytes4 reason) = abi.decode(logs[0].data, (uint128, bytes4));
            bytes4 expected =
                flaw == 1 ? IPaymentChannels.ClaimExceedsBalance.selector : InvalidSignature.selector;
            assertEq(bytes32(reason), bytes32(expected));
        }
        Log memory list = logs[logs.length - 1];
        assertEq(list.topics[0], IPaymentChannels.RedeemedMany.selector);
        assertEq(list.topics.length, 1);
        bytes32[] memory rows = abi.decode(list.data, (bytes32[]));
        assertEq(rows.length, 2);
        uint256 next = 0;
        for (uint256 i = 0; i < 3; ++i) {
            if (i == place) continue;
            bytes32 id = channels.getChannelId(configs[i]);
            assertEq(rows[next++], bytes32(bytes20(id)) | bytes32(uint256(100)));
        }
    }

    // ----------------------------------------------------------------------------------------- contract accounts

    function test_a_contract_judges_its_own_vouchers(uint128 amount, bool agrees) public {
        amount = uint128(bound(amount, 1, 1e20));
        address wallet = address(new KeyWallet(makeAddr("wallet key")));
        IPaymentChannels.ChannelConfig memory config = _channel(2, 0, receiver);
        config.payer = wallet;
        token.mint(address(this), 1e20);
        token.approve(address(channels), 1e20);
        channels.open(config, 1e20);
        bytes32 digest = channels.getVoucherDigest(channels.getChannelId(config), amount);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf(agrees ? "wallet key" : "thief"), digest);
        bytes memory row = _row(config, 2, amount, abi.encode(r, s, v));
        assertEq(_redeemed(receiver, bytes.concat(_head(config, 2, 0, 1), row)), agrees ? 1 : 0);
        assertEq(token.balanceOf(receiver), agrees ? amount : 0);
    }

    function test_a_wallet_that_reverts_does_not_hold_up_the_others(bool first) public {
        IPaymentChannels.ChannelConfig memory bad = _channel(2, bytes32(uint256(1)), receiver);
        bad.payer = address(new RevertingWallet());
        token.mint(address(this), 1e20);
        token.approve(address(channels), 1e20);
        channels.open(bad, 1000);
        IPaymentChannels.ChannelConfig memory good = _channel(2, bytes32(uint256(2)), receiver);
        _fund(good, 1000);
        bytes memory one = _row(bad, 2, 10, hex"00");
        bytes memory two = _row(good, 2, 10, _signature(good, 10));
        bytes memory rows = first ? bytes.concat(one, two) : bytes.concat(two, one);
        assertEq(_redeemed(receiver, bytes.concat(_head(good, 2, 0, 2), rows)), 1);
        assertEq(token.balanceOf(receiver), 10);
    }

    // --------------------------------------------------------------------------------------------- several groups

    function test_receivers_and_tokens_are_paid_separately(uint128 amount) public {
        amount = uint128(bound(amount, 1, 1e20));
        MintableToken other = new MintableToken();
        other.mint(payer, 1e20);
        vm.prank(payer);
        other.approve(address(channels), type(uint256).max);
        IPaymentChannels.ChannelConfig memory one = _channel(0, 0, operator);
        IPaymentChannels.ChannelConfig memory two = _channel(0, 0, operator);
        (two.token, two.receiver) = (address(other), address(0xBEEF));
        _fund(one, 1e20);
        _fund(two, 1e20);
        bytes memory groups = bytes.concat(_one(one, 0, 2, amount), _one(two, 0, 2, amount));
        assertEq(_redeemed(operator, groups), 2);
        assertEq(token.balanceOf(receiver), amount);
        assertEq(other.balanceOf(address(0xBEEF)), amount);
    }

    function test_short_salts_and_amounts_are_the_same_numbers(uint64 salt, uint32 amount) public {
        vm.assume(amount > 0);
        IPaymentChannels.ChannelConfig memory config = _config(salt);
        _fund(config, type(uint32).max);
        bytes memory head = abi.encodePacked(
            uint8(0), uint8(8), uint8(4), uint16(1), uint24(config.withdrawDelay), config.token
        );
        bytes memory row = abi.encodePacked(payer, salt, amount, _signature(config, amount));
        assertEq(_redeemed(receiver, bytes.concat(head, row)), 1);
        assertEq(_claimed(config), amount);
    }

    function test_a_salt_of_no_bytes_is_zero(uint32 amount) public {
        vm.assume(amount > 0);
        IPaymentChannels.ChannelConfig memory config = _config(0);
        _fund(config, type(uint32).max);
        bytes memory head = abi.encodePacked(
            uint8(0), uint8(0), uint8(4), uint16(1), uint24(config.withdrawDelay), config.token
        );
        bytes memory row = abi.encodePacked(payer, amount, _signature(config, amount));
        assertEq(_redeemed(receiver, bytes.concat(head, row)), 1);
    }

    // ------------------------------------------------------------------------------------------- malformed bytes

    function test_bytes_that_are_not_of_the_layout_pay_nothing(uint16 cut, bytes memory tail) public {
        IPaymentChannels.ChannelConfig memory config = _config(0);
        _fund(config, 1000);
        bytes memory whole = _one(config, 0, 0, 100);
        cut = uint16(bound(cut, 1, whole.length - 1));
        bytes memory part = new bytes(cut);
        for (uint256 i = 0; i < cut; ++i) {
            part[i] = whole[i];
        }
        (bool success, bytes memory answer) = _send(receiver, part);
        assertFalse(success, "cut short");
        assertEq(bytes32(bytes4(answer)), bytes32(MalformedRows.selector));
        vm.assume(tail.length > 0 && tail.length < 20);
        (success, answer) = _send(receiver, bytes.concat(whole, tail));
        assertFalse(success, "something left over");
        assertEq(token.balanceOf(receiver), 0);
    }

    function test_heads_that_mean_nothing_are_refused(uint8 form, uint8 salts, uint8 amounts, uint16 count)
        public
    {
        bool known = form < 12 && form % 4 < 3 && salts <= 32 && amounts >= 1 && amounts <= 12 && count > 0;
        vm.assume(!known);
        bytes memory head = abi.encodePacked(form, salts, amounts, count, uint24(900), address(token));
        (bool success, bytes memory answer) = _send(receiver, bytes.concat(head, new bytes(4096)));
        assertFalse(success);
        assertEq(keccak256(answer), keccak256(abi.encodeWithSelector(MalformedRows.selector, uint256(0))));
    }

    function test_no_bytes_are_no_batch() public {
        (bool success, bytes memory answer) = _send(receiver, "");
        assertFalse(success);
        assertEq(bytes32(bytes4(answer)), bytes32(IPaymentChannels.EmptyBatch.selector));
    }

    /// Whatever the bytes are, nobody is paid but by a voucher.
    function test_random_bytes_pay_nobody(bytes memory junk) public {
        _fund(_config(0), 1000);
        _send(receiver, junk);
        assertEq(token.balanceOf(receiver), 0);
        assertEq(token.balanceOf(address(channels)), 1000);
    }
}
