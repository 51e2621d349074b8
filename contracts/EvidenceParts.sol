// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Revealed } from "./interfaces/BatchTypes.sol";
import { Evidence, IBatchChallenges, Shown } from "./interfaces/IBatchChallenges.sol";
import { InvalidProof, PositionalTree } from "./libraries/PositionalTree.sol";
import { Reports } from "./libraries/Reports.sol";

/// @title The parts of evidence: leaves that are proven to be a batch's
/// @dev Every leaf is shown at the depth that the header's count demands: at another depth an inner node of an honest tree could be
/// passed off as a malformed leaf.
abstract contract EvidenceParts is IBatchChallenges {
    uint256 internal constant READING = 40;

    function _shown(Evidence calldata evidence, uint256 index) internal pure returns (Shown calldata) {
        if (index >= evidence.shown.length) revert MalformedEvidence();
        return evidence.shown[index];
    }

    function _report(Revealed calldata batch, Shown calldata shown) internal pure returns (bytes calldata) {
        _requireIn(batch.header.reportsRoot, batch.header.reportCount, shown);
        return shown.content;
    }

    function _wellFormedReport(Revealed calldata batch, Shown calldata shown)
        internal
        pure
        returns (bytes calldata report)
    {
        report = _report(batch, shown);
        if (!Reports.isCanonical(report)) revert MalformedEvidence();
    }

    function _reading(Revealed calldata batch, Shown calldata shown) internal pure returns (bytes calldata) {
        _requireIn(batch.readingsRoot, batch.header.readingCount, shown);
        return shown.content;
    }

    function _wholeReading(Revealed calldata batch, Shown calldata shown)
        internal
        pure
        returns (bytes calldata leaf)
    {
        leaf = _reading(batch, shown);
        if (leaf.length != READING) revert MalformedEvidence();
    }

    function _requireIn(bytes26 root, uint256 count, Shown calldata shown) internal pure {
        if (shown.position >= count || shown.proof.length != PositionalTree.depthOf(count)) {
            revert InvalidProof();
        }
        PositionalTree.verify(root, bytes26(keccak256(shown.content)), shown.position, shown.proof);
    }

    /// @dev Whether something stands where the padding belongs: right of the last leaf's way everything is zero. The proof has been
    /// found to hold.
    function _hidesMore(uint256 count, Shown calldata shown) internal pure returns (bool) {
        if (uint256(shown.position) + 1 != count) return false;
        for (uint256 level = 0; level < shown.proof.length; ++level) {
            if (shown.position >> level & 1 == 0 && shown.proof[level] != 0) return true;
        }
        return false;
    }

    function _observation(bytes calldata report, bytes calldata extra) internal pure returns (bytes19) {
        if (extra.length != 2) revert MalformedEvidence();
        uint256 index = uint16(bytes2(extra));
        if (index >= Reports.countOf(report)) revert MalformedEvidence();
        return Reports.observation(report, index);
    }
}
