// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IPaymentChannels } from "../../../../contracts/interfaces/IPaymentChannels.sol";
import { PackedVouchers } from "../../../../contracts/libraries/PackedVouchers.sol";
import { InvalidSignature } from "../../../../contracts/libraries/Signatures.sol";

/// PaymentChannels without tokens: what a group would pay is told, and a channel's word (claimed ‖ balance) lies at its id.
contract PackedHost {
    event Paid(address receiver, address token, uint256 amount);

    function set(bytes32 channelId, uint256 word) external {
        assembly ("memory-safe") {
            sstore(channelId, word)
        }
    }

    function get(bytes32 channelId) public view returns (uint256 word) {
        assembly ("memory-safe") {
            word := sload(channelId)
        }
    }

    /// Opens a group and reserves its list with so many bytes of memory taken before: whether two words there are as they were, and how
    /// much is taken behind the frame.
    function openAfter(uint256 size, bytes calldata group)
        external
        view
        returns (bool kept, uint256 reserved)
    {
        uint256 taken;
        assembly ("memory-safe") {
            taken := mload(0x40)
            mstore(taken, not(0))
            mstore(add(taken, 32), not(0))
            mstore(0x40, add(taken, size))
            reserved := group.offset
        }
        PackedVouchers.begin();
        PackedVouchers.openGroup(reserved);
        assembly ("memory-safe") {
            reserved := mload(0x40)
        }
        PackedVouchers.reserveList();
        assembly ("memory-safe") {
            reserved := sub(mload(0x40), reserved)
            kept := iszero(not(and(mload(taken), mload(add(taken, 32)))))
        }
    }

    /// The groups behind the selector.
    function redeem() external returns (uint256 redeemed) {
        PackedVouchers.begin();
        uint256 position = 4;
        do {
            (address receiver, address token) = PackedVouchers.openGroup(position);
            (uint256 paid, uint256 rows, uint256 next) = _group();
            if (rows > 0) PackedVouchers.emitList(rows);
            emit Paid(receiver, token, paid);
            (redeemed, position) = (redeemed + rows, next);
            _fillMemory();
        } while (position < msg.data.length);
    }

    /// Whoever takes memory between two groups must not get that of the frame.
    function _fillMemory() private pure {
        bytes memory taken = new bytes(1024);
        assembly ("memory-safe") {
            for { let i := 32 } lt(i, 1056) { i := add(i, 32) } { mstore(add(taken, i), not(0)) }
        }
    }

    function _group() private returns (uint256 paid, uint256 rows, uint256 next) {
        if (PackedVouchers.isOfAccounts()) return _accounts();
        (paid, rows) = PackedVouchers.redeemKeys();
        next = PackedVouchers.pastRows();
    }

    function _accounts() private returns (uint256 paid, uint256 rows, uint256 next) {
        PackedVouchers.reserveList();
        next = PackedVouchers.firstRow();
        for (uint256 left = PackedVouchers.countOf(); left > 0; --left) {
            bytes32 channelId;
            uint256 amount;
            bytes calldata signature;
            (channelId, amount, signature, next) = PackedVouchers.readAccountRow(next);
            (uint256 claimed, uint256 balance) = (get(channelId) >> 128, uint128(get(channelId)));
            if (amount <= claimed) continue;
            bool signed = PackedVouchers.isByAccount(channelId, amount, signature);
            if (!signed || amount > balance) {
                bytes4 why =
                    signed ? IPaymentChannels.ClaimExceedsBalance.selector : InvalidSignature.selector;
                emit IPaymentChannels.VoucherRefused(channelId, uint128(amount), why);
                continue;
            }
            this.set(channelId, amount << 128 | balance);
            PackedVouchers.append(rows, channelId, amount);
            (paid, rows) = (paid + amount - claimed, rows + 1);
        }
    }
}
