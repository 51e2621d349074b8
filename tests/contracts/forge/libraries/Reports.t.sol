// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "../Base.sol";
import { Reports } from "../../../../contracts/libraries/Reports.sol";

contract ReportsCaller {
    function isCanonical(bytes calldata report) external pure returns (bool) {
        return Reports.isCanonical(report);
    }

    function head(bytes calldata report) external pure returns (address, uint64, uint224, uint256) {
        return (
            Reports.deviceOf(report),
            Reports.sequenceOf(report),
            Reports.placeOf(report),
            Reports.countOf(report)
        );
    }

    function parts(bytes calldata report) external pure returns (bytes memory, bytes memory) {
        return (Reports.observations(report), Reports.signature(report));
    }

    function observation(bytes calldata report, uint256 index) external pure returns (bytes19) {
        return Reports.observation(report, index);
    }

    function observedAt(bytes19 one) external pure returns (uint40) {
        return Reports.observedAt(one);
    }
}

/// given the bytes of a report
///   ├── every field is found where docs/protocol.md puts it
///   └── bytes are a report when they are as long as their count says, from 1 to 1024
contract ReportsTest is Test {
    ReportsCaller internal reports = new ReportsCaller();

    function _observations(bytes32 seed, uint256 count) private pure returns (bytes memory packed) {
        packed = new bytes(19 * count);
        for (uint256 i = 0; i < packed.length; ++i) {
            packed[i] = keccak256(abi.encode(seed, i / 32))[i % 32];
        }
    }

    function test_fields_are_where_the_protocol_puts_them(address device, uint64 sequence, bytes32 seed)
        public
        view
    {
        uint16 count = uint16(uint256(seed) % 5 + 1);
        bytes memory observations = _observations(seed, count);
        bytes memory signature = abi.encode(seed, ~seed);
        bytes memory report = abi.encodePacked(device, sequence, count, observations, signature);
        assertTrue(reports.isCanonical(report));
        (address whose, uint64 number, uint224 place, uint256 many) = reports.head(report);
        assertEq(whose, device);
        assertEq(number, sequence);
        assertEq(place, uint256(uint160(device)) * 2 ** 64 + sequence);
        assertEq(many, count);
        (bytes memory middle, bytes memory end) = reports.parts(report);
        assertEq(keccak256(middle), keccak256(observations));
        assertEq(keccak256(end), keccak256(signature));
        _findsEach(report, observations);
    }

    function _findsEach(bytes memory report, bytes memory observations) private view {
        for (uint256 i = 0; i < observations.length / 19; ++i) {
            bytes32 expected = bytes32(0);
            for (uint256 k = 0; k < 19; ++k) {
                expected |= bytes32(observations[19 * i + k]) >> (8 * k);
            }
            assertEq(bytes32(reports.observation(report, i)), expected);
        }
    }

    function test_the_time_stands_behind_metric_and_cell(uint16 metric, uint64 cell, uint40 time, int32 value)
        public
        view
    {
        bytes19 one = bytes19(abi.encodePacked(metric, cell, time, value));
        assertEq(reports.observedAt(one), time);
    }

    function _report(uint256 count, uint256 length) private pure returns (bytes memory report) {
        report = new bytes(length);
        for (uint256 i = 28; i < 30 && i < length; ++i) {
            report[i] = bytes1(uint8(count >> (8 * (29 - i))));
        }
    }

    function test_a_report_is_as_long_as_its_count_says(uint16 many) public view {
        uint256 count = bound(many, 1, 1024);
        uint256 length = 94 + 19 * count;
        assertTrue(reports.isCanonical(_report(count, length)));
        assertFalse(reports.isCanonical(_report(count, length - 1)));
        assertFalse(reports.isCanonical(_report(count, length + 1)));
        assertFalse(reports.isCanonical(_report(count + 1, length)));
    }

    function test_a_report_has_1_to_1024_observations() public view {
        assertTrue(reports.isCanonical(_report(1, 113)));
        assertTrue(reports.isCanonical(_report(1024, 94 + 19 * 1024)));
        assertFalse(reports.isCanonical(_report(1025, 94 + 19 * 1025)));
        for (uint256 length = 0; length < 113; ++length) {
            assertFalse(reports.isCanonical(_report(0, length)));
            assertFalse(reports.isCanonical(_report(1, length)));
        }
        assertFalse(reports.isCanonical(_report(0, 113)));
    }
}
