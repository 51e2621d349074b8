// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice A reward root with its window: root (208 bits) ‖ second from which it is claimable (32) ‖ epoch (16). Zero: none.
type RewardRoot is uint256;

/// @title One word for a root, its window and its epoch
library RewardRoots {
    function pack(bytes26 root_, uint40 activeAt_, uint32 epoch_) internal pure returns (RewardRoot) {
        return RewardRoot.wrap(uint256(bytes32(root_)) | uint256(uint32(activeAt_)) << 16 | uint16(epoch_));
    }

    function root(RewardRoot self) internal pure returns (bytes26) {
        return bytes26(bytes32(RewardRoot.unwrap(self)));
    }

    /// @notice Seconds.
    function activeAt(RewardRoot self) internal pure returns (uint40) {
        return uint32(RewardRoot.unwrap(self) >> 16);
    }

    function epoch(RewardRoot self) internal pure returns (uint32) {
        return uint16(RewardRoot.unwrap(self));
    }

    /// @notice Whether there is a root and its window is over.
    function isActive(RewardRoot self) internal view returns (bool) {
        return RewardRoot.unwrap(self) != 0 && block.timestamp >= activeAt(self);
    }

    /// @notice Whether there is a root in its window.
    function isWaiting(RewardRoot self) internal view returns (bool) {
        return block.timestamp < activeAt(self);
    }
}
