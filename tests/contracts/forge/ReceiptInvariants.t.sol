// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ReceiptFixture } from "./ReceiptFixture.sol";
import { DataBatches } from "../../../contracts/DataBatches.sol";
import { Receipt, Revealed } from "../../../contracts/interfaces/BatchTypes.sol";
import { Evidence } from "../../../contracts/interfaces/IBatchChallenges.sol";

/// A relayer that loses every report it acknowledges, and is honest for all that: what is demanded it finds in the log, seals late
/// and shows before the deadline, or is excused. It closes its lane only when nothing can be demanded any more. Around it everything
/// goes on in any order: frames, promises by a stolen key, dismissals, revocations, an admin that stops the lane, time.
contract LateRelayer is ReceiptFixture {
    struct Promise {
        uint256 k;
        uint64 sequence;
        uint40 commitBy;
        uint40 since;
        uint256 key;
        bool isOpen;
        uint40 deadline;
    }

    Promise[] internal promises;
    uint256 internal clock = START;
    uint64 internal sequences;
    uint48 internal number;
    /// Up to when the last dismissed key can be held to anything; the largest of a life of the bond.
    uint256 internal liableUntil;
    bool[3] internal revoked;
    mapping(uint256 key => bool) internal isNamed;

    uint256 public demanded;
    uint256 public sealedLate;
    uint256 public excused;
    uint256 public lives = 1;
    bool public slashed;

    constructor() {
        _start();
        isNamed[GATEWAY] = true;
        address admin = makeAddr("admin");
        batches.offerAdmin(admin);
        vm.prank(admin);
        batches.acceptAdmin();
    }

    function books() external view returns (DataBatches) {
        return batches;
    }

    // ------------------------------------------------------------------------------------------- the world

    function acknowledge(uint256 dice) external {
        if (!isNamed[GATEWAY]) return; // it never signs what nobody answers for
        _promise(GATEWAY, dice % 3, ++sequences, uint40(clock) + PROMISE);
    }

    /// Somebody who has the key, or had it, promises whatever it likes: old times, far ones, used sequences.
    function forge(uint256 dice) external {
        uint40 by = uint40(clock + dice / 8 % (2 * WINDOW)) - WINDOW / 2;
        _promise(GATEWAY + dice % 2, dice / 2 % 3, uint64(1 + dice / 16 % 5), by);
    }

    function demand(uint256 dice) external {
        if (promises.length == 0) return;
        Promise storage made = promises[dice % promises.length];
        bytes memory report = _report(made.k, made.sequence, int32(int256(dice % 2)));
        (Receipt memory receipt, Evidence memory evidence) = _promised(report, made.commitBy);
        receipt.since = made.since;
        evidence.extra = _who(made.k);
        bytes memory signature = _signedBy(made.key, receipt);
        vm.prank(holder);
        try batches.demandReceipt(receipt, signature, evidence) {
            (made.isOpen, made.deadline) = (true, uint40(clock) + ANSWER);
            ++demanded;
        } catch { }
    }

    function wait(uint256 dice) external {
        _pass(dice % 3 == 0 ? WINDOW / 2 : dice % ANSWER);
    }

    function revoke(uint256 dice) external {
        uint256 k = dice % 64; // rarely: a device is revoked once
        if (k > 1 || revoked[k]) return;
        registry.revoke(devices[k]);
        revoked[k] = true;
    }

    function stopByTheAdmin(uint256 dice) external {
        if (dice % 4 != 0 || !_commits()) return;
        vm.prank(makeAddr("admin"));
        batches.closeLane(0);
    }

    // ---------------------------------------------------------------------------------------- the relayer

    function name(uint256 dice) external {
        if (!_commits()) return;
        uint256 key = GATEWAY + dice % 2;
        batches.nameReceiptSigner(0, vm.addr(key));
        isNamed[key] = true;
    }

    function dismiss(uint256 dice) external {
        if (_commits()) _dismiss(GATEWAY + dice % 2);
    }

    /// Dismisses its keys, waits until nothing can be demanded any more, closes, gets its bond back, and begins a new life.
    function depart(uint256 dice) external {
        if (dice % 4 != 0) return;
        if (_commits()) {
            _dismiss(GATEWAY);
            _dismiss(GATEWAY + 1);
            _pass(liableUntil + WINDOW + 1 - clock);
            batches.closeLane(0);
        }
        if (batches.bondOf(0).exitAt != 0) {
            _pass(WINDOW + 2);
            batches.withdrawBond(0);
            ++lives;
        }
        _pass(1);
        vm.prank(makeAddr("admin"));
        batches.assignLane(0, address(this));
        batches.bondLane(0);
        batches.nameReceiptSigner(0, gateway);
        (isNamed[GATEWAY], isNamed[GATEWAY + 1]) = (true, false);
    }

    function _dismiss(uint256 key) private {
        if (!isNamed[key]) return;
        batches.dismissFromReceipts(0, vm.addr(key));
        isNamed[key] = false;
        liableUntil = clock + WINDOW;
    }

    function _commits() private view returns (bool) {
        return batches.submitterOf(0) == address(this);
    }

    function _promise(uint256 key, uint256 k, uint64 sequence, uint40 by) private {
        promises.push(Promise(k, sequence, by, _since(0), key, false, 0));
    }

    /// Nothing passes its deadline unanswered; then whoever likes tries to expire it all.
    function _pass(uint256 span) private {
        uint256 until = clock + span;
        for (uint256 i = 0; i < promises.length; ++i) {
            Promise storage made = promises[i];
            if (!made.isOpen || made.deadline >= until) continue;
            _settle(made);
            made.isOpen = false;
        }
        clock = until;
        vm.warp(clock);
        bool wasThere = batches.bondOf(0).amount == BOND;
        _expireAll();
        if (wasThere && batches.bondOf(0).amount != BOND) slashed = true;
    }

    function _settle(Promise storage made) private {
        bytes32 subject = _subject(made.k, made.sequence);
        vm.warp(made.deadline > clock ? made.deadline : clock); // in the last second
        Evidence memory evidence;
        if (revoked[made.k] || !_commits()) {
            ++excused;
        } else {
            bytes memory report = _report(made.k, made.sequence, 0);
            Revealed memory batch = _include(++number, report);
            evidence = _inclusion(batch, _place(number), report, made.k == 1 ? _who(1) : bytes(""));
            ++sealedLate;
        }
        _answer(made.since, subject, evidence);
    }

    function _expireAll() private {
        for (uint256 i = 0; i < promises.length; ++i) {
            Promise storage made = promises[i];
            bytes32 demandId = _idOf(0, made.since, _subject(made.k, made.sequence));
            try batches.expire(demandId) { } catch { }
        }
    }
}

contract ReceiptInvariants is ReceiptFixture {
    LateRelayer internal handler;

    function setUp() public {
        handler = LateRelayer(_make("ReceiptInvariants.t.sol:LateRelayer", ""));
        batches = handler.books();
        _target(address(handler));
    }

    function invariant_a_relayer_that_answers_in_the_window_keeps_its_bond() public view {
        assertFalse(handler.slashed());
        assertEq(batches.bondOf(0).amount, BOND);
    }

    /// The ways of a life are all gone: demands, late answers, an end and a new beginning, and excuses of both kinds.
    function test_a_relayer_that_lost_everything_answers_leaves_and_comes_back() public {
        for (uint256 dice = 0; dice < 12; ++dice) {
            handler.acknowledge(dice);
        }
        for (uint256 dice = 0; dice < 4; ++dice) {
            handler.wait(5); // past the promises, then on
            handler.wait(ANSWER - 1);
            handler.demand(dice);
        }
        handler.forge(1234);
        handler.revoke(0);
        handler.wait(3);
        assertTrue(handler.sealedLate() > 0 && handler.excused() > 0, "sealed late and excused");
        handler.depart(0);
        handler.acknowledge(0);
        handler.wait(3);
        handler.stopByTheAdmin(0);
        handler.demand(12);
        handler.depart(0);
        assertEq(handler.lives(), 3);
        assertTrue(handler.demanded() >= 3 && !handler.slashed(), "demanded and kept");
    }
}
