// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { PackedVouchers } from "../../../contracts/libraries/PackedVouchers.sol";

/// The rows of one group, and a channel's word (claimed ‖ balance) at its id.
contract Redeemer {
    function set(bytes32 channelId, uint256 word) external {
        assembly ("memory-safe") {
            sstore(channelId, word)
        }
    }

    function get(bytes32 channelId) external view returns (uint256 word) {
        assembly ("memory-safe") {
            word := sload(channelId)
        }
    }

    function redeem() external returns (uint256 paid, uint256 count) {
        PackedVouchers.begin();
        PackedVouchers.openGroup(4);
        return PackedVouchers.redeemKeys();
    }
}

/// For every voucher of a key, in a row of the largest size: it is redeemed if, and only if, its signer has signed it, it adds something and the
/// channel has it; then the channel's word says so, and nothing else changes.
contract RedemptionProofs {
    uint256 private constant HALF = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;
    bytes32 private constant DOMAIN =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant CONFIG = keccak256(
        "ChannelConfig(address payer,address payerAuthorizer,address receiver,address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 salt)"
    );
    bytes32 private constant VOUCHER = keccak256("Voucher(bytes32 channelId,uint128 maxClaimableAmount)");

    Redeemer private redeemer = new Redeemer();

    struct Case {
        address payer;
        address authorizer;
        uint256 salt;
        uint96 amount;
        bytes32 r;
        uint256 vs;
        uint24 delay;
        address token;
        uint256 word;
    }

    function check_a_payers_voucher(Case calldata c) public {
        bytes memory row = abi.encodePacked(c.payer, c.salt, c.amount, c.r, c.vs);
        _check(c, c.payer, abi.encodePacked(uint8(0), uint8(32), uint8(12), uint16(1), c.delay, c.token, row));
    }

    function check_an_authorizers_voucher(Case calldata c) public {
        bytes memory row = abi.encodePacked(c.payer, c.authorizer, c.salt, c.amount, c.r, c.vs);
        _check(
            c, c.authorizer, abi.encodePacked(uint8(1), uint8(32), uint8(12), uint16(1), c.delay, c.token, row)
        );
    }

    function _check(Case calldata c, address signer, bytes memory group) private {
        // The prover's ecrecover answers zero where the chain's answers nothing: test_nobody_signs_for_the_address_zero.
        if (signer == address(0)) return;
        bytes32 id = _digest(
            keccak256(
                abi.encode(CONFIG, c.payer, signer, address(this), address(this), c.token, c.delay, c.salt)
            )
        );
        redeemer.set(id, c.word);
        (bool done, bytes memory answer) =
            address(redeemer).call(bytes.concat(Redeemer.redeem.selector, group));
        assert(done);
        (uint256 paid, uint256 count) = abi.decode(answer, (uint256, uint256));
        (uint256 claimed, uint256 balance) = (c.word >> 128, uint128(c.word));
        bool good = c.amount > claimed && c.amount <= balance && _isSigned(c, signer, id);
        assert(count == (good ? 1 : 0));
        assert(paid == (good ? c.amount - claimed : 0));
        assert(redeemer.get(id) == (good ? uint256(c.amount) << 128 | balance : c.word));
    }

    function _isSigned(Case calldata c, address signer, bytes32 id) private view returns (bool) {
        bytes32 digest = _digest(keccak256(abi.encode(VOUCHER, id, c.amount)));
        uint256 s = c.vs << 1 >> 1;
        address found = ecrecover(digest, uint8(27 + (c.vs >> 255)), c.r, bytes32(s));
        return s <= HALF && found != address(0) && found == signer;
    }

    function _digest(bytes32 structHash) private view returns (bytes32) {
        bytes32 name = keccak256("x402 Batch Settlement");
        bytes32 domain =
            keccak256(abi.encode(DOMAIN, name, keccak256("1"), block.chainid, address(redeemer)));
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }
}
