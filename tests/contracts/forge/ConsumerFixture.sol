// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { BatchFixture } from "./BatchFixture.sol";
import { Anchor, Answer, ICoreChainBatches, Span, Step } from "../../../contracts/consumer/AnswerTypes.sol";
import { ProvenAnswers } from "../../../contracts/consumer/ProvenAnswers.sol";
import { Asker } from "../../../contracts/mocks/Asker.sol";

/// The lane of tests/vectors/consumer.json, committed when Python says, and its answers.
abstract contract ConsumerFixture is BatchFixture {
    /// What an answer is asked for, and what it comes to.
    struct Case {
        uint256 after_;
        uint256 last;
        address device;
        uint256 start;
        uint256 end;
        uint256 closesAt;
        uint256 count;
        int256 sum;
        int256 min;
        int256 max;
    }

    Asker internal asker;
    uint16 internal lane;
    uint16 private _metric;
    uint64 private _cell;
    bytes[] internal commitments;
    uint256[] private _times;
    bytes[] private _cases;
    bytes[] private _answers;

    function setUp() public virtual {
        string memory json = vm.readFile("tests/vectors/consumer.json");
        lane = uint16(vm.parseJsonUint(json, ".lane"));
        _metric = uint16(vm.parseJsonUint(json, ".metric"));
        _cell = uint64(vm.parseJsonUint(json, ".cell"));
        commitments = vm.parseJsonBytesArray(json, ".commitments");
        _times = vm.parseJsonUintArray(json, ".committedAt");
        _cases = vm.parseJsonBytesArray(json, ".packed");
        _answers = vm.parseJsonBytesArray(json, ".answers");
        _deploy();
        asker = new Asker(ICoreChainBatches(address(batches)));
        _activate(lane, address(this));
        for (uint256 i = 1; i <= commitments.length; ++i) {
            vm.warp(_committedAt(i));
            batches.commit(_in(lane, i), _commitment(i));
        }
    }

    function _committedAt(uint256 number) internal view returns (uint256) {
        return _times[number - 1];
    }

    function _commitment(uint256 number) internal view returns (bytes26) {
        return bytes26(bytes32(commitments[number - 1]));
    }

    function _caseCount() internal view returns (uint256) {
        return _cases.length;
    }

    function _case(uint256 i) internal view returns (Case memory) {
        return abi.decode(_cases[i], (Case));
    }

    function _answer(uint256 i) internal view returns (Answer memory) {
        return abi.decode(_answers[i], (Answer));
    }

    function _span(uint256 i) internal view returns (Span memory) {
        Case memory asked = _case(i);
        (uint40 start, uint40 end) = (uint40(asked.start), uint40(asked.end));
        return Span(lane, _metric, _cell, asked.device, start, end, uint40(asked.closesAt));
    }

    function _anchor(uint256 number) internal view returns (Anchor memory) {
        uint48 batchId = _in(lane, number);
        return Anchor(batchId, _commitment(number), _place(batchId));
    }

    function _incomplete(uint256 number) internal view returns (bytes memory) {
        return abi.encodeWithSelector(ProvenAnswers.RangeIncomplete.selector, _in(lane, number));
    }

    function _without(Step[] memory steps, uint256 left) internal pure returns (Step[] memory fewer) {
        fewer = new Step[](steps.length - 1);
        for (uint256 i = 0; i < fewer.length; ++i) {
            fewer[i] = steps[i < left ? i : i + 1];
        }
    }

    function _slice(Step[] memory steps, uint256 from, uint256 to)
        internal
        pure
        returns (Step[] memory some)
    {
        some = new Step[](to - from);
        for (uint256 i = from; i < to; ++i) {
            some[i - from] = steps[i];
        }
    }
}
