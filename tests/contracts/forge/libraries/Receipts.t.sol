// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "../Base.sol";
import { Receipt } from "../../../../contracts/interfaces/BatchTypes.sol";
import { Receipts } from "../../../../contracts/libraries/Receipts.sol";

contract ReceiptCaller {
    function digest(Receipt calldata receipt, address batches) external view returns (bytes32) {
        return Receipts.digest(receipt, batches);
    }
}

/// given a receipt and a contract
///   └── the digest is the standard's, on whatever chain, for whatever contract
contract ReceiptsLibraryTest is Test {
    ReceiptCaller internal caller = new ReceiptCaller();

    function test_a_receipts_digest_is_the_standards(Receipt calldata receipt, address batches, uint32 chain)
        public
    {
        vm.chainId(uint256(chain) + 1);
        bytes32 separator = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("CoreChain"),
                keccak256("1"),
                uint256(chain) + 1,
                batches
            )
        );
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("Receipt(uint16 lane,uint40 since,uint40 commitBy,bytes26 root,uint32 count)"),
                receipt.lane,
                receipt.since,
                receipt.commitBy,
                receipt.root,
                receipt.count
            )
        );
        bytes32 expected = keccak256(bytes.concat(hex"1901", separator, structHash));
        assertEq(caller.digest(receipt, batches), expected);
    }
}
