// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { DepositPause } from "./DepositPause.sol";
import { StateOpenings } from "./StateOpenings.sol";
import { IStateChannels } from "./interfaces/IStateChannels.sol";
import { ChannelBytes } from "./libraries/ChannelBytes.sol";
import { ChannelTerms, PackedTerms } from "./libraries/ChannelTerms.sol";
import { Channel, ChannelWord } from "./libraries/ChannelWord.sol";
import { Eip712 } from "./libraries/Eip712.sol";
import { SafeErc20 } from "./libraries/SafeErc20.sol";

/// @title Two-way state channels
/// @dev There is no lock on payouts: a channel's word is cleared before its tokens move, so a token or receiver that calls back meets a
/// closed channel. Deposits: `StateOpenings`.
contract StateChannels is StateOpenings {
    using ChannelTerms for PackedTerms;
    using ChannelWord for Channel;

    bytes32 private constant STATE_TYPEHASH =
        keccak256("ChannelState(bytes32 channelId,uint40 version,uint88 balanceA)");
    bytes32 private constant CLOSE_TYPEHASH = keccak256("ChannelClose(bytes32 channelId,uint88 balanceA)");

    /// @inheritdoc IStateChannels
    mapping(address party => mapping(address token => uint256)) public heldFor;

    constructor(address firstGuardian) DepositPause(firstGuardian) { }

    /// @inheritdoc IStateChannels
    function close(
        Terms calldata terms,
        uint88 balanceA,
        bytes calldata signatureA,
        bytes calldata signatureB
    ) external {
        _close(ChannelTerms.pack(terms), balanceA, signatureA, signatureB);
    }

    /// @inheritdoc IStateChannels
    function challenge(Terms calldata terms, SignedState calldata state) external {
        _challenge(
            ChannelTerms.pack(terms), state.version, state.balanceA, state.signatureA, state.signatureB
        );
    }

    /// @inheritdoc IStateChannels
    function respond(Terms calldata terms, SignedState calldata state) external {
        _respond(ChannelTerms.pack(terms), state.version, state.balanceA, state.signatureA, state.signatureB);
    }

    /// @inheritdoc IStateChannels
    function respondBrief() external {
        (PackedTerms terms, uint256 end) = ChannelTerms.copyAsSent();
        (bytes calldata signatureA, bytes calldata signatureB) = ChannelBytes.signatures(end + 16);
        (uint40 version, uint88 balanceA) = ChannelBytes.state(end);
        _respond(terms, version, balanceA, signatureA, signatureB);
    }

    /// @inheritdoc IStateChannels
    function finalise(Terms calldata terms) external {
        _finalise(ChannelTerms.pack(terms));
    }

    /// @inheritdoc IStateChannels
    function finaliseMany(Terms[] calldata terms) external returns (uint256 paid) {
        for (uint256 i = 0; i < terms.length; ++i) {
            if (_finaliseIfDue(ChannelTerms.pack(terms[i]))) ++paid;
        }
    }

    /// @inheritdoc IStateChannels
    function withdrawHeld(address party, address token) external {
        uint256 amount = heldFor[party][token];
        if (amount == 0) revert NothingHeld(party, token);
        delete heldFor[party][token];
        emit PayoutReleased(party, token, amount);
        SafeErc20.send(token, party, amount);
    }

    /// @inheritdoc IStateChannels
    function channelIdOf(Terms calldata terms) external view returns (bytes32) {
        return ChannelTerms.pack(terms).id();
    }

    /// @inheritdoc IStateChannels
    function channelOf(bytes32 channelId)
        external
        view
        returns (uint88 deposit, uint88 balanceA, uint40 version, uint40 deadline)
    {
        Channel channel = _read(channelId);
        return (channel.deposit(), channel.balanceA(), channel.version(), channel.deadline());
    }

    function _close(PackedTerms terms, uint88 balanceA, bytes calldata signatureA, bytes calldata signatureB)
        private
    {
        (bytes32 channelId, Channel channel) = _openChannel(terms);
        _requireCovered(channel, balanceA);
        bytes32 structHash = Eip712.hashStruct(CLOSE_TYPEHASH, channelId, balanceA);
        _requireBoth(terms, structHash, signatureA, signatureB);
        _payOut(terms, channelId, channel.withBalance(balanceA));
    }

    function _challenge(
        PackedTerms terms,
        uint40 version,
        uint88 balanceA,
        bytes calldata signatureA,
        bytes calldata signatureB
    ) private {
        (bytes32 channelId, Channel channel) = _openChannel(terms);
        if (channel.deadline() != 0) revert ChallengeRunning(channel.deadline());
        // slither-disable-next-line incorrect-equality (fields of a word that only we write)
        bool asItStands = version == channel.version() && balanceA == channel.balanceA();
        if (asItStands) _requireParty(terms);
        else _requireState(terms, channelId, channel, version, balanceA, signatureA, signatureB);
        uint40 deadline = uint40(block.timestamp) + terms.challengePeriod();
        _recordState(channelId, ChannelWord.pack(channel.deposit(), balanceA, version, deadline));
    }

    function _respond(
        PackedTerms terms,
        uint40 version,
        uint88 balanceA,
        bytes calldata signatureA,
        bytes calldata signatureB
    ) private {
        (bytes32 channelId, Channel channel) = _openChannel(terms);
        uint40 deadline = channel.deadline();
        // slither-disable-next-line incorrect-equality (zero is no challenge)
        if (deadline == 0 || block.timestamp >= deadline) revert ChallengeOver(deadline);
        _requireState(terms, channelId, channel, version, balanceA, signatureA, signatureB);
        _recordState(channelId, ChannelWord.pack(channel.deposit(), balanceA, version, deadline));
    }

    function _recordState(bytes32 channelId, Channel channel) private {
        _write(channelId, channel);
        emit ChannelChallenged(channelId, Channel.unwrap(channel));
    }

    function _finalise(PackedTerms terms) private {
        (bytes32 channelId, Channel channel) = _openChannel(terms);
        // slither-disable-next-line incorrect-equality (zero is no challenge)
        if (channel.deadline() == 0) revert ChallengeOver(0);
        if (!channel.isDue()) revert ChallengeRunning(channel.deadline());
        _payOut(terms, channelId, channel);
    }

    function _finaliseIfDue(PackedTerms terms) private returns (bool due) {
        bytes32 channelId = terms.id();
        Channel channel = _read(channelId);
        due = channel.isDue();
        if (due) _payOut(terms, channelId, channel);
    }

    /// @dev Pays by what the word says. Party B holds the rest, so rounding cannot lose anything.
    // slither-disable-next-line reentrancy-no-eth (what is held is added after a call; whoever calls back finds the channel closed)
    function _payOut(PackedTerms terms, bytes32 channelId, Channel channel) private {
        // Effects
        uint88 paidA = channel.balanceA();
        uint88 paidB = channel.deposit() - paidA;
        bool forGood = block.timestamp > terms.openBefore();
        _write(channelId, forGood ? Channel.wrap(0) : ChannelWord.pack(0, 0, ChannelWord.CLOSED, 0));
        emit ChannelClosed(channelId, Channel.unwrap(channel));

        // Interactions
        if (paidA > 0) _payOrHold(terms.token(), terms.partyA(), paidA);
        if (paidB > 0) _payOrHold(terms.token(), terms.partyB(), paidB);
    }

    /// @dev A party that the token refuses (a blocklist, a receiver that reverts) must not keep the other one from its money.
    function _payOrHold(address token, address party, uint88 amount) private {
        if (SafeErc20.trySend(token, party, amount)) return;
        heldFor[party][token] += amount;
        emit PayoutHeld(party, token, amount);
    }

    function _requireState(
        PackedTerms terms,
        bytes32 channelId,
        Channel channel,
        uint40 version,
        uint88 balanceA,
        bytes calldata signatureA,
        bytes calldata signatureB
    ) private view {
        _requireNewer(channel, version);
        _requireCovered(channel, balanceA);
        bytes32 structHash = Eip712.hashStruct(STATE_TYPEHASH, channelId, version, balanceA);
        _requireBoth(terms, structHash, signatureA, signatureB);
    }

    function _requireParty(PackedTerms terms) private view {
        if (msg.sender != terms.partyA() && msg.sender != terms.partyB()) revert NotParty(msg.sender);
    }
}
