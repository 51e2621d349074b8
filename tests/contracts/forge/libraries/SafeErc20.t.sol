// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "../Base.sol";
import { SafeErc20, TransferFailed } from "../../../../contracts/libraries/SafeErc20.sol";

/// A token that answers as it is told: each move with so many bytes of a word, or not at all.
contract ScriptedToken {
    mapping(address account => uint256) public balance;
    bytes32 public word = bytes32(uint256(1));
    uint256 public length = 32;
    bool public moveReverts;
    uint256 public taken;
    uint256 public balanceLength = 32;
    uint256 public balanceLengthAfterMove = 32;
    bool public isMute;
    bool public goesMute;
    bool public speaksAfterMove;
    bool public isSlow;
    bytes public lastCall;

    function mint(address to, uint256 amount) external {
        balance[to] += amount;
    }

    function answerMoves(bytes32 newWord, uint256 newLength, bool reverts) external {
        (word, length, moveReverts) = (newWord, newLength, reverts);
    }

    function take(uint256 fee) external {
        taken = fee;
    }

    function answerBalances(uint256 newLength, bool mute, bool muteAfterMove) external {
        (balanceLength, isMute, goesMute) = (newLength, mute, muteAfterMove);
        balanceLengthAfterMove = newLength;
    }

    function answerBalancesInNoHurry(bool muteUntilMove) external {
        (isSlow, isMute, speaksAfterMove) = (true, muteUntilMove, muteUntilMove);
    }

    function answerBalancesAfterMoves(uint256 newLength) external {
        balanceLengthAfterMove = newLength;
    }

    function balanceOf(address account) external view {
        _requireLength(36);
        uint256 start = gasleft();
        while (isSlow && start - gasleft() < 50_000) { }
        _answer(bytes32(balance[account]), balanceLength, isMute);
    }

    function transfer(address to, uint256 amount) external {
        _requireLength(68);
        _move(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) external {
        _requireLength(100);
        _move(from, to, amount);
    }

    error WrongLength(uint256 length);

    function _requireLength(uint256 expected) private pure {
        if (msg.data.length != expected) revert WrongLength(msg.data.length);
    }

    function _move(address from, address to, uint256 amount) private {
        lastCall = msg.data;
        if (goesMute) isMute = true;
        if (speaksAfterMove) isMute = false;
        balanceLength = balanceLengthAfterMove;
        balance[from] -= amount;
        balance[to] += amount - taken;
        _answer(word, length, moveReverts);
    }

    function _answer(bytes32 answer, uint256 size, bool reverts) private pure {
        assembly ("memory-safe") {
            mstore(0, answer)
            if reverts { revert(0, size) }
            return(0, size)
        }
    }
}

contract SafeErc20Caller {
    function send(address token, address to, uint256 amount) external {
        SafeErc20.send(token, to, amount);
    }

    /// With a word in scratch memory that a short answer must not be mixed with.
    function trySend(address token, address to, uint256 amount) external returns (bool, bytes32) {
        bytes32[1] memory mine = [keccak256("mine")];
        assembly ("memory-safe") {
            mstore(0, 1)
        }
        return (SafeErc20.trySend(token, to, amount), mine[0]);
    }

    function receiveFrom(address token, address from, uint256 amount) external returns (bytes32) {
        bytes32[1] memory mine = [keccak256("mine")];
        SafeErc20.receiveFrom(token, from, amount);
        return mine[0];
    }

    function requireArrived(address token, uint256 before, uint256 amount) external view {
        SafeErc20.requireArrived(token, before, amount);
    }

    function balanceOfThis(address token) external view returns (uint256) {
        return SafeErc20.balanceOfThis(token);
    }
}

/// given a token that answers as it likes
///   ├── a payout has happened when the token says yes or nothing, and is a contract
///   ├── a deposit has happened when the token says yes or nothing, and exactly the amount has arrived
///   ├── a balance counts when it was told
///   └── the calls are the standard's, and memory in use is let alone
contract SafeErc20Test is Test {
    ScriptedToken internal token = new ScriptedToken();
    SafeErc20Caller internal caller = new SafeErc20Caller();
    address internal payer = makeAddr("payer");
    address internal payee = makeAddr("payee");

    function setUp() public {
        token.mint(address(caller), 1000);
        token.mint(payer, 1000);
    }

    function _pays(bool expected) private {
        (bool moved, bytes32 mine) = caller.trySend(address(token), payee, 7);
        assertTrue(moved == expected);
        assertEq(mine, keccak256("mine"));
        if (!expected) _failsFor(address(token));
        caller.send(address(token), payee, 7);
    }

    function _failsFor(address whose) private {
        vm.expectRevert(abi.encodeWithSelector(TransferFailed.selector, whose));
    }

    function test_a_payout_calls_transfer(uint160 to, uint16 amount) public {
        uint256 paid = bound(amount, 0, 1000);
        caller.send(address(token), address(to), paid);
        assertEq(
            keccak256(token.lastCall()),
            keccak256(abi.encodeWithSignature("transfer(address,uint256)", address(to), paid))
        );
    }

    function test_yes_and_silence_are_consent() public {
        _pays(true);
        token.answerMoves(bytes32(uint256(1)), 64, false);
        _pays(true);
        token.answerMoves(0, 0, false);
        _pays(true);
    }

    function test_silence_needs_somebody_to_be_silent(uint8 size) public {
        for (uint256 i = 0; i < 3; ++i) {
            vm.etch(address(token), new bytes(i < 2 ? i + 1 : bound(size, 1, 255)));
            _pays(true);
        }
    }

    function test_no_is_no(bytes32 word) public {
        vm.assume(word != bytes32(uint256(1)));
        token.answerMoves(word, 32, false);
        _pays(false);
        token.answerMoves(0, 32, false);
        _pays(false);
        token.answerMoves(~bytes32(0), 32, false);
        _pays(false);
    }

    function test_less_than_a_word_is_no_answer(uint8 length) public {
        token.answerMoves(bytes32(uint256(1)), bound(length, 1, 31), false);
        _pays(false);
        // What the scratch memory held before must not pass for the rest of the word.
        token.answerMoves(0, 31, false);
        _pays(false);
        _drawsNotFrom(1);
    }

    function test_a_revert_is_no(uint8 length) public {
        token.answerMoves(bytes32(uint256(1)), bound(length, 0, 64), true);
        _pays(false);
        token.answerMoves(bytes32(uint256(1)), 32, true);
        _pays(false);
        token.answerMoves(0, 0, true);
        _pays(false);
    }

    function test_an_address_without_code_pays_nothing(uint160 place) public {
        address nobody = address(uint160(bound(place, 2 ** 32, 2 ** 159)));
        (bool moved,) = caller.trySend(nobody, payee, 7);
        assertFalse(moved);
        _failsFor(nobody);
        caller.send(nobody, payee, 7);
        _failsFor(nobody);
        caller.receiveFrom(nobody, payer, 0);
        _failsFor(nobody);
        caller.balanceOfThis(nobody);
    }

    function _draws() private {
        assertEq(caller.receiveFrom(address(token), payer, 7), keccak256("mine"));
    }

    function _drawsNot() private {
        _failsFor(address(token));
        caller.receiveFrom(address(token), payer, 7);
    }

    function test_a_deposit_calls_transfer_from(uint16 amount) public {
        uint256 paid = bound(amount, 0, 1000);
        caller.receiveFrom(address(token), payer, paid);
        bytes memory expected =
            abi.encodeWithSignature("transferFrom(address,address,uint256)", payer, address(caller), paid);
        assertEq(keccak256(token.lastCall()), keccak256(expected));
        assertEq(token.balance(address(caller)), 1000 + paid);
    }

    function test_a_deposit_arrives_with_a_yes_or_in_silence() public {
        _draws();
        token.answerMoves(bytes32(uint256(1)), 64, false);
        _draws();
        token.answerMoves(0, 0, false);
        _draws();
    }

    function test_a_deposit_that_was_refused_is_none(bytes32 word, uint8 length) public {
        vm.assume(word != bytes32(uint256(1)));
        token.answerMoves(word, 32, false);
        _drawsNot();
        token.answerMoves(0, 32, false);
        _drawsNot();
        token.answerMoves(bytes32(uint256(1)), bound(length, 1, 31), false);
        _drawsNot();
    }

    /// The balance before is what scratch memory holds.
    function _drawsNotFrom(uint256 held) private {
        caller = new SafeErc20Caller();
        token.mint(address(caller), held);
        _drawsNot();
    }

    function test_a_token_may_take_its_time_to_tell_a_balance() public {
        token.answerBalancesInNoHurry(false);
        _draws();
        assertEq(caller.balanceOfThis(address(token)), 1007);
        token.answerBalancesInNoHurry(true);
        _drawsNot();
    }

    function test_a_deposit_that_reverts_is_none(uint8 length) public {
        for (uint256 i = 0; i < 2; ++i) {
            token.answerMoves(bytes32(uint256(1)), i == 0 ? 32 : bound(length, 0, 64), true);
            _drawsNot();
            _failsFor(address(token));
            caller.receiveFrom(address(token), payer, 0);
        }
        token.answerMoves(0, 0, true);
        _failsFor(address(token));
        caller.receiveFrom(address(token), payer, 0);
    }

    function test_a_fee_is_refused(uint8 fee) public {
        token.take(bound(fee, 1, 7));
        _drawsNot();
    }

    function test_a_balance_that_is_not_told_stops_a_deposit(uint8 length) public {
        uint256 short = bound(length, 0, 31);
        token.answerBalances(short, false, false);
        _drawsNot();
        token.answerBalances(31, false, false);
        _drawsNot();
        token.answerBalances(32, true, false);
        _drawsNot();
        token.answerBalances(32, false, true);
        _drawsNot();
        token.answerBalances(64, false, false);
        _draws();
    }

    /// What scratch memory held must not pass for the rest of the word: here it would make the sum come out right.
    function test_a_balance_told_in_part_before_or_after_stops_a_deposit() public {
        caller = new SafeErc20Caller();
        token.answerBalances(31, false, false);
        token.answerBalancesAfterMoves(32);
        _drawsNot();
        token.answerBalances(32, false, false);
        token.answerBalancesAfterMoves(31);
        _failsFor(address(token));
        caller.receiveFrom(address(token), payer, 1);
    }

    function test_the_own_balance_is_told(uint64 amount) public {
        token.mint(address(caller), amount);
        assertEq(caller.balanceOfThis(address(token)), 1000 + uint256(amount));
        token.answerBalances(64, false, false);
        assertEq(caller.balanceOfThis(address(token)), 1000 + uint256(amount));
    }

    function test_a_balance_may_be_any_word(uint256 amount) public {
        token.mint(address(caller), bound(amount, 2 ** 128, type(uint256).max - 2000));
        assertEq(caller.balanceOfThis(address(token)), token.balance(address(caller)));
    }

    function test_a_balance_in_less_than_a_word_is_none(uint8 length) public {
        for (uint256 i = 0; i < 2; ++i) {
            token.answerBalances(i == 0 ? 31 : bound(length, 0, 31), false, false);
            _failsFor(address(token));
            caller.balanceOfThis(address(token));
        }
        token.answerBalances(32, true, false);
        _failsFor(address(token));
        caller.balanceOfThis(address(token));
    }

    function test_an_arrival_is_exact(uint64 before, uint16 amount) public {
        token.mint(address(caller), before);
        uint256 held = 1000 + uint256(before);
        uint256 grown = bound(amount, 0, 1000);
        caller.requireArrived(address(token), held - grown, grown);
        caller.requireArrived(address(token), 1, held - 1);
        caller.requireArrived(address(token), 0, held);
        _failsFor(address(token));
        caller.requireArrived(address(token), held - grown, grown + 1);
        _failsFor(address(token));
        caller.requireArrived(address(token), held + 1, 0);
    }
}
