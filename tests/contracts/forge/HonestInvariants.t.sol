// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { HonestBatches } from "./HonestBatches.sol";
import { DataBatches } from "../../../contracts/DataBatches.sol";
import { Revealed } from "../../../contracts/interfaces/BatchTypes.sol";
import {
    Demand,
    Evidence,
    Fraud,
    IBatchChallenges,
    Shown,
    Witness
} from "../../../contracts/interfaces/IBatchChallenges.sol";

/// Throws evidence of every kind at honest batches: true pieces put together wrongly, or a bit beside the
/// truth. Demands whatever can be demanded; the submitter answers.
contract EvidenceHandler is HonestBatches {
    /// Evidence that was whole and judged to show nothing, by kind.
    uint256[12] public judged;
    uint256 public thrown;
    uint256 public answered;
    bool public slashed;

    constructor() {
        _sealAll();
    }

    function books() external view returns (DataBatches) {
        return batches;
    }

    function accuse(uint8 kind, uint256 dice) external {
        Fraud fraud = Fraud(kind % 12);
        uint48 number = uint48(1 + dice % BATCHES);
        Evidence memory evidence = _evidence(fraud, number, uint256(keccak256(abi.encode(dice))));
        ++thrown;
        try batches.challenge(fraud, number, sealedBatches[number], _place(number), evidence) {
            slashed = true;
        } catch (bytes memory answer) {
            if (bytes4(answer) == IBatchChallenges.NotFraud.selector) ++judged[kind % 12];
        }
    }

    /// Another header or root than what stands on chain.
    function accuseAnother(uint8 kind, uint256 dice, bytes26 root) external {
        uint48 number = uint48(1 + dice % BATCHES);
        Revealed memory other = sealedBatches[number];
        if (dice % 3 == 0) other.header.statisticsRoot = root;
        else if (dice % 3 == 1) other.readingsRoot = root;
        else other.header.batchId += 1;
        Evidence memory evidence = _evidence(Fraud(kind % 12), number, dice);
        ++thrown;
        try batches.challenge(Fraud(kind % 12), number, other, _place(number), evidence) {
            slashed = true;
        } catch { }
    }

    /// A leaf, or what would stand behind the last one.
    function demandLeaf(bool ofReports, uint256 dice) external {
        uint48 number = uint48(1 + dice % BATCHES);
        uint32 position = uint32(dice / BATCHES % 7);
        Demand kind = ofReports ? Demand.Report : Demand.Reading;
        bytes[] storage leaves = ofReports ? reports[number] : readings[number];
        Evidence memory evidence;
        evidence.extra = abi.encodePacked(position);
        batches.demand(kind, number, _commitment(number), _place(number), evidence);
        evidence = Evidence(new Shown[](1), _witness(number), "");
        if (position < leaves.length) evidence.shown[0] = _show(leaves, position);
        batches.answer(kind, number, _commitment(number), bytes32(uint256(position)), evidence);
        ++answered;
    }

    function demandSource(uint256 dice) external {
        uint48 number = uint48(1 + dice % BATCHES);
        uint32 position = uint32(dice / BATCHES % 5);
        Evidence memory evidence = Evidence(new Shown[](1), _witness(number), "");
        evidence.shown[0] = _show(readings[number], position);
        batches.demand(Demand.Source, number, _commitment(number), _place(number), evidence);
        // Readings 0 | 1 2 | 3 4 are of reports 0, 1, 2.
        Evidence memory reply = Evidence(new Shown[](2), _witness(number), "");
        reply.shown[0] = _show(reports[number], (position + 1) / 2);
        reply.shown[1] = evidence.shown[0];
        reply.extra = abi.encodePacked(uint16(position == 0 ? 0 : (position + 1) % 2));
        bytes32 subject = keccak256(readings[number][position]);
        batches.answer(Demand.Source, number, _commitment(number), subject, reply);
        ++answered;
    }

    function demandRegistration(uint256 dice) external {
        uint48 number = uint48(1 + dice % BATCHES);
        Evidence memory evidence = Evidence(new Shown[](1), _witness(number), "");
        uint256 k = dice / BATCHES % 3;
        evidence.shown[0] = _show(reports[number], k);
        try batches.demand(Demand.Registration, number, _commitment(number), _place(number), evidence) {
            if (keys[k] != 0) slashed = true; // there is nothing to demand of a device that signatures tell the key of
        } catch {
            return;
        }
        bytes32 subject = bytes32(uint256(uint160(devices[k])) << 96 | START);
        evidence = Evidence(new Shown[](0), new Witness[](0), abi.encodePacked(keyX, keyY));
        batches.answer(Demand.Registration, number, _commitment(number), subject, evidence);
        ++answered;
    }

    /// The way down to a reading, or to what would stand behind the last one.
    function demandStatistics(uint256 dice) external {
        uint48 number = uint48(1 + dice % BATCHES);
        uint32 position = uint32(dice / BATCHES % 7);
        Evidence memory evidence;
        evidence.extra = abi.encodePacked(position);
        batches.demand(Demand.Statistics, number, _commitment(number), _place(number), evidence);
        evidence = Evidence(new Shown[](1), _witness(number), "");
        if (position < 5) {
            evidence.shown[0] = _show(readings[number], position);
            evidence.extra = _path(number, position, 3, position);
        }
        batches.answer(Demand.Statistics, number, _commitment(number), bytes32(uint256(position)), evidence);
        ++answered;
    }

    // ---------------------------------------------------------------------------------------------- evidence

    function _show(bytes[] storage leaves, uint256 position) internal view returns (Shown memory) {
        return Shown(uint32(position), leaves[position], _proof(leaves, position));
    }

    function _witness(uint48 number) internal view returns (Witness[] memory witnesses) {
        witnesses = new Witness[](1);
        witnesses[0] = Witness(number, sealedBatches[number], _place(number));
    }

    function _evidence(Fraud fraud, uint48 number, uint256 dice)
        internal
        view
        returns (Evidence memory evidence)
    {
        uint48 other = uint48(1 + (dice >> 8) % BATCHES);
        bool ofReports = fraud == Fraud.BadSignature || fraud == Fraud.RevokedDevice
            || fraud == Fraud.DuplicateReport || fraud == Fraud.MalformedReport
            || fraud == Fraud.UnsortedReports;
        if ((dice >> 16) % 16 == 0) ofReports = !ofReports;
        bool pairOfBatches = fraud == Fraud.DuplicateReport && (dice >> 20) % 2 == 0;
        evidence.shown = _leaves(ofReports, number, pairOfBatches ? other : number, dice >> 24);
        bool needsWitness = pairOfBatches || fraud == Fraud.Equivocation || fraud == Fraud.BrokenChain;
        if (needsWitness || (dice >> 40) % 16 == 0) {
            evidence.witnesses =
                _witness(fraud == Fraud.Equivocation && (dice >> 44) % 4 > 0 ? number : other);
        }
        evidence.extra = _extra(fraud, number, evidence.shown[0].position, dice >> 48);
        if (fraud == Fraud.BrokenChain && uint8(evidence.extra[0]) == 3) {
            // From the newest one: over one link, for the ancestors' sake, or over all that are between.
            evidence.witnesses = new Witness[](1);
            evidence.witnesses[0] = _witness(number < BATCHES ? number + 1 : number)[0];
        }
        _spoil(evidence, dice >> 96);
    }

    /// Two leaves, more often than not neighbours.
    function _leaves(bool ofReports, uint48 one, uint48 two, uint256 dice)
        internal
        view
        returns (Shown[] memory shown)
    {
        uint256 count = ofReports ? 3 : 5;
        uint256 position = dice % count;
        uint256 second = (dice >> 8) % 3 == 0 ? (dice >> 10) % count : (position + 1) % count;
        shown = new Shown[](2);
        shown[0] = _show(ofReports ? reports[one] : readings[one], position);
        shown[1] = _show(ofReports ? reports[two] : readings[two], second);
    }

    function _extra(Fraud fraud, uint48 number, uint32 position, uint256 dice)
        internal
        view
        returns (bytes memory)
    {
        if (fraud == Fraud.BadSignature) return abi.encodePacked(keyX, keyY);
        if (fraud == Fraud.RevokedDevice) return abi.encodePacked(uint16(dice % 3));
        if (fraud == Fraud.BrokenChain) {
            bytes memory named = dice % 4 == 3 ? abi.encodePacked(_commitment(number)) : bytes("");
            return abi.encodePacked(uint8(dice % 4), named);
        }
        if (fraud == Fraud.WrongLeaf) return _path(number, position, 3, position);
        if (fraud != Fraud.WrongParent) return "";
        uint256 pairs = 1 + dice % 3;
        return _path(number, position, pairs, uint32(position >> (4 - pairs)));
    }

    /// In half of the cases one thing is changed.
    function _spoil(Evidence memory evidence, uint256 dice) internal pure {
        Shown memory shown = evidence.shown[(dice >> 8) % 2];
        uint256 way = dice % 12;
        if (way == 0) _flip(shown.content, dice >> 16);
        if (way == 1) shown.position = uint32((dice >> 16) % 9);
        if (way == 2) {
            shown.proof[(dice >> 16) % shown.proof.length] ^= bytes26(uint208(1 << (dice >> 24) % 208));
        }
        if (way == 3) shown.proof = new bytes26[](0);
        if (way == 4) _flip(evidence.extra, dice >> 16);
        if (way == 5 && evidence.witnesses.length > 0) {
            evidence.witnesses[0].batchId ^= uint48(1 + (dice >> 16) % 7);
        }
    }

    function _flip(bytes memory content, uint256 dice) internal pure {
        if (content.length == 0) return;
        uint256 place = dice % content.length;
        content[place] = bytes1(uint8(content[place]) ^ uint8(1 << (dice >> 32) % 8));
    }
}

contract HonestSubmitterInvariants is HonestBatches {
    EvidenceHandler internal handler;

    function setUp() public {
        handler = new EvidenceHandler();
        batches = handler.books();
        _target(address(handler));
    }

    /// Whatever is shown, and whatever is demanded as long as it is answered.
    function invariant_an_honest_submitter_cannot_be_slashed() public view {
        assertFalse(handler.slashed());
        assertEq(batches.bondOf(0).amount, BOND);
        assertEq(batches.bondOf(0).openDemands, 0);
        assertEq(batches.submitterOf(0), address(handler));
    }

    /// Evidence is not only refused for its form: much of it is judged.
    function afterInvariant() public view {
        uint256 judged = 0;
        for (uint256 kind = 0; kind < 12; ++kind) {
            judged += handler.judged(kind);
        }
        assertTrue(handler.thrown() >= 8 && judged >= 1 && handler.answered() >= 4, "done");
    }

    /// The pieces are right: of the evidence as it stands, unspoilt, each kind is judged and shows nothing.
    function test_evidence_of_every_kind_reaches_the_judge() public {
        for (uint256 dice = 0; dice < 240; ++dice) {
            handler.accuse(uint8(dice % 12), uint256(keccak256(abi.encode(dice))));
        }
        for (uint256 kind = 0; kind < 12; ++kind) {
            assertTrue(handler.judged(kind) > 0, vm.toString(kind));
        }
        assertFalse(handler.slashed());
    }
}
