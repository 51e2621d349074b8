// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The bytes of a signed report
/// @notice Body `device 20 ‖ sequence 8 ‖ count 2 ‖ observations 19·count`, then the signature, 64. Source: docs/protocol.md, "Report".
library Reports {
    uint256 private constant HEAD = 30;
    uint256 private constant OBSERVATION = 19;
    uint256 private constant SIGNATURE = 64;
    uint256 private constant MAX_OBSERVATIONS = 1024;

    /// @notice Whether the bytes are a report at all; every other function expects that they are.
    function isCanonical(bytes calldata report) internal pure returns (bool) {
        if (report.length < HEAD + OBSERVATION + SIGNATURE) return false;
        uint256 count = countOf(report);
        return
            count >= 1 && count <= MAX_OBSERVATIONS && report.length == HEAD + OBSERVATION * count + SIGNATURE;
    }

    function deviceOf(bytes calldata report) internal pure returns (address) {
        return address(bytes20(report[:20]));
    }

    function sequenceOf(bytes calldata report) internal pure returns (uint64) {
        return uint64(bytes8(report[20:28]));
    }

    /// @notice Device and sequence as one number: the order of reports in a batch.
    function placeOf(bytes calldata report) internal pure returns (uint224) {
        return uint224(bytes28(report[:28]));
    }

    function countOf(bytes calldata report) internal pure returns (uint256) {
        return uint16(bytes2(report[28:30]));
    }

    function observations(bytes calldata report) internal pure returns (bytes calldata) {
        return report[HEAD:report.length - SIGNATURE];
    }

    function signature(bytes calldata report) internal pure returns (bytes calldata) {
        return report[report.length - SIGNATURE:];
    }

    /// @notice metric 2 ‖ cell 8 ‖ observed at 5 ‖ value 4 of one observation. The index must be below the count.
    function observation(bytes calldata report, uint256 index) internal pure returns (bytes19) {
        return bytes19(report[HEAD + OBSERVATION * index:HEAD + OBSERVATION * (index + 1)]);
    }

    /// @notice When an observation was made, seconds.
    function observedAt(bytes19 one) internal pure returns (uint40) {
        return uint40(uint152(one) >> 32);
    }
}
