// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "./Base.sol";
import { StateChannels } from "../../../contracts/StateChannels.sol";
import { IStateChannels } from "../../../contracts/interfaces/IStateChannels.sol";
import { MintableToken } from "../../../contracts/mocks/Tokens.sol";

/// Two parties, the first with tokens and an allowance, and how they sign.
abstract contract StateFixture is Test {
    uint32 internal constant PERIOD = 3600;
    StateChannels internal channels;
    MintableToken internal token;
    address internal a = makeAddr("party a");
    address internal b = makeAddr("party b");
    address internal tower = makeAddr("tower");

    function _start() internal {
        vm.warp(1_700_000_000);
        channels = new StateChannels(address(0));
        token = new MintableToken();
        token.mint(a, 1e27);
        vm.prank(a);
        token.approve(address(channels), type(uint256).max);
    }

    function _terms(uint256 salt) internal view returns (IStateChannels.Terms memory) {
        return IStateChannels.Terms(a, b, address(token), PERIOD, type(uint40).max, bytes5(uint40(salt)));
    }

    function _open(uint256 salt, uint88 amountA, uint88 amountB)
        internal
        returns (IStateChannels.Terms memory terms)
    {
        terms = _terms(salt);
        vm.prank(a);
        channels.open(terms, amountA, amountB);
    }

    function _digest(bytes32 structHash) internal view returns (bytes32) {
        bytes32 separator = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("CoreChain State Channels"),
                keccak256("1"),
                block.chainid,
                address(channels)
            )
        );
        return keccak256(abi.encodePacked(hex"1901", separator, structHash));
    }

    function _stateDigest(IStateChannels.Terms memory terms, uint40 version, uint88 balanceA)
        internal
        view
        returns (bytes32)
    {
        bytes32 typehash = keccak256("ChannelState(bytes32 channelId,uint40 version,uint88 balanceA)");
        return _digest(keccak256(abi.encode(typehash, channels.channelIdOf(terms), version, balanceA)));
    }

    function _closeDigest(IStateChannels.Terms memory terms, uint88 balanceA)
        internal
        view
        returns (bytes32)
    {
        bytes32 typehash = keccak256("ChannelClose(bytes32 channelId,uint88 balanceA)");
        return _digest(keccak256(abi.encode(typehash, channels.channelIdOf(terms), balanceA)));
    }

    function _topUpDigest(IStateChannels.Terms memory terms, uint40 version, uint88 balanceA, uint88 deposit)
        internal
        view
        returns (bytes32)
    {
        bytes32 typehash =
            keccak256("ChannelTopUp(bytes32 channelId,uint40 version,uint88 balanceA,uint88 deposit)");
        bytes32 channelId = channels.channelIdOf(terms);
        return _digest(keccak256(abi.encode(typehash, channelId, version, balanceA, deposit)));
    }

    function _state(IStateChannels.Terms memory terms, uint40 version, uint88 balanceA)
        internal
        view
        returns (IStateChannels.SignedState memory)
    {
        bytes32 digest = _stateDigest(terms, version, balanceA);
        return IStateChannels.SignedState(
            version, balanceA, signed(keyOf("party a"), digest), signedCompact(keyOf("party b"), digest)
        );
    }

    function _openingDigest(IStateChannels.Terms memory terms, uint88 amountA, uint88 amountB)
        internal
        view
        returns (bytes32)
    {
        bytes32 typehash = keccak256("ChannelOpening(bytes32 channelId,uint88 amountA,uint88 amountB)");
        return _digest(keccak256(abi.encode(typehash, channels.channelIdOf(terms), amountA, amountB)));
    }

    /// A deposit by allowance, with the party's consent.
    function _share(
        IStateChannels.Terms memory terms,
        string memory party,
        uint88 amount,
        uint88 amountA,
        uint88 amountB
    ) internal view returns (IStateChannels.Share memory share) {
        share.amount = amount;
        share.consent = signed(keyOf(party), _openingDigest(terms, amountA, amountB));
    }

    function _pack(IStateChannels.Terms memory t) internal pure returns (bytes memory) {
        return abi.encodePacked(t.partyA, t.partyB, t.token, t.challengePeriod, t.openBefore, t.salt);
    }

    /// The terms of a packed call: who sends it leaves its own address out.
    function _sent(IStateChannels.Terms memory t, address sender) internal pure returns (bytes memory) {
        bytes memory rest = abi.encodePacked(t.token, t.challengePeriod, t.openBefore, t.salt);
        if (sender == t.partyA) return abi.encodePacked(uint8(1), t.partyB, rest);
        if (sender == t.partyB) return abi.encodePacked(uint8(2), t.partyA, rest);
        return abi.encodePacked(uint8(0), _pack(t));
    }

    function _brief(address sender, bytes4 selector, bytes memory packed) internal returns (bool success) {
        vm.prank(sender);
        (success,) = address(channels).call(abi.encodePacked(selector, packed));
    }

    function _compact(string memory party, bytes32 digest) internal pure returns (bytes memory) {
        return signedCompact(keyOf(party), digest);
    }

    function _unsigned(uint40 version, uint88 balanceA)
        internal
        pure
        returns (IStateChannels.SignedState memory)
    {
        return IStateChannels.SignedState(version, balanceA, "", "");
    }
}
