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
    /// @dev The payerAuthorizer is the payer. Row: payer 20 ‖ salt ‖ amount ‖ signature 64 (EIP-2098).
    uint256 internal constant BY_PAYER = 0;
    /// @dev The payerAuthorizer is a key of its own. Row: payer 20 ‖ payerAuthorizer 20 ‖ salt ‖ amount ‖ signature 64.
    uint256 internal constant BY_AUTHORIZER = 1;
    /// @dev There is no payerAuthorizer; the payer may be a contract (ERC-1271). Row: payer 20 ‖ salt ‖ amount ‖ size 2 ‖ signature.
    uint256 internal constant BY_ACCOUNT = 2;

    /// @dev A bit for each form that there is: three kinds for each of three roles.
    uint256 private constant FORMS = 0x777;
    /// @dev Where packed rows begin: behind the selector.
    uint256 private constant START = 4;
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

    // The frame, from below: group | digest preimage | ChannelConfig | Voucher | input of ecrecover.
    uint256 private constant FRAME = 0xc0;
    uint256 private constant KIND = 0xe0;
    uint256 private constant ROWS = 0x100;
    /// @dev Where the rows end at the least.
    uint256 private constant PAST = 0x120;
    uint256 private constant ROW_BYTES = 0x140;
    uint256 private constant AUTHORIZER_AT = 0x160;
    /// @dev From the signature back to the salt; how many bytes, and to where in the frame.
    uint256 private constant SALT_BACK = 0x180;
    uint256 private constant SALT_BYTES = 0xc0;
    uint256 private constant SALT_TO = 0x1a0;
    uint256 private constant AMOUNT_MASK = 0x1c0;
    // The frame of a row.
    uint256 private constant PREFIX = 0x1e0;
    uint256 private constant PREIMAGE = 0x1fe;
    uint256 private constant DOMAIN = 0x200;
    uint256 private constant STRUCT_HASH = 0x220;
    uint256 private constant CONFIG = 0x240;
    uint256 private constant PAYER = 0x260;
    uint256 private constant AUTHORIZER = 0x280;
    uint256 private constant RECEIVER = 0x2a0;
    uint256 private constant RECEIVER_AUTHORIZER = 0x2c0;
    uint256 private constant TOKEN = 0x2e0;
    uint256 private constant DELAY = 0x300;
    uint256 private constant SALT = 0x320;
    uint256 private constant VOUCHER = 0x340;
    uint256 private constant CHANNEL_ID = 0x360;
    uint256 private constant AMOUNT = 0x380;
    uint256 private constant DIGEST = 0x3a0;
    uint256 private constant V = 0x3c0;
    uint256 private constant R = 0x3e0;
    uint256 private constant S = 0x400;
    /// @dev Behind the frame the data of RedeemedMany grows: offset, length, rows. Nothing else takes memory until it is told.
    uint256 private constant FRAME_END = 0x420;
    uint256 private constant LIST = 0x420;
    uint256 private constant LIST_LENGTH = 0x440;
    uint256 private constant ROW_LIST = 0x460;

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
    /// [other side of the receiver 20]. `form` is kind + 4 · role; the caller is both sides of the receiver (role 0), the receiver (1) or
    /// the receiverAuthorizer (2).
    /// @dev By hand, and without a branch a check: 700 gas less than in the compiler's functions.
    function openGroup(uint256 position) internal view returns (address receiver, address token) {
        bool sound;
        assembly ("memory-safe") {
            let head := calldataload(position)
            let kind := and(shr(248, head), 3)
            let role := shr(250, head)
            receiver := caller()
            let authorizer := receiver
            let rows := add(position, 28)
            if role {
                let other := shr(96, calldataload(rows))
                rows := add(rows, 20)
                switch role
                case 1 { authorizer := other }
                default { receiver := other }
            }
            token := and(shr(32, head), sub(shl(160, 1), 1))
            mstore(RECEIVER, receiver)
            mstore(RECEIVER_AUTHORIZER, authorizer)
            mstore(TOKEN, token)
            mstore(DELAY, and(shr(192, head), 0xffffff))

            let saltBytes := byte(1, head)
            let amountBytes := byte(2, head)
            let authorizerAt := mul(20, eq(kind, BY_AUTHORIZER))
            mstore(AUTHORIZER_AT, authorizerAt)
            mstore(SALT, 0)
            mstore(SALT_TO, sub(add(SALT, 32), saltBytes))
            mstore(SALT_BYTES, saltBytes)
            mstore(SALT_BACK, add(saltBytes, amountBytes))
            mstore(AMOUNT_MASK, not(shl(shl(3, amountBytes), not(0))))
            // What a signature of BY_ACCOUNT has comes on top.
            let rowBytes := add(add(20, authorizerAt), add(saltBytes, amountBytes))
            rowBytes := add(rowBytes, sub(64, mul(62, eq(kind, BY_ACCOUNT))))
            let count := and(shr(216, head), 0xffff)
            let past := add(rows, mul(count, rowBytes))
            mstore(KIND, kind)
            mstore(ROWS, rows)
            mstore(PAST, past)
            mstore(ROW_BYTES, rowBytes)

            sound := shr(shr(248, head), FORMS)
            sound := and(sound, and(lt(saltBytes, 33), lt(sub(amountBytes, 1), MAX_AMOUNT_BYTES)))
            sound := and(sound, and(gt(count, 0), iszero(gt(past, calldatasize()))))
        }
        if (!sound) {
            if (msg.data.length == START) revert IPaymentChannels.EmptyBatch();
            revert MalformedRows(position - START);
        }
    }

    /// @notice Redeems rows that keys have signed: writes the channels' words, lists what was redeemed, tells what was refused.
    /// @dev One loop by hand: the same in functions of the compiler's costs 700 gas more a voucher. Where there is no signer, ecrecover
    /// answers nothing: then the word at 0 is read, which is nobody's address.
    function redeemKeys() internal returns (uint256 paid, uint256 count) {
        bytes32 refused = IPaymentChannels.VoucherRefused.selector;
        (bytes32 uncovered, bytes32 unsigned) =
            (IPaymentChannels.ClaimExceedsBalance.selector, InvalidSignature.selector);
        assembly ("memory-safe") {
            let next := ROW_LIST
            let position := mload(ROWS)
            let past := mload(PAST)
            let rowBytes := mload(ROW_BYTES)
            mstore(0, not(0))
            for { } lt(position, past) { } {
                mstore(PAYER, shr(96, calldataload(position)))
                let authorizer := shr(96, calldataload(add(position, mload(AUTHORIZER_AT))))
                mstore(AUTHORIZER, authorizer)
                position := add(position, rowBytes)
                let signatureAt := sub(position, 64)
                calldatacopy(mload(SALT_TO), sub(signatureAt, mload(SALT_BACK)), mload(SALT_BYTES))
                mstore(STRUCT_HASH, keccak256(CONFIG, 0x100))
                let channelId := keccak256(PREIMAGE, 66)
                let word := sload(channelId)
                let amount := and(calldataload(sub(signatureAt, 32)), mload(AMOUNT_MASK))
                if iszero(gt(amount, shr(128, word))) { continue }

                mstore(CHANNEL_ID, channelId)
                mstore(AMOUNT, amount)
                mstore(STRUCT_HASH, keccak256(VOUCHER, 0x60))
                mstore(DIGEST, keccak256(PREIMAGE, 66))
                mstore(R, calldataload(signatureAt))
                let s := calldataload(add(signatureAt, 32))
                mstore(V, add(27, shr(255, s)))
                s := and(s, MAX_255_BITS)
                mstore(S, s)
                pop(staticcall(gas(), 1, DIGEST, 0x80, 0x20, 0x20))
                let bad := or(xor(mload(returndatasize()), authorizer), gt(s, HALF_SECP256K1_ORDER))
                let deposited := and(word, MAX_128_BITS)
                if or(bad, gt(amount, deposited)) {
                    mstore(R, amount)
                    mstore(S, uncovered)
                    if bad { mstore(S, unsigned) }
                    log2(R, 64, refused, channelId)
                    continue
                }

                sstore(channelId, or(deposited, shl(128, amount)))
                paid := add(paid, sub(amount, shr(128, word)))
                mstore(next, or(and(channelId, PREFIX_160_BITS), amount))
                next := add(next, 32)
            }
            count := shr(5, sub(next, ROW_LIST))
        }
    }

    /// @notice Reads a row whose payer may be a contract; `next` is where the next row begins.
    // slither-disable-start write-after-write (offset and length are two parts of one reference)
    function readAccountRow(uint256 position)
        internal
        pure
        returns (bytes32 channelId, uint256 amount, bytes calldata signature, uint256 next)
    {
        uint256 sizeAt;
        assembly ("memory-safe") {
            sizeAt := sub(add(position, mload(ROW_BYTES)), 2)
            signature.offset := add(sizeAt, 2)
            signature.length := shr(240, calldataload(sizeAt))
            next := add(signature.offset, signature.length)
        }
        if (next > msg.data.length) revert MalformedRows(position - START);
        assembly ("memory-safe") {
            mstore(PAYER, shr(96, calldataload(position)))
            mstore(AUTHORIZER, 0)
            calldatacopy(mload(SALT_TO), sub(sizeAt, mload(SALT_BACK)), mload(SALT_BYTES))
            mstore(STRUCT_HASH, keccak256(CONFIG, 0x100))
            channelId := keccak256(PREIMAGE, 66)
            amount := and(calldataload(sub(sizeAt, 32)), mload(AMOUNT_MASK))
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

    /// @notice Whether the rows of the group may have to be judged by contracts.
    function isOfAccounts() internal pure returns (bool ofAccounts) {
        assembly ("memory-safe") {
            ofAccounts := eq(mload(KIND), BY_ACCOUNT)
        }
    }

    /// @notice Where the first row of the group is.
    function firstRow() internal pure returns (uint256 position) {
        assembly ("memory-safe") {
            position := mload(ROWS)
        }
    }

    /// @notice Where the rows of the group end at the least: what signatures of contracts have comes on top.
    function pastRows() internal pure returns (uint256 position) {
        assembly ("memory-safe") {
            position := mload(PAST)
        }
    }

    /// @notice How many rows the group has.
    function countOf() internal pure returns (uint256 count) {
        assembly ("memory-safe") {
            count := div(sub(mload(PAST), mload(ROWS)), mload(ROW_BYTES))
        }
    }

    /// @notice Keeps the list's memory while rows of accounts are judged: at most a word for each row after offset and length.
    function reserveList() internal pure {
        assembly ("memory-safe") {
            mstore(0x40, add(LIST, add(64, shl(5, div(sub(mload(PAST), mload(ROWS)), mload(ROW_BYTES))))))
        }
    }

    /// @notice Writes a row: the first 20 bytes of the channel's id ‖ totalClaimed 12.
    function append(uint256 index, bytes32 channelId, uint256 totalClaimed) internal pure {
        assembly ("memory-safe") {
            let row := or(and(channelId, PREFIX_160_BITS), totalClaimed)
            mstore(add(ROW_LIST, shl(5, index)), row)
        }
    }

    /// @notice Emits RedeemedMany where the list lies: the compiler's encoder would copy it.
    function emitList(uint256 count) internal {
        bytes32 topic = IPaymentChannels.RedeemedMany.selector;
        assembly ("memory-safe") {
            mstore(LIST, 32)
            mstore(LIST_LENGTH, count)
            log1(LIST, add(64, shl(5, count)), topic)
        }
    }
}
