// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Log, Test } from "../Base.sol";
import { IPaymentChannels } from "../../../../contracts/interfaces/IPaymentChannels.sol";

/// Of PackedVouchersHost.sol, which is not imported: so a mutant of the library compiles without its tests. (Alone: `forge build` first.)
interface IPackedHost {
    event Paid(address receiver, address token, uint256 amount);

    /// Of the library.
    error MalformedRows(uint256 position);

    function set(bytes32 channelId, uint256 word) external;
    function get(bytes32 channelId) external view returns (uint256 word);
    function openAfter(uint256 size, bytes calldata group) external view returns (bool kept, uint256 reserved);
    function redeem() external returns (uint256 redeemed);
}

/// A contract account that agrees when the signature is the digest, after it has used so much gas.
contract SlowWallet {
    uint256 private immutable _gas;

    constructor(uint256 gas_) {
        _gas = gas_;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        uint256 start = gasleft();
        while (start - gasleft() < _gas) { }
        return
            keccak256(signature) == keccak256(abi.encode(digest)) ? this.isValidSignature.selector : bytes4(0);
    }
}

// The code of a contract account that agrees to anything when it is asked with exactly 200,000 gas, of which it takes 2 to look:
// GAS PUSH3 199998 EQ PUSH4 isValidSignature MUL PUSH1 224 SHL PUSH0 MSTORE PUSH1 32 PUSH0 RETURN.
bytes constant EXACT_WALLET = hex"5a62030d3e14631626ba7e0260e01b5f5260205ff3";

/// A group of vouchers, field by field, and what it must come to, told with `abi.encode`.
abstract contract PackedFixture is Test {
    struct Head {
        uint8 kind;
        uint8 role;
        uint8 saltBytes;
        uint8 amountBytes;
        uint24 delay;
        address token;
        address caller;
        address other;
    }

    struct Row {
        address payer;
        address authorizer;
        uint256 salt;
        uint256 amount;
        bytes signature;
    }

    bytes32 private constant DOMAIN =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant CONFIG = keccak256(
        "ChannelConfig(address payer,address payerAuthorizer,address receiver,address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 salt)"
    );
    bytes32 private constant VOUCHER = keccak256("Voucher(bytes32 channelId,uint128 maxClaimableAmount)");

    IPackedHost internal host = IPackedHost(address(0x40577));
    address internal payer = makeAddr("payer");

    function setUp() public {
        deployCodeTo("PackedVouchersHost.sol:PackedHost", address(host));
    }

    function _digest(bytes32 structHash) private view returns (bytes32) {
        bytes32 name = keccak256("x402 Batch Settlement");
        bytes32 domain = keccak256(abi.encode(DOMAIN, name, keccak256("1"), block.chainid, address(host)));
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }

    function _receiver(Head memory h) internal pure returns (address) {
        return h.role == 2 ? h.other : h.caller;
    }

    function _id(Head memory h, Row memory r) internal view returns (bytes32) {
        address operator = h.role == 1 ? h.other : h.caller;
        address authorizer = [r.payer, r.authorizer, address(0)][h.kind];
        return _digest(
            keccak256(
                abi.encode(CONFIG, r.payer, authorizer, _receiver(h), operator, h.token, h.delay, r.salt)
            )
        );
    }

    function _voucher(bytes32 channelId, uint256 amount) internal view returns (bytes32) {
        return _digest(keccak256(abi.encode(VOUCHER, channelId, amount)));
    }

    /// A row as the payer, or its key of kind 1, signs it.
    function _row(Head memory h, uint256 salt, uint256 amount) internal view returns (Row memory r) {
        r = Row(payer, makeAddr("voucher key"), salt, amount, "");
        uint256 key = keyOf(h.kind == 1 ? "voucher key" : "payer");
        r.signature = signedCompact(key, _voucher(_id(h, r), amount));
    }

    function _headBytes(Head memory h, uint16 count) internal pure returns (bytes memory head) {
        head = abi.encodePacked(h.kind + 4 * h.role, h.saltBytes, h.amountBytes, count, h.delay, h.token);
        if (h.role != 0) head = bytes.concat(head, bytes20(h.other));
    }

    function _rowBytes(Head memory h, Row memory r) internal pure returns (bytes memory row) {
        row = abi.encodePacked(r.payer);
        if (h.kind == 1) row = bytes.concat(row, bytes20(r.authorizer));
        row = bytes.concat(row, _last(r.salt, h.saltBytes), _last(r.amount, h.amountBytes));
        if (h.kind == 2) row = bytes.concat(row, bytes2(uint16(r.signature.length)));
        return bytes.concat(row, r.signature);
    }

    function _group(Head memory h, Row[] memory rows) internal pure returns (bytes memory group) {
        group = _headBytes(h, uint16(rows.length));
        for (uint256 i = 0; i < rows.length; ++i) {
            group = bytes.concat(group, _rowBytes(h, rows[i]));
        }
    }

    function _last(uint256 value, uint256 size) private pure returns (bytes memory packed) {
        packed = new bytes(size);
        for (uint256 i = 0; i < size; ++i) {
            packed[size - 1 - i] = bytes1(uint8(value >> (8 * i)));
        }
    }

    function _call(address caller, bytes memory groups) internal returns (bool done, bytes memory answer) {
        vm.recordLogs();
        vm.prank(caller);
        (done, answer) = address(host).call(bytes.concat(IPackedHost.redeem.selector, groups));
    }

    function _redeems(address caller, bytes memory groups, uint256 expected) internal returns (Log[] memory) {
        (bool done, bytes memory answer) = _call(caller, groups);
        assertTrue(done, "redeemed");
        assertEq(abi.decode(answer, (uint256)), expected);
        return _logsOf(address(host));
    }

    function _reverts(bytes memory groups, bytes memory why) internal {
        (bool done, bytes memory answer) = _call(address(7), groups);
        assertFalse(done);
        assertEq(keccak256(answer), keccak256(why));
    }

    function _fund(Head memory h, Row memory r, uint256 claimed, uint256 balance) internal {
        host.set(_id(h, r), claimed << 128 | balance);
    }

    function _holds(Head memory h, Row memory r, uint256 claimed, uint256 balance) internal view {
        assertEq(host.get(_id(h, r)), claimed << 128 | balance);
    }

    function _isList(Log memory log, bytes32[] memory words) internal pure {
        assertEq(log.topics.length, 1);
        assertEq(log.topics[0], IPaymentChannels.RedeemedMany.selector);
        assertEq(keccak256(log.data), keccak256(abi.encode(words)));
    }

    function _isPaid(Log memory log, Head memory h, uint256 amount) internal pure {
        assertEq(log.topics[0], IPackedHost.Paid.selector);
        assertEq(keccak256(log.data), keccak256(abi.encode(_receiver(h), h.token, amount)));
    }

    function _isRefused(Log memory log, Head memory h, Row memory r, bytes4 why) internal view {
        assertEq(log.topics.length, 2);
        assertEq(log.topics[0], IPaymentChannels.VoucherRefused.selector);
        assertEq(log.topics[1], _id(h, r));
        assertEq(keccak256(log.data), keccak256(abi.encode(r.amount, why)));
    }

    function _listed(Head memory h, Row memory r) internal view returns (bytes32) {
        return bytes32(abi.encodePacked(bytes20(_id(h, r)), uint96(r.amount)));
    }
}
