// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { StateFixture } from "./StateFixture.sol";
import { StateChannels } from "../../../contracts/StateChannels.sol";
import { IStateChannels } from "../../../contracts/interfaces/IStateChannels.sol";
import { MintableToken } from "../../../contracts/mocks/Tokens.sol";

/// Two parties use three channels at once in every way, again and again. Beside the contract stands a model
/// of a few lines that says what each channel holds and what each party is owed.
contract StateHandler is StateFixture {
    struct Model {
        uint88 deposit;
        uint88 balanceA;
        uint40 version;
        uint40 deadline;
    }

    Model[3] public model;
    uint256 public deposited;
    uint256 public owedA;
    uint256 public owedB;
    bool public cheated;
    /// Actions that found something to do.
    uint256 public done;
    uint256[3] internal _generation;
    uint256 internal _now = 1_700_000_000;

    constructor() {
        _start();
    }

    function books() external view returns (StateChannels, MintableToken) {
        return (channels, token);
    }

    function time() external view returns (uint256) {
        return _now;
    }

    function termsOf(uint256 i) public view returns (IStateChannels.Terms memory) {
        return _terms(_generation[i] * 3 + i);
    }

    function open(uint256 i, uint88 amountA, uint88 amountB) external {
        i %= 3;
        if (model[i].deposit != 0) return;
        _openAnew(i, uint88(bound(amountA, 1, 1e20)), uint88(bound(amountB, 0, 1e20)));
        ++done;
    }

    function topUp(uint256 i, uint88 amount) external {
        _ensureOpen(i %= 3);
        amount = uint88(bound(amount, 1, 1e20));
        vm.prank(a);
        channels.topUp(termsOf(i), amount);
        model[i].deposit += amount;
        deposited += amount;
        ++done;
    }

    function topUpWithState(uint256 i, uint88 amount, uint40 ahead, uint88 balanceA) external {
        _ensureOpen(i %= 3);
        if (model[i].deadline != 0) return;
        amount = uint88(bound(amount, 1, 1e20));
        uint88 deposit = model[i].deposit + amount;
        IStateChannels.SignedState memory state = _newer(i, ahead, balanceA, deposit);
        bytes32 digest = _topUpDigest(termsOf(i), state.version, state.balanceA, deposit);
        (state.signatureA, state.signatureB) = ("", signed(keyOf("party b"), digest));
        vm.prank(a);
        channels.topUpWithState(termsOf(i), deposit, state);
        (model[i].deposit, model[i].version, model[i].balanceA) = (deposit, state.version, state.balanceA);
        deposited += amount;
        ++done;
    }

    function challenge(uint256 i, uint40 ahead, uint88 balanceA, bool asItStands) external {
        _ensureOpen(i %= 3);
        if (model[i].deadline != 0) return;
        IStateChannels.SignedState memory state = asItStands
            ? _unsigned(model[i].version, model[i].balanceA)
            : _newer(i, ahead, balanceA, model[i].deposit);
        vm.prank(b);
        channels.challenge(termsOf(i), state);
        (model[i].version, model[i].balanceA) = (state.version, state.balanceA);
        model[i].deadline = uint40(_now) + PERIOD;
        ++done;
    }

    function respond(uint256 i, uint40 ahead, uint88 balanceA) external {
        i %= 3;
        if (model[i].deadline <= _now) return;
        IStateChannels.SignedState memory state = _newer(i, ahead, balanceA, model[i].deposit);
        vm.prank(tower);
        channels.respond(termsOf(i), state);
        (model[i].version, model[i].balanceA) = (state.version, state.balanceA);
        ++done;
    }

    /// Signed by both, but not newer than what stands: no way may take it.
    function showStaleState(uint256 i, uint40 version, uint88 balanceA) external {
        _ensureOpen(i %= 3);
        version = uint40(bound(version, 0, model[i].version));
        balanceA = uint88(bound(balanceA, 0, model[i].deposit));
        if (balanceA == model[i].balanceA) return;
        IStateChannels.SignedState memory state = _state(termsOf(i), version, balanceA);
        try channels.challenge(termsOf(i), state) {
            cheated = true;
        } catch { }
        try channels.respond(termsOf(i), state) {
            cheated = true;
        } catch { }
        ++done;
    }

    function finaliseTooEarly(uint256 i) external {
        i %= 3;
        if (model[i].deadline != 0 && model[i].deadline <= _now) return;
        try channels.finalise(termsOf(i)) {
            cheated = true;
        } catch { }
        ++done;
    }

    function finalise(uint256 i) external {
        i %= 3;
        if (model[i].deadline == 0) return;
        if (_now < model[i].deadline) _now = model[i].deadline;
        vm.warp(_now);
        channels.finalise(termsOf(i));
        _settled(i, model[i].balanceA);
        ++done;
    }

    function close(uint256 i, uint88 balanceA) external {
        _ensureOpen(i %= 3);
        balanceA = uint88(bound(balanceA, 0, model[i].deposit));
        bytes memory ofB = signed(keyOf("party b"), _closeDigest(termsOf(i), balanceA));
        vm.prank(a);
        channels.close(termsOf(i), balanceA, "", ofB);
        _settled(i, balanceA);
        ++done;
    }

    function _settled(uint256 i, uint88 paidA) internal {
        owedA += paidA;
        owedB += model[i].deposit - paidA;
        delete model[i];
        ++_generation[i];
    }

    function _ensureOpen(uint256 i) internal {
        if (model[i].deposit == 0) _openAnew(i, 5e19, 5e19);
    }

    function _openAnew(uint256 i, uint88 amountA, uint88 amountB) internal {
        _open(_generation[i] * 3 + i, amountA, amountB);
        model[i] = Model(amountA + amountB, amountA, 0, 0);
        deposited += uint256(amountA) + amountB;
    }

    function _newer(uint256 i, uint40 ahead, uint88 balanceA, uint88 deposit)
        internal
        view
        returns (IStateChannels.SignedState memory)
    {
        uint40 version = model[i].version + uint40(bound(ahead, 1, 1000));
        return _state(termsOf(i), version, uint88(bound(balanceA, 0, deposit)));
    }
}

contract StateChannelsInvariants is StateFixture {
    StateHandler internal handler;

    function setUp() public {
        handler = new StateHandler();
        (channels, token) = handler.books();
        _target(address(handler));
    }

    /// Deposits are what was paid out plus what the contract still holds, and that is what the open
    /// channels hold.
    function invariant_deposits_are_payouts_and_balances() public view {
        uint256 open = 0;
        for (uint256 i = 0; i < 3; ++i) {
            (uint88 deposit,,,) = handler.model(i);
            open += deposit;
        }
        assertEq(token.balanceOf(address(channels)), open);
        assertEq(handler.deposited(), open + handler.owedA() + handler.owedB());
    }

    /// Each party has what the newest states gave it, no matter who showed which state when.
    function invariant_the_newest_state_wins() public view {
        assertEq(token.balanceOf(a), 1e27 - handler.deposited() + handler.owedA());
        assertEq(token.balanceOf(b), handler.owedB());
        assertFalse(handler.cheated());
    }

    /// The one word of each channel is that of the model.
    function invariant_the_books_say_what_was_agreed() public view {
        for (uint256 i = 0; i < 3; ++i) {
            bytes32 channelId = channels.channelIdOf(handler.termsOf(i));
            (uint88 deposit, uint88 balanceA, uint40 version, uint40 deadline) = channels.channelOf(channelId);
            (uint88 modelDeposit, uint88 modelA, uint40 modelVersion, uint40 modelDeadline) = handler.model(i);
            assertEq(deposit, modelDeposit);
            assertEq(balanceA, modelA);
            assertEq(version, modelVersion);
            assertEq(deadline, modelDeadline);
        }
    }

    /// Tried in the middle of every life; forge throws away what an invariant changes, and the life goes
    /// on. The other party shows an old state or nothing, and never signs again.
    function invariant_a_party_gets_its_newest_share_without_anyones_help() public {
        if (handler.done() % 8 != 7) return;
        for (uint256 i = 0; i < 3; ++i) {
            _leave(i, a, b, i == 0);
        }
    }

    function invariant_the_other_party_gets_its_share_as_well() public {
        if (handler.done() % 8 != 3) return;
        for (uint256 i = 0; i < 3; ++i) {
            _leave(i, b, a, i == 0);
        }
    }

    function afterInvariant() public view {
        assertTrue(handler.done() >= 16, "done");
    }

    function _leave(uint256 i, address honest, address cheat, bool cheats) internal {
        (uint88 deposit, uint88 share, uint40 version, uint40 deadline) = handler.model(i);
        if (deposit == 0) return;
        IStateChannels.Terms memory terms = handler.termsOf(i);
        uint256 now_ = handler.time();
        vm.warp(now_);
        if (deadline == 0 && cheats) {
            deadline = uint40(now_) + PERIOD;
            vm.prank(cheat);
            channels.challenge(terms, _unsigned(version, share));
        }
        // Signed by both and not yet shown. Where the deadline has passed, nobody watched: what stands
        // counts.
        IStateChannels.SignedState memory newest = _state(terms, version + 1, deposit - share);
        if (deadline == 0 || now_ < deadline) share = newest.balanceA;
        if (deadline == 0) {
            deadline = uint40(now_) + PERIOD;
            vm.prank(honest);
            channels.challenge(terms, newest);
        } else if (now_ < deadline) {
            vm.prank(honest);
            channels.respond(terms, newest);
        }
        vm.warp(deadline > now_ ? deadline : now_);
        uint256 before = token.balanceOf(honest);
        vm.prank(honest);
        channels.finalise(terms);
        assertEq(token.balanceOf(honest) - before, honest == a ? share : deposit - share);
    }
}
