// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { BatchFixture } from "./BatchFixture.sol";
import { BatchHeader, Revealed } from "../../../contracts/interfaces/BatchTypes.sol";
import { Evidence, Shown, Witness } from "../../../contracts/interfaces/IBatchChallenges.sol";

/// A batch of one report with one observation, and a device on P-256.
abstract contract DisputeFixture is BatchFixture {
    uint256 internal constant DEVICE_P256 = 8;
    Revealed internal batch;
    bytes internal report;
    bytes internal reading;

    function _p256() internal pure returns (address device, bytes32 x, bytes32 y) {
        (uint256 a, uint256 b) = vm.publicKeyP256(DEVICE_P256);
        (x, y) = (bytes32(a), bytes32(b));
        device = address(uint160(uint256(keccak256(abi.encode(x, y)))));
    }

    function _signP256(bytes32 digest) internal pure returns (bytes memory) {
        (bytes32 r, bytes32 s) = vm.signP256(DEVICE_P256, digest);
        uint256 order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551;
        uint256 low = uint256(s) > order / 2 ? order - uint256(s) : uint256(s);
        return abi.encodePacked(r, low);
    }

    function _observations() private pure returns (bytes memory) {
        return abi.encodePacked(uint16(1), uint64(2), uint40(1_900_000_000), int32(5));
    }

    function _reportDigest(address device) internal view returns (bytes32) {
        return registry.hashReport(device, 1, _observations());
    }

    function _commitReport(address device, bytes memory signature) internal {
        report = abi.encodePacked(device, uint64(1), uint16(1), _observations(), signature);
        reading = abi.encodePacked(uint16(1), uint64(2), device, uint40(1_900_000_000), int32(5), uint8(1));
        bytes26 readings = bytes26(keccak256(reading));
        bytes26 statistics = bytes26(keccak256(abi.encodePacked(readings, int64(5), int32(5), int32(5))));
        batch.header = BatchHeader(
            1, 0, 0, statistics, bytes26(keccak256(report)), 0, 0, 1, 1, 1_900_000_000, 1_900_000_000
        );
        batch.readingsRoot = readings;
        bytes32 rest = keccak256(abi.encode(batch.header));
        batches.commit(1, bytes26(keccak256(abi.encodePacked(readings, rest))));
    }

    function _shown(bytes memory content) internal pure returns (Shown[] memory shown) {
        shown = new Shown[](1);
        shown[0] = Shown(0, content, new bytes26[](0));
    }

    function _evidence(bytes memory content, bytes memory extra) internal pure returns (Evidence memory) {
        return Evidence(_shown(content), new Witness[](0), extra);
    }
}
