// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "../Base.sol";
import { Eip712 } from "../../../../contracts/libraries/Eip712.sol";

contract Eip712Caller {
    function domainSeparator(bytes32 nameHash) external view returns (bytes32) {
        return Eip712.domainSeparator(nameHash);
    }

    function digest(bytes32 nameHash, bytes32 structHash) external view returns (bytes32) {
        return Eip712.digest(nameHash, structHash);
    }
}

/// given a name and a struct
///   ├── the separator is the standard's, of this chain and this contract
///   ├── the digest is the standard's
///   └── structs of two and three fields hash as abi.encode would have them
contract Eip712Test is Test {
    Eip712Caller internal caller = new Eip712Caller();

    function _separator(bytes32 nameHash, uint256 chain) private view returns (bytes32) {
        bytes32 domain =
            keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
        return keccak256(abi.encode(domain, nameHash, keccak256("1"), chain, address(caller)));
    }

    function test_a_digest_is_the_standards(bytes32 nameHash, bytes32 structHash, uint32 chain) public {
        vm.chainId(uint256(chain) + 1);
        bytes32 separator = _separator(nameHash, uint256(chain) + 1);
        bytes32 expected = keccak256(bytes.concat(hex"1901", separator, structHash));
        assertEq(caller.domainSeparator(nameHash), separator);
        assertEq(caller.digest(nameHash, structHash), expected);
        assertEq(Eip712.digestUnder(separator, structHash), expected);
    }

    function test_structs_hash_as_encoded(bytes32 typehash, bytes32 one, uint256 two, uint256 three)
        public
        pure
    {
        assertEq(Eip712.hashStruct(typehash, one, two), keccak256(abi.encode(typehash, one, two)));
        assertEq(
            Eip712.hashStruct(typehash, one, two, three), keccak256(abi.encode(typehash, one, two, three))
        );
    }

    /// The fields are written to free memory, above everything that is in use.
    function test_memory_in_use_is_let_alone(bytes32 word) public view {
        bytes32[6] memory own = [word, word, word, word, word, word];
        bytes32 before = keccak256(abi.encode(own));
        Eip712.digest(word, word);
        Eip712.hashStruct(word, word, 1, 2);
        Eip712.hashStruct(word, word, 1);
        assertEq(keccak256(abi.encode(own)), before);
    }
}
