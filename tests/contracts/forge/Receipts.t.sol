// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Log } from "./Base.sol";
import { ReceiptFixture } from "./ReceiptFixture.sol";
import { DataBatches } from "../../../contracts/DataBatches.sol";
import { Place, Receipt, Revealed } from "../../../contracts/interfaces/BatchTypes.sol";
import {
    Demand,
    Evidence,
    IBatchChallenges,
    Shown,
    Witness
} from "../../../contracts/interfaces/IBatchChallenges.sol";
import { IDeviceRegistry } from "../../../contracts/interfaces/IDeviceRegistry.sol";
import { IDisputes } from "../../../contracts/interfaces/IDisputes.sol";
import { ILaneBonds } from "../../../contracts/interfaces/ILaneBonds.sol";
import { IReceiptDemands } from "../../../contracts/interfaces/IReceiptDemands.sol";
import { InvalidProof } from "../../../contracts/libraries/PositionalTree.sol";
import { Receipts } from "../../../contracts/libraries/Receipts.sol";
import { HighS, InvalidSignature } from "../../../contracts/libraries/Signatures.sol";

/// given a receipt of a named signer, whose time is over
///   ├── when the report is in no batch: silence until the deadline costs the bond
///   ├── when it is in one, or comes into one late, from whatever lane that has a bond: that answers
///   ├── when the device is revoked, or the admin has closed the lane: it is excused
///   └── when anything in it is not as it was signed, named or registered: it cannot be demanded
contract ReceiptsTest is ReceiptFixture {
    uint40 internal constant BY = uint40(START) + PROMISE;
    bytes internal report;
    bytes internal none;

    function setUp() public {
        _start();
        report = _report(0, 1, 5);
    }

    // ------------------------------------------------------------------------------------------- helpers

    function _demandAt(uint256 time) internal returns (bytes32) {
        (Receipt memory receipt, Evidence memory evidence) = _promised(report, BY);
        vm.warp(time);
        return _demandAs(GATEWAY, receipt, evidence);
    }

    /// Demanded by a signature of that key, and refused.
    function _refuse(uint256 key, Receipt memory receipt, Evidence memory evidence, bytes memory why)
        internal
    {
        bytes memory signature = _signedBy(key, receipt);
        vm.expectRevert(why);
        vm.prank(holder);
        batches.demandReceipt(receipt, signature, evidence);
    }

    function _refuseAnswer(Evidence memory evidence, bytes4 why) internal {
        vm.expectRevert(abi.encodeWithSelector(why));
        _answer(uint40(START), _subject(0, 1), evidence);
    }

    function _unknownSigner(uint16 lane, address signer) internal pure returns (bytes memory) {
        return
            abi.encodeWithSelector(IReceiptDemands.UnknownReceiptSigner.selector, lane, uint40(START), signer);
    }

    function _unsecured(uint16 lane, uint256 since) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IReceiptDemands.ReceiptUnsecured.selector, lane, uint40(since));
    }

    function _expectPaid() internal view {
        assertEq(batches.bondOf(0).amount, BOND);
        assertEq(batches.bondOf(0).openDemands, 0);
        assertEq(token.balanceOf(holder), 999 * uint256(FEE));
    }

    function _expectSlashed(bytes32 demandId) internal {
        batches.expire(demandId);
        assertEq(batches.bondOf(0).amount, 0);
        assertEq(token.balanceOf(holder), 1000 * uint256(FEE) + BOND / 2);
    }

    // ------------------------------------------------------------------------------------- what it is for

    function test_a_report_that_was_promised_and_withheld_costs_the_bond() public {
        bytes32 demandId = _demandAt(BY + 1);
        assertEq(demandId, _idOf(0, uint40(START), _subject(0, 1)));
        assertEq(batches.demandOf(demandId).demander, holder);
        vm.warp(BY + 1 + ANSWER);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.AnswerPending.selector, BY + 1 + ANSWER));
        batches.expire(demandId);
        vm.warp(BY + 2 + ANSWER);
        _expectSlashed(demandId);
    }

    function test_a_report_that_was_committed_answers_and_earns_the_fee() public {
        Revealed memory batch = _include(1, report);
        uint256 before = token.balanceOf(address(this));
        bytes32 demandId = _demandAt(BY + 1);
        vm.warp(BY + 1 + ANSWER);
        _answer(uint40(START), _subject(0, 1), _inclusion(batch, _place(1), report, none));
        assertEq(token.balanceOf(address(this)), before + FEE);
        assertEq(batches.demandOf(demandId).demander, address(0));
        _expectPaid();
    }

    /// What a relayer lost it finds in the log, seals and shows: late is better than never.
    function test_a_lost_report_is_in_the_log_and_answers_when_it_is_committed_late() public {
        vm.recordLogs();
        bytes32 demandId = _demandAt(BY + 1);
        Log[] memory logs = _logsOf(address(batches));
        assertEq(logs.length, 1);
        assertEq(logs[0].topics[0], IReceiptDemands.ReceiptDemanded.selector);
        assertEq(logs[0].topics[1], demandId);
        assertEq(logs[0].topics[2], bytes32(0));
        (uint40 since, uint40 deadline, bytes memory lost) = abi.decode(logs[0].data, (uint40, uint40, bytes));
        assertEq(since, START);
        assertEq(deadline, BY + 1 + ANSWER);
        Revealed memory batch = _include(1, lost);
        _answer(uint40(START), _subject(0, 1), _inclusion(batch, _place(1), lost, none));
        _expectPaid();
    }

    function test_devices_on_both_curves_and_of_fleets_have_receipts() public {
        vm.warp(BY + 1);
        for (uint256 k = 0; k < 3; ++k) {
            bytes memory one = _report(k, 7, 1);
            (Receipt memory receipt, Evidence memory evidence) = _promised(one, BY);
            evidence.extra = _who(k);
            vm.recordLogs();
            _demandAs(GATEWAY, receipt, evidence);
            (,, bytes memory shown) = abi.decode(_logsOf(address(batches))[0].data, (uint40, uint40, bytes));
            assertEq(keccak256(shown), keccak256(bytes.concat(one, _who(k))));
            uint48 number = uint48(k + 1);
            Revealed memory batch = _include(number, one);
            bytes memory key = k == 1 ? _who(1) : none;
            _answer(uint40(START), _subject(k, 7), _inclusion(batch, _place(number), one, key));
        }
        assertEq(batches.bondOf(0).openDemands, 0);
    }

    function test_a_batch_of_another_lane_or_of_a_group_answers() public {
        _activate(5, address(this));
        Revealed memory batch = _include(_in(5, 3), report);
        _demandAt(BY + 1);
        _answer(uint40(START), _subject(0, 1), _inclusion(batch, _place(_in(5, 3)), report, none));
        _demandAt(BY + 1);
        batch.header.batchId = 2;
        bytes26 other = bytes26(keccak256("other"));
        batches.commitMany(1, abi.encodePacked(other, _commitmentOf(batch)));
        Place memory place = Place(2, 1, new bytes26[](1));
        place.path[0] = bytes26(keccak256(abi.encodePacked(other, uint48(1))));
        _answer(uint40(START), _subject(0, 1), _inclusion(batch, place, report, none));
        assertEq(batches.bondOf(0).openDemands, 0);
    }

    // ------------------------------------------------------------------------------------ what is no answer

    function test_a_forged_report_in_a_batch_is_no_answer() public {
        bytes memory forged = _report(0, 1, 6);
        forged[forged.length - 1] ^= 0x01;
        Revealed memory batch = _include(1, forged);
        _demandAt(BY + 1);
        Evidence memory evidence = _inclusion(batch, _place(1), forged, none);
        _refuseAnswer(evidence, IBatchChallenges.NotAnAnswer.selector);
    }

    function test_another_content_that_the_device_signed_is_an_answer() public {
        bytes memory other = _report(0, 1, 6);
        Revealed memory batch = _include(1, other);
        _demandAt(BY + 1);
        _answer(uint40(START), _subject(0, 1), _inclusion(batch, _place(1), other, none));
        _expectPaid();
    }

    function test_another_report_of_the_device_is_no_answer() public {
        bytes memory other = _report(0, 2, 5);
        Revealed memory batch = _include(1, other);
        _demandAt(BY + 1);
        Evidence memory evidence = _inclusion(batch, _place(1), other, none);
        _refuseAnswer(evidence, IBatchChallenges.NotAnAnswer.selector);
    }

    function test_a_batch_whose_bond_is_gone_is_no_answer() public {
        _activate(5, address(this));
        Revealed memory batch = _include(_in(5, 1), report);
        Evidence memory evidence = _inclusion(batch, _place(_in(5, 1)), report, none);
        batches.closeLane(5);
        vm.warp(START + WINDOW + 1);
        batches.withdrawBond(5);
        (Receipt memory receipt, Evidence memory shown) = _promised(report, uint40(START) + WINDOW);
        _demandAs(GATEWAY, receipt, shown);
        _refuseNoBond(evidence);
        vm.warp(START + WINDOW + 2);
        _activate(5, address(this)); // a new bond does not stand for the batches of the old one
        _refuseNoBond(evidence);
    }

    function _refuseNoBond(Evidence memory evidence) private {
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NoBond.selector, _in(5, 1)));
        _answer(uint40(START), _subject(0, 1), evidence);
    }

    function test_what_is_not_committed_is_no_answer() public {
        Revealed memory batch = _include(1, report);
        Evidence memory evidence = _inclusion(batch, _place(1), report, none);
        _demandAt(BY + 1);
        evidence.witnesses[0].batch.header.reportCount = 2;
        _refuseAnswer(evidence, InvalidProof.selector);
        evidence.witnesses[0].batch.header.reportCount = 1;
        evidence.shown[0].content = _report(0, 1, 6);
        _refuseAnswer(evidence, InvalidProof.selector);
        evidence = _inclusion(batch, _place(1), report, none);
        evidence.witnesses = new Witness[](0);
        _refuseAnswer(evidence, IBatchChallenges.MalformedEvidence.selector);
    }

    // ------------------------------------------------------------------------------------------- excuses

    function test_a_report_of_a_revoked_device_is_excused() public {
        bytes32 demandId = _demandAt(BY + 1);
        Evidence memory nothing;
        _refuseAnswer(nothing, IBatchChallenges.NotAnAnswer.selector);
        registry.revoke(devices[0]);
        _answer(uint40(START), _subject(0, 1), nothing);
        assertEq(batches.demandOf(demandId).demander, address(0));
        _expectPaid();
        (Receipt memory receipt, Evidence memory evidence) = _promised(report, BY);
        bytes memory why = abi.encodeWithSelector(IDeviceRegistry.RevokedDevice.selector, devices[0]);
        _refuse(GATEWAY, receipt, evidence, why);
    }

    /// An admin that closed the lane of a submitter that has promised could take its bond by what it cannot commit any more.
    function test_a_lane_that_the_admin_closes_is_released_from_its_receipts() public {
        (Receipt memory receipt, Evidence memory evidence) = _promised(report, BY);
        bytes32 demandId = _demandAt(BY + 1);
        address other = makeAddr("admin");
        batches.offerAdmin(other);
        vm.prank(other);
        batches.acceptAdmin();
        vm.expectEmit(address(batches));
        emit ILaneBonds.LaneAssigned(0, address(0));
        vm.prank(other);
        batches.closeLane(0);
        assertEq(batches.assigneeOf(0), address(0));
        Evidence memory nothing;
        _answer(uint40(START), _subject(0, 1), nothing);
        assertEq(batches.demandOf(demandId).demander, address(0));
        _refuse(GATEWAY, receipt, evidence, _unsecured(0, START));
        vm.warp(START + PROMISE + WINDOW + 3);
        batches.withdrawBond(0);
        assertEq(token.balanceOf(holder), 999 * uint256(FEE));
    }

    function test_who_closes_its_own_lane_still_answers_for_its_receipts() public {
        batches.closeLane(0);
        assertEq(batches.assigneeOf(0), address(this));
        bytes32 demandId = _demandAt(BY + 1);
        Evidence memory nothing;
        _refuseAnswer(nothing, IBatchChallenges.NotAnAnswer.selector);
        vm.warp(START + WINDOW + 1);
        _expectSlashed(demandId);
    }

    function test_a_bond_is_locked_while_a_receipt_is_demanded() public {
        batches.closeLane(0);
        (Receipt memory receipt, Evidence memory evidence) = _promised(report, uint40(START) + WINDOW);
        vm.warp(START + WINDOW + 1);
        bytes32 demandId = _demandAs(GATEWAY, receipt, evidence);
        uint40 exitAt = uint40(START) + WINDOW + 1;
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.BondLocked.selector, exitAt, uint32(1)));
        batches.withdrawBond(0);
        vm.warp(START + WINDOW + 2 + ANSWER);
        _expectSlashed(demandId);
    }

    /// Else anyone could take the demander's fee, which is due back.
    function test_of_a_bond_that_is_gone_nobody_is_excused() public {
        bytes32 one = _demandAt(BY + 1);
        (Receipt memory receipt, Evidence memory evidence) = _promised(_report(0, 2, 5), BY);
        bytes32 two = _demandAs(GATEWAY, receipt, evidence);
        vm.warp(BY + 2 + ANSWER);
        _expectSlashedOnce(one);
        vm.warp(BY + 1 + ANSWER);
        Evidence memory nothing;
        vm.expectRevert(abi.encodeWithSelector(IBatchChallenges.NotAnAnswer.selector));
        _answer(uint40(START), _subject(0, 2), nothing);
        vm.warp(BY + 2 + ANSWER);
        batches.expire(two);
        assertEq(token.balanceOf(holder), 1000 * uint256(FEE) + BOND / 2);
    }

    function _expectSlashedOnce(bytes32 demandId) private {
        batches.expire(demandId);
        assertEq(batches.bondOf(0).amount, 0);
    }

    // -------------------------------------------------------------------------------------------- signers

    function test_only_whom_the_submitter_named_signs_receipts() public {
        (Receipt memory receipt, Evidence memory evidence) = _promised(report, BY);
        vm.warp(BY + 1);
        _refuse(GATEWAY + 1, receipt, evidence, _unknownSigner(0, vm.addr(GATEWAY + 1)));
        vm.prank(holder);
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.NotSubmitter.selector, 0, holder));
        batches.nameReceiptSigner(0, vm.addr(GATEWAY + 1));
        vm.expectEmit(address(batches));
        emit IReceiptDemands.ReceiptSignerNamed(0, vm.addr(GATEWAY + 1), uint40(START));
        batches.nameReceiptSigner(0, vm.addr(GATEWAY + 1));
        _demandAs(GATEWAY + 1, receipt, evidence);
        // On another lane the gateway is nobody.
        _activate(1, address(this));
        receipt.lane = 1;
        receipt.since = _since(1);
        bytes memory why =
            abi.encodeWithSelector(IReceiptDemands.UnknownReceiptSigner.selector, 1, receipt.since, gateway);
        _refuse(GATEWAY, receipt, evidence, why);
    }

    function test_a_dismissed_signer_keeps_what_it_promised_before() public {
        uint40 until = uint40(START) + 100 + WINDOW;
        vm.warp(START + 100);
        vm.expectEmit(address(batches));
        emit IReceiptDemands.ReceiptSignerDismissed(0, gateway, uint40(START), until);
        batches.dismissFromReceipts(0, gateway);
        assertEq(batches.receiptSignerUntil(0, uint40(START), gateway), until);
        vm.warp(START + 200 + WINDOW);
        vm.expectRevert(_unknownSigner(0, gateway)); // a second time it would live longer
        batches.dismissFromReceipts(0, gateway);
        (Receipt memory receipt, Evidence memory evidence) = _promised(report, until + 1);
        vm.warp(until + 2);
        _refuse(GATEWAY, receipt, evidence, _unknownSigner(0, gateway));
        receipt.commitBy = until;
        _demandAs(GATEWAY, receipt, evidence);
        batches.nameReceiptSigner(0, gateway);
        assertEq(batches.receiptSignerUntil(0, uint40(START), gateway), type(uint40).max);
    }

    function test_only_a_named_signer_is_dismissed_and_only_by_the_submitter() public {
        vm.expectRevert(_unknownSigner(0, holder));
        batches.dismissFromReceipts(0, holder);
        vm.prank(holder);
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.NotSubmitter.selector, 0, holder));
        batches.dismissFromReceipts(0, gateway);
        batches.closeLane(0);
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.NotSubmitter.selector, 0, address(this)));
        batches.nameReceiptSigner(0, holder);
    }

    function test_a_new_bond_answers_for_no_receipt_of_the_old_one() public {
        (Receipt memory receipt, Evidence memory evidence) = _promised(report, BY);
        batches.closeLane(0);
        vm.warp(START + WINDOW + 1);
        batches.withdrawBond(0);
        _refuse(GATEWAY, receipt, evidence, _unsecured(0, START));
        vm.warp(START + WINDOW + 2);
        _activate(0, address(this));
        _refuse(GATEWAY, receipt, evidence, _unsecured(0, START));
        receipt.since = _since(0);
        bytes memory why =
            abi.encodeWithSelector(IReceiptDemands.UnknownReceiptSigner.selector, 0, receipt.since, gateway);
        _refuse(GATEWAY, receipt, evidence, why);
    }

    // ----------------------------------------------------------------------------------- what is no receipt

    function test_a_receipt_can_be_demanded_for_a_window_to_the_second() public {
        (Receipt memory receipt, Evidence memory evidence) = _promised(report, BY);
        vm.warp(BY);
        _refuse(
            GATEWAY, receipt, evidence, abi.encodeWithSelector(IReceiptDemands.ReceiptNotDue.selector, BY)
        );
        vm.warp(BY + WINDOW + 1);
        bytes memory over = abi.encodeWithSelector(IReceiptDemands.ReceiptExpired.selector, BY + WINDOW);
        _refuse(GATEWAY, receipt, evidence, over);
        vm.warp(BY + WINDOW);
        _demandAs(GATEWAY, receipt, evidence);
    }

    function test_a_receipt_is_for_one_chain_and_contract() public {
        (Receipt memory receipt, Evidence memory evidence) = _promised(report, BY);
        bytes memory signature = _signedBy(GATEWAY, receipt);
        bytes memory there = abi.encode(address(this), token, BOND, FEE, WINDOW, ANSWER, batches.judge());
        batches = DataBatches(_make("DataBatches.sol:DataBatches", there));
        token.approve(address(batches), type(uint256).max);
        _activate(0, address(this));
        batches.nameReceiptSigner(0, gateway);
        vm.warp(BY + 1);
        vm.prank(holder);
        vm.expectRevert(); // who it recovers to is nobody that we know
        batches.demandReceipt(receipt, signature, evidence);
    }

    function test_a_signature_has_one_form() public {
        (Receipt memory receipt, Evidence memory evidence) = _promised(report, BY);
        vm.warp(BY + 1);
        bytes memory long = signed(GATEWAY, _receiptDigest(receipt));
        vm.expectRevert(abi.encodeWithSelector(InvalidSignature.selector));
        batches.demandReceipt(receipt, long, evidence);
        bytes memory high = abi.encodePacked(bytes32(long), type(uint256).max >> 1);
        vm.expectRevert(abi.encodeWithSelector(HighS.selector));
        batches.demandReceipt(receipt, high, evidence);
    }

    function test_an_inner_node_and_a_place_behind_the_last_are_not_promised() public {
        (Receipt memory receipt, Evidence memory evidence) = _promised(report, BY);
        vm.warp(BY + 1);
        evidence.shown[0].position = 3;
        _refuse(GATEWAY, receipt, evidence, abi.encodeWithSelector(InvalidProof.selector));
        evidence.shown[0].position = 0;
        evidence.shown[0].proof = new bytes26[](1);
        _refuse(GATEWAY, receipt, evidence, abi.encodeWithSelector(InvalidProof.selector));
        receipt.count = 1; // a node that is shown as the one report of a frame
        evidence.shown[0] = Shown(0, new bytes(52), new bytes26[](0));
        receipt.root = bytes26(keccak256(new bytes(52)));
        _refuse(
            GATEWAY, receipt, evidence, abi.encodeWithSelector(IBatchChallenges.MalformedEvidence.selector)
        );
        evidence.shown = new Shown[](0);
        _refuse(
            GATEWAY, receipt, evidence, abi.encodeWithSelector(IBatchChallenges.MalformedEvidence.selector)
        );
    }

    /// A gateway key that is stolen can promise a lot, but no report that could not be committed.
    function test_what_no_device_has_signed_cannot_be_demanded() public {
        vm.warp(BY + 1);
        bytes memory forged = _report(0, 1, 5);
        forged[forged.length - 1] ^= 0x01;
        (Receipt memory receipt, Evidence memory evidence) = _promised(forged, BY);
        _refuse(GATEWAY, receipt, evidence, abi.encodeWithSelector(InvalidSignature.selector));
        (receipt, evidence) = _promised(_report(2, 1, 5), BY); // a fleet lists it, and no fleet is shown
        bytes memory why = abi.encodeWithSelector(IBatchChallenges.UnknownDevice.selector, devices[2]);
        _refuse(GATEWAY, receipt, evidence, why);
        (receipt, evidence) = _promised(_report(1, 1, 5), BY); // a key that nobody shows
        _refuse(
            GATEWAY, receipt, evidence, abi.encodeWithSelector(IBatchChallenges.MalformedEvidence.selector)
        );
    }

    /// Committed after the device is revoked, which its owner does when it likes, it would take the bond as a fraud.
    function test_a_report_from_the_future_cannot_be_demanded() public {
        uint40 latest = BY + 1 + 1 hours;
        vm.warp(BY + 1);
        (Receipt memory receipt, Evidence memory evidence) = _promised(_observed(latest + 1), BY);
        bytes memory why =
            abi.encodeWithSelector(IBatchChallenges.FutureTimestamp.selector, latest + 1, latest);
        _refuse(GATEWAY, receipt, evidence, why);
        (receipt, evidence) = _promised(_observed(latest), BY);
        _demandAs(GATEWAY, receipt, evidence);
    }

    /// A report of two observations, the second at that time.
    function _observed(uint40 time) private view returns (bytes memory) {
        bytes memory observations =
            bytes.concat(_observations(1), abi.encodePacked(uint16(1), uint64(2), time, int32(1)));
        bytes memory signature = _signAs(0, registry.hashReport(devices[0], 9, observations));
        return abi.encodePacked(devices[0], uint64(9), uint16(2), observations, signature);
    }

    function test_a_sequence_is_demanded_once_at_a_time() public {
        bytes32 demandId = _demandAt(BY + 1);
        (Receipt memory receipt, Evidence memory evidence) = _promised(_report(0, 1, 6), BY - 1);
        bytes memory why = abi.encodeWithSelector(IDisputes.AlreadyDemanded.selector, demandId);
        _refuse(GATEWAY, receipt, evidence, why);
    }

    function test_a_receipt_is_not_demanded_as_a_piece_of_a_batch() public {
        _include(1, report);
        bytes26 commitment = batches.commitmentOf(1);
        Evidence memory evidence;
        evidence.extra = abi.encodePacked(uint32(0));
        vm.expectRevert(abi.encodeWithSelector(IBatchChallenges.MalformedEvidence.selector));
        batches.demand(Demand.Receipt, 1, commitment, _place(1), evidence);
    }

    /// Whatever a relayer that withholds does meanwhile.
    function test_who_withholds_loses_its_bond_whatever_it_does(uint256 dice) public {
        (Receipt memory receipt, Evidence memory evidence) = _promised(report, BY);
        uint256 time = START;
        for (uint256 step = 0; step < 6; ++step) {
            _stir(dice >> (32 * step), uint48(step + 2));
            time += (dice >> (32 * step + 8)) % (PROMISE / 6);
            vm.warp(time);
        }
        vm.warp(bound(dice, BY + 1, START + WINDOW));
        bytes32 demandId = _demandAs(GATEWAY, receipt, evidence);
        _expectNoWayOut();
        vm.warp(START + WINDOW + ANSWER + 1);
        _expectSlashed(demandId);
    }

    function _stir(uint256 dice, uint48 number) private {
        bool open = batches.submitterOf(0) == address(this);
        uint256 what = dice % 6;
        if (what == 0 && batches.bondOf(0).exitAt == 0) batches.closeLane(0);
        if (!open) return;
        if (what == 1) try batches.dismissFromReceipts(0, gateway) { } catch { }
        if (what == 2) batches.nameReceiptSigner(0, vm.addr(GATEWAY + 1));
        if (what == 3) batches.nameReceiptSigner(0, gateway);
        if (what == 4) _include(number, _report(0, number, 5));
        if (what == 5) try batches.withdrawBond(0) { } catch { }
    }

    function _expectNoWayOut() private {
        Evidence memory nothing;
        _refuseAnswer(nothing, IBatchChallenges.NotAnAnswer.selector);
        vm.expectRevert();
        batches.withdrawBond(0);
    }

    // ------------------------------------------------------------------------------------ golden vectors

    function digestOf(Receipt calldata receipt, address place) external view returns (bytes32) {
        return Receipts.digest(receipt, place);
    }

    function test_receipts_have_the_digests_that_python_wrote() public view {
        string memory json = vm.readFile("tests/vectors/receipts.json");
        assertEq(block.chainid, vm.parseJsonUint(json, ".domain.chainId"));
        address place = vm.parseJsonAddress(json, ".dataBatches");
        address signer = vm.parseJsonAddress(json, ".signer");
        for (uint256 i = 0; i < 7; ++i) {
            string memory row = string.concat(".receipts[", vm.toString(i), "].");
            Receipt memory receipt = Receipt(
                uint16(vm.parseJsonUint(json, string.concat(row, "lane"))),
                uint40(vm.parseJsonUint(json, string.concat(row, "since"))),
                uint40(vm.parseJsonUint(json, string.concat(row, "commitBy"))),
                bytes26(bytes32(vm.parseJsonBytes(json, string.concat(row, "root")))),
                uint32(vm.parseJsonUint(json, string.concat(row, "count")))
            );
            bytes32 digest = this.digestOf(receipt, place);
            assertEq(digest, vm.parseJsonBytes32(json, string.concat(row, "digest")));
            assertEq(_signer(digest, vm.parseJsonBytes(json, string.concat(row, "signature"))), signer);
        }
    }

    function _signer(bytes32 digest, bytes memory signature) private pure returns (address) {
        (bytes32 r, bytes32 vs) = abi.decode(signature, (bytes32, bytes32));
        return ecrecover(digest, uint8(27 + uint256(vs >> 255)), r, vs & bytes32(type(uint256).max >> 1));
    }
}
