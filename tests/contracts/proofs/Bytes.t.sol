// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IStateChannels } from "../../../contracts/interfaces/IStateChannels.sol";
import { ChannelTerms, PackedTerms } from "../../../contracts/libraries/ChannelTerms.sol";
import { Eip712 } from "../../../contracts/libraries/Eip712.sol";

/// For all bytes there are: what is hashed by hand is what `abi.encode` would hash, and every field is found in its place.
contract ByteProofs {
    using ChannelTerms for PackedTerms;

    bytes32 private constant DOMAIN =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

    function check_the_domain_is_that_of_eip_712(bytes32 nameHash) public view {
        bytes32 plain =
            keccak256(abi.encode(DOMAIN, nameHash, keccak256("1"), block.chainid, address(this)));
        assert(Eip712.domainSeparator(nameHash) == plain);
    }

    function check_a_digest_is_that_of_eip_712(bytes32 separator, bytes32 structHash) public pure {
        bytes32 plain = keccak256(abi.encodePacked(hex"1901", separator, structHash));
        assert(Eip712.digestUnder(separator, structHash) == plain);
    }

    function check_a_struct_is_hashed_as_encoded(bytes32 typehash, bytes32 one, uint256 two, uint256 three)
        public
        pure
    {
        assert(Eip712.hashStruct(typehash, one, two) == keccak256(abi.encode(typehash, one, two)));
        assert(
            Eip712.hashStruct(typehash, one, two, three) == keccak256(abi.encode(typehash, one, two, three))
        );
    }

    function check_terms_are_hashed_as_packed(IStateChannels.Terms calldata t) public view {
        bytes memory packed =
            abi.encodePacked(t.partyA, t.partyB, t.token, t.challengePeriod, t.openBefore, t.salt);
        bytes32 plain = keccak256(abi.encodePacked(block.chainid, address(this), packed));
        assert(ChannelTerms.pack(t).id() == plain);
    }

    function check_terms_are_found(IStateChannels.Terms calldata t) public view {
        PackedTerms packed = ChannelTerms.pack(t);
        assert(packed.partyA() == t.partyA && packed.partyB() == t.partyB && packed.token() == t.token);
        assert(packed.challengePeriod() == t.challengePeriod && packed.openBefore() == t.openBefore);
    }

    function check_sound_terms_have_two_parties_a_token_and_a_period(IStateChannels.Terms calldata t)
        public
        view
    {
        bool two = t.partyA != address(0) && t.partyB != address(0) && t.partyA != t.partyB;
        bool sound = two && t.token != address(0) && t.challengePeriod != 0;
        assert(ChannelTerms.pack(t).areSound() == sound);
    }
}
