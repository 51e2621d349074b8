// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice A reward root with its window: root (208 bits) ‖ second from which it is claimable (32) ‖ handed over (1) ‖ epoch (15).
type RewardRoot is uint256;

/// @title One word for a root, its window and its epoch
/// @notice The bit says that the first proposer has handed its role over. It outlives every root of its place.
library RewardRoots {
    /// @notice What 15 bits can count to: 89 years of days.
    uint256 internal constant LAST_EPOCH = 0x7fff;
    uint256 private constant HANDED_OVER = 0x8000;

    /// @notice The root that takes this one's place.
    function followedBy(RewardRoot self, bytes26 root_, uint256 activeAt_, uint256 epoch_)
        internal
        pure
        returns (RewardRoot)
    {
        uint256 kept = RewardRoot.unwrap(self) & HANDED_OVER;
        return RewardRoot.wrap(uint256(bytes32(root_)) | (activeAt_ << 16 & 0xffffffff0000) | kept | epoch_);
    }

    /// @notice Its place without a root.
    function emptied(RewardRoot self) internal pure returns (RewardRoot) {
        return RewardRoot.wrap(RewardRoot.unwrap(self) & HANDED_OVER);
    }

    /// @notice The same, and the first proposer has handed its role over.
    function handedOver(RewardRoot self) internal pure returns (RewardRoot) {
        return RewardRoot.wrap(RewardRoot.unwrap(self) | HANDED_OVER);
    }

    function isHandedOver(RewardRoot self) internal pure returns (bool) {
        return RewardRoot.unwrap(self) & HANDED_OVER != 0;
    }

    function root(RewardRoot self) internal pure returns (bytes26) {
        return bytes26(bytes32(RewardRoot.unwrap(self)));
    }

    /// @notice Seconds.
    function activeAt(RewardRoot self) internal pure returns (uint40) {
        return uint32(RewardRoot.unwrap(self) >> 16);
    }

    function epoch(RewardRoot self) internal pure returns (uint32) {
        return uint32(RewardRoot.unwrap(self) & LAST_EPOCH);
    }

    /// @notice Zero when an epoch is the one after `before`, and later than the one that stands in its place.
    /// @dev Later, and not only another: a veto leaves `before` without a root, and what comes after nothing is epoch 1.
    /// In assembly, for three conditions without a branch: 80 gas less.
    function isNotNext(uint256 epoch_, RewardRoot before, RewardRoot standing)
        internal
        pure
        returns (uint256 not_)
    {
        assembly ("memory-safe") {
            not_ := sub(epoch_, add(and(before, LAST_EPOCH), 1))
            not_ := or(not_, or(iszero(gt(epoch_, and(standing, LAST_EPOCH))), gt(epoch_, LAST_EPOCH)))
        }
    }

    /// @notice The epoch after both.
    function nextEpoch(RewardRoot one, RewardRoot two) internal pure returns (uint32) {
        (uint32 first, uint32 second) = (epoch(one), epoch(two));
        unchecked {
            return (first > second ? first : second) + 1; // of 15 bits each
        }
    }

    /// @notice Whether there is a root and its window is over.
    function isActive(RewardRoot self) internal view returns (bool) {
        return root(self) != 0 && block.timestamp >= activeAt(self);
    }

    /// @notice Whether there is a root in its window.
    function isWaiting(RewardRoot self) internal view returns (bool) {
        return block.timestamp < activeAt(self);
    }
}
