// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Receipt } from "../interfaces/BatchTypes.sol";
import { Eip712 } from "./Eip712.sol";

/// @title What a gateway signs for the reports that it acknowledged
/// @notice Source: docs/protocol.md, "Receipts". The domain is that of DataBatches, and who judges is another contract: so the
/// separator is made here for a given address.
library Receipts {
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant NAME_HASH = keccak256("CoreChain");
    bytes32 private constant VERSION_HASH = keccak256("1");
    bytes32 private constant TYPEHASH =
        keccak256("Receipt(uint16 lane,uint40 since,uint40 commitBy,bytes26 root,uint32 count)");

    /// @notice The EIP-712 digest of a receipt for this DataBatches, on this chain.
    function digest(Receipt calldata receipt, address batches) internal view returns (bytes32) {
        bytes32 separator =
            keccak256(abi.encode(DOMAIN_TYPEHASH, NAME_HASH, VERSION_HASH, block.chainid, batches));
        return Eip712.digestUnder(separator, keccak256(abi.encode(TYPEHASH, receipt)));
    }
}
