// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IPaymentChannels } from "../interfaces/IPaymentChannels.sol";
import { Eip712 } from "./Eip712.sol";
import { PaymentTypes } from "./PaymentTypes.sol";
import { InvalidSignature, Signatures } from "./Signatures.sol";

/// @notice Packed vouchers that break their layout at this byte of the list (docs/protocol.md, Packed redemption).
error MalformedRows(uint256 position);

/// @title Vouchers in packed calldata: groups of rows, each group with the terms that its channels share
/// @dev Positions are absolute in calldata. What is hashed lies in one frame of memory with a constant place: a row writes only
/// what is its own. Against the same with ABI rows this saves 7,900 gas a voucher (measured, docs/gas.md), of which constant
/// addresses instead of a pointer are 250.
library PackedVouchers {
    /// @notice What a group's head says, beside what goes straight into the frame. `rows` and `stop`: where its rows begin, and
    /// end at the least.
    struct Group {
        address receiver;
        address token;
        uint256 kind;
        uint256 count;
        uint256 rowBytes;
        uint256 rows;
    }

    /// @dev The payerAuthorizer is the payer. Row: payer 20 ‖ salt ‖ amount ‖ signature 64 (EIP-2098).
    uint256 internal constant BY_PAYER = 0;
    /// @dev The payerAuthorizer is a key of its own. Row: payer 20 ‖ payerAuthorizer 20 ‖ salt ‖ amount ‖ signature 64.
    uint256 internal constant BY_AUTHORIZER = 1;
    /// @dev There is no payerAuthorizer; the payer may be a contract (ERC-1271). Row: payer 20 ‖ salt ‖ amount ‖ size 2 ‖ signature.
    uint256 internal constant BY_ACCOUNT = 2;

    /// @dev The caller is receiver and receiverAuthorizer.
    uint256 private constant AS_BOTH = 0;
    /// @dev The caller is the receiver; the receiverAuthorizer stands at the end of the head.
    uint256 private constant AS_RECEIVER = 1;

    /// @dev Gas that a contract may use to judge a voucher: one account must not be able to burn a batch of hundreds.
    uint256 private constant JUDGING_GAS = 200_000;
    /// @dev What is left of a word of the log beside 20 bytes of the id. Greater amounts go through `redeem`.
    uint256 private constant MAX_AMOUNT_BYTES = 12;
    uint256 private constant MAX_128_BITS = 0xffffffffffffffffffffffffffffffff;
    uint256 private constant MAX_255_BITS =
        0x7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff;
    // slither-disable-next-line too-many-digits
    uint256 private constant PREFIX_160_BITS =
        0xffffffffffffffffffffffffffffffffffffffff000000000000000000000000;
    uint256 private constant HALF_SECP256K1_ORDER =
        0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    // The frame, from below: where the fields of a row are | digest preimage | ChannelConfig | Voucher | input of ecrecover.
    uint256 private constant FRAME = 0x100;
    uint256 private constant AUTHORIZER_AT = 0x100;
    uint256 private constant SALT_AT = 0x120;
    uint256 private constant SALT_SHIFT = 0x140;
    uint256 private constant AMOUNT_AT = 0x160;
    uint256 private constant AMOUNT_SHIFT = 0x180;
    uint256 private constant SIGNATURE_AT = 0x1a0;
    uint256 private constant PREFIX = 0x1c0;
    uint256 private constant PREIMAGE = 0x1de;
    uint256 private constant DOMAIN = 0x1e0;
    uint256 private constant STRUCT_HASH = 0x200;
    uint256 private constant CONFIG = 0x220;
    uint256 private constant PAYER = 0x240;
    uint256 private constant AUTHORIZER = 0x260;
    uint256 private constant RECEIVER = 0x280;
    uint256 private constant RECEIVER_AUTHORIZER = 0x2a0;
    uint256 private constant TOKEN = 0x2c0;
    uint256 private constant DELAY = 0x2e0;
    uint256 private constant SALT = 0x300;
    uint256 private constant VOUCHER = 0x320;
    uint256 private constant CHANNEL_ID = 0x340;
    uint256 private constant AMOUNT = 0x360;
    uint256 private constant DIGEST = 0x380;
    uint256 private constant V = 0x3a0;
    uint256 private constant R = 0x3c0;
    uint256 private constant S = 0x3e0;
    uint256 private constant FRAME_END = 0x400;

    /// @notice Takes the memory to hash vouchers in. Before anything else that takes memory.
    function begin() internal view {
        bool free;
        assembly ("memory-safe") {
            free := iszero(gt(mload(0x40), FRAME))
            mstore(0x40, FRAME_END)
        }
        assert(free);
        bytes32 domain = Eip712.domainSeparator(PaymentTypes.NAME_HASH);
        (bytes32 config, bytes32 voucher) = (PaymentTypes.CONFIG, PaymentTypes.VOUCHER);
        assembly ("memory-safe") {
            mstore(PREFIX, 0x1901)
            mstore(DOMAIN, domain)
            mstore(CONFIG, config)
            mstore(VOUCHER, voucher)
        }
    }

    /// @notice Reads the head at a position: form 1 ‖ salt bytes 1 ‖ amount bytes 1 ‖ count 2 ‖ withdrawDelay 3 ‖ token 20 ‖
    /// [other side of the receiver 20]. `form` is kind + 4 · role; the caller is always a side of the receiver.
    function openGroup(uint256 position, uint256 start, uint256 end)
        internal
        view
        returns (Group memory group)
    {
        uint256 head;
        address other;
        assembly ("memory-safe") {
            head := calldataload(position)
            other := shr(96, calldataload(add(position, 28)))
        }
        unchecked {
            uint256 role = head >> 250;
            group.kind = (head >> 248) & 3;
            group.count = (head >> 216) & 0xffff;
            group.token = address(uint160(head >> 32));
            group.rows = position + (role == AS_BOTH ? 28 : 48);
            group.rowBytes = _layOut(group.kind, (head >> 240) & 0xff, (head >> 232) & 0xff);
            bool known = role < 3 && group.rowBytes > 0 && group.count > 0;
            bool whole = group.rows + group.count * group.rowBytes <= end;
            if (!known || !whole) revert MalformedRows(position - start);
            group.receiver = role < 2 ? msg.sender : other;
            _share(group, role == AS_RECEIVER ? other : msg.sender, (head >> 192) & 0xffffff);
        }
    }

    /// @notice Redeems rows that keys have signed: writes the channels' words, lists what was redeemed, tells what was refused.
    /// @dev One loop by hand: the same in functions of the compiler's costs 550 gas more a voucher. ecrecover answers nothing where
    /// there is no signer; what was in memory before is then nobody's consent.
    function redeemKeys(Group memory group, uint256 list) internal returns (uint256 paid, uint256 count) {
        (uint256 position, uint256 rowBytes) = (group.rows, group.rowBytes);
        uint256 past = position + group.count * rowBytes;
        bytes32 refused = IPaymentChannels.VoucherRefused.selector;
        (bytes32 uncovered, bytes32 unsigned) =
            (IPaymentChannels.ClaimExceedsBalance.selector, InvalidSignature.selector);
        assembly ("memory-safe") {
            let next := add(list, 64)
            for { } lt(position, past) { position := add(position, rowBytes) } {
                mstore(PAYER, shr(96, calldataload(position)))
                mstore(AUTHORIZER, shr(96, calldataload(add(position, mload(AUTHORIZER_AT)))))
                // A shift by 256 leaves nothing: no salt bytes are the salt zero.
                mstore(SALT, shr(mload(SALT_SHIFT), calldataload(add(position, mload(SALT_AT)))))
                mstore(STRUCT_HASH, keccak256(CONFIG, 0x100))
                let channelId := keccak256(PREIMAGE, 66)
                let word := sload(channelId)
                let amount := shr(mload(AMOUNT_SHIFT), calldataload(add(position, mload(AMOUNT_AT))))
                if iszero(gt(amount, shr(128, word))) { continue }

                mstore(CHANNEL_ID, channelId)
                mstore(AMOUNT, amount)
                mstore(STRUCT_HASH, keccak256(VOUCHER, 0x60))
                mstore(DIGEST, keccak256(PREIMAGE, 66))
                let signatureAt := add(position, mload(SIGNATURE_AT))
                mstore(R, calldataload(signatureAt))
                let s := calldataload(add(signatureAt, 32))
                mstore(V, add(27, shr(255, s)))
                s := and(s, MAX_255_BITS)
                mstore(S, s)
                let bad := iszero(staticcall(gas(), 1, DIGEST, 0x80, 0, 0x20))
                bad := or(bad, sub(mload(AUTHORIZER), mload(0)))
                bad := or(bad, sub(returndatasize(), 32))
                bad := or(bad, gt(s, HALF_SECP256K1_ORDER))
                let deposited := and(word, MAX_128_BITS)
                if or(bad, gt(amount, deposited)) {
                    mstore(0, amount)
                    mstore(32, uncovered)
                    if bad { mstore(32, unsigned) }
                    log2(0, 64, refused, channelId)
                    continue
                }

                sstore(channelId, or(deposited, shl(128, amount)))
                paid := add(paid, sub(amount, shr(128, word)))
                mstore(next, or(and(channelId, PREFIX_160_BITS), amount))
                next := add(next, 32)
            }
            count := shr(5, sub(sub(next, list), 64))
        }
    }

    /// @notice Reads a row whose payer may be a contract; `next` is where the next row begins.
    // slither-disable-start write-after-write (offset and length are two parts of one reference)
    function readAccountRow(uint256 position, uint256 start, uint256 end)
        internal
        pure
        returns (bytes32 channelId, uint256 amount, bytes calldata signature, uint256 next)
    {
        assembly ("memory-safe") {
            let sizeAt := add(position, mload(SIGNATURE_AT))
            signature.offset := add(sizeAt, 2)
            signature.length := shr(240, calldataload(sizeAt))
            next := add(signature.offset, signature.length)
        }
        if (next > end) revert MalformedRows(position - start);
        assembly ("memory-safe") {
            mstore(PAYER, shr(96, calldataload(position)))
            mstore(AUTHORIZER, 0)
            mstore(SALT, shr(mload(SALT_SHIFT), calldataload(add(position, mload(SALT_AT)))))
            mstore(STRUCT_HASH, keccak256(CONFIG, 0x100))
            channelId := keccak256(PREIMAGE, 66)
            amount := shr(mload(AMOUNT_SHIFT), calldataload(add(position, mload(AMOUNT_AT))))
        }
    }

    // slither-disable-end write-after-write

    /// @notice Whether the payer of the row that was read last consents to the voucher. Never reverts.
    function isByAccount(bytes32 channelId, uint256 amount, bytes calldata signature)
        internal
        view
        returns (bool)
    {
        address payer;
        bytes32 digest;
        assembly ("memory-safe") {
            payer := mload(PAYER)
            mstore(CHANNEL_ID, channelId)
            mstore(AMOUNT, amount)
            mstore(STRUCT_HASH, keccak256(VOUCHER, 0x60))
            digest := keccak256(PREIMAGE, 66)
        }
        return Signatures.isByAccount(payer, digest, signature, JUDGING_GAS);
    }

    /// @notice Memory for the data of RedeemedMany: at most `count` words after offset and length.
    function newList(uint256 count) internal pure returns (uint256 list) {
        assembly ("memory-safe") {
            list := mload(0x40)
            mstore(0x40, add(list, add(64, shl(5, count))))
        }
    }

    /// @notice Writes a row: the first 20 bytes of the channel's id ‖ totalClaimed 12.
    function append(uint256 list, uint256 index, bytes32 channelId, uint256 totalClaimed) internal pure {
        assembly ("memory-safe") {
            let row := or(and(channelId, PREFIX_160_BITS), totalClaimed)
            mstore(add(add(list, 64), shl(5, index)), row)
        }
    }

    /// @notice Emits RedeemedMany where the list lies: the compiler's encoder would copy it.
    function emitList(uint256 list, uint256 count, address receiver) internal {
        bytes32 topic = IPaymentChannels.RedeemedMany.selector;
        assembly ("memory-safe") {
            mstore(list, 32)
            mstore(add(list, 32), count)
            log2(list, add(64, shl(5, count)), topic, receiver)
        }
    }

    /// @dev Notes where the fields of a row are; zero for a form that is none. Returns the bytes of a row, without what a
    /// signature of BY_ACCOUNT has.
    function _layOut(uint256 kind, uint256 saltBytes, uint256 amountBytes) private pure returns (uint256) {
        if (kind > BY_ACCOUNT || saltBytes > 32 || amountBytes == 0 || amountBytes > MAX_AMOUNT_BYTES) {
            return 0;
        }
        unchecked {
            uint256 authorizerAt = kind == BY_AUTHORIZER ? 20 : 0;
            uint256 signatureAt = 20 + authorizerAt + saltBytes + amountBytes;
            assembly ("memory-safe") {
                mstore(AUTHORIZER_AT, authorizerAt)
                mstore(SALT_AT, add(authorizerAt, 20))
                mstore(SALT_SHIFT, sub(256, shl(3, saltBytes)))
                mstore(AMOUNT_AT, sub(signatureAt, amountBytes))
                mstore(AMOUNT_SHIFT, sub(256, shl(3, amountBytes)))
                mstore(SIGNATURE_AT, signatureAt)
            }
            return signatureAt + (kind == BY_ACCOUNT ? 2 : 64);
        }
    }

    function _share(Group memory group, address authorizer, uint256 delay) private pure {
        (address receiver, address token) = (group.receiver, group.token);
        assembly ("memory-safe") {
            mstore(RECEIVER, receiver)
            mstore(RECEIVER_AUTHORIZER, authorizer)
            mstore(TOKEN, token)
            mstore(DELAY, delay)
        }
    }
}
