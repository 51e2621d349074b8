// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IStateChannels } from "./interfaces/IStateChannels.sol";
import { Eip712 } from "./libraries/Eip712.sol";
import { SafeErc20 } from "./libraries/SafeErc20.sol";
import { Signatures } from "./libraries/Signatures.sol";

/// @title Two-way state channels
contract StateChannels is IStateChannels {
    /// @dev One slot. A closed channel keeps `version` at its maximum: its states can never be used again, not even when somebody
    /// opens the same terms anew (costs the 4,800 gas that clearing the slot would give back).
    struct Channel {
        uint88 deposit;
        uint88 balanceA;
        uint40 version;
        uint40 deadline;
    }

    uint40 private constant CLOSED = type(uint40).max;
    bytes32 private constant NAME_HASH = keccak256("CoreChain State Channels");
    bytes32 private constant STATE_TYPEHASH =
        keccak256("ChannelState(bytes32 channelId,uint40 version,uint88 balanceA)");
    bytes32 private constant CLOSE_TYPEHASH = keccak256("ChannelClose(bytes32 channelId,uint88 balanceA)");
    bytes32 private constant TOP_UP_TYPEHASH =
        keccak256("ChannelTopUp(bytes32 channelId,uint40 version,uint88 balanceA,uint88 deposit)");

    mapping(bytes32 channelId => Channel) private _channels;
    /// @inheritdoc IStateChannels
    mapping(address party => mapping(address token => uint256)) public heldFor;

    /// @dev Tokens are foreign code, and a deposit measures the balance around its call.
    bool private transient _entered;

    modifier nonReentrant() {
        if (_entered) revert Reentered();
        _entered = true;
        _;
        _entered = false;
    }

    /// @inheritdoc IStateChannels
    function open(Terms calldata terms, uint88 amountA, uint88 amountB) external nonReentrant {
        // Checks
        bool sound = terms.partyA != address(0) && terms.partyB != address(0) && terms.partyA != terms.partyB
            && terms.token != address(0) && terms.challengePeriod != 0;
        if (!sound) revert InvalidTerms();
        bytes32 channelId = channelIdOf(terms);
        Channel memory before = _channels[channelId];
        if (before.deposit != 0 || before.version != 0) revert ChannelExists(channelId);
        uint88 deposit = _sum(amountA, amountB);

        // Effects
        _channels[channelId] = Channel(deposit, amountA, 0, 0);
        emit ChannelOpened(
            channelId,
            terms.partyA,
            terms.partyB,
            terms.token,
            terms.challengePeriod,
            terms.salt,
            deposit,
            amountA
        );

        // Interactions
        SafeErc20.receiveFrom(terms.token, msg.sender, deposit);
    }

    /// @inheritdoc IStateChannels
    function topUp(Terms calldata terms, uint88 amount) external nonReentrant {
        (bytes32 channelId, Channel memory channel) = _openChannel(terms);
        if (amount == 0) revert InvalidDeposit(0);
        channel.deposit = _sum(channel.deposit, amount);
        _channels[channelId] = channel;
        emit ChannelToppedUp(channelId, channel.deposit, channel.balanceA);
        SafeErc20.receiveFrom(terms.token, msg.sender, amount);
    }

    /// @inheritdoc IStateChannels
    function topUpWithState(Terms calldata terms, uint88 amount, SignedState calldata state)
        external
        nonReentrant
    {
        // Checks
        (bytes32 channelId, Channel memory channel) = _openChannel(terms);
        if (amount == 0) revert InvalidDeposit(0);
        if (channel.deadline != 0) revert ChallengeRunning(channel.deadline);
        _requireNewer(channel, state);
        channel.deposit = _sum(channel.deposit, amount);
        _requireCovered(channel.deposit, state.balanceA);
        bytes32 structHash =
            keccak256(abi.encode(TOP_UP_TYPEHASH, channelId, state.version, state.balanceA, channel.deposit));
        _requireBoth(terms, structHash, state.signatureA, state.signatureB);

        // Effects
        (channel.balanceA, channel.version) = (state.balanceA, state.version);
        _channels[channelId] = channel;
        emit ChannelToppedUp(channelId, channel.deposit, channel.balanceA);

        // Interactions
        SafeErc20.receiveFrom(terms.token, msg.sender, amount);
    }

    /// @inheritdoc IStateChannels
    function close(
        Terms calldata terms,
        uint88 balanceA,
        bytes calldata signatureA,
        bytes calldata signatureB
    ) external nonReentrant {
        (bytes32 channelId, Channel memory channel) = _openChannel(terms);
        _requireCovered(channel.deposit, balanceA);
        bytes32 structHash = keccak256(abi.encode(CLOSE_TYPEHASH, channelId, balanceA));
        _requireBoth(terms, structHash, signatureA, signatureB);
        _payOut(terms, channelId, channel.deposit, balanceA);
    }

    /// @inheritdoc IStateChannels
    function challenge(Terms calldata terms, SignedState calldata state) external {
        // Checks
        (bytes32 channelId, Channel memory channel) = _openChannel(terms);
        if (channel.deadline != 0) revert ChallengeRunning(channel.deadline);
        bool asItStands = state.version == channel.version && state.balanceA == channel.balanceA;
        if (asItStands) _requireParty(terms);
        else _adopt(terms, channelId, channel, state);

        // Effects
        channel.deadline = uint40(block.timestamp) + terms.challengePeriod;
        _channels[channelId] = channel;
        emit ChannelChallenged(channelId, channel.version, channel.balanceA, channel.deadline);
    }

    /// @inheritdoc IStateChannels
    function respond(Terms calldata terms, SignedState calldata state) external {
        (bytes32 channelId, Channel memory channel) = _openChannel(terms);
        if (channel.deadline == 0 || block.timestamp >= channel.deadline) {
            revert ChallengeOver(channel.deadline);
        }
        _adopt(terms, channelId, channel, state);
        _channels[channelId] = channel;
        emit ChannelChallenged(channelId, channel.version, channel.balanceA, channel.deadline);
    }

    /// @inheritdoc IStateChannels
    function finalise(Terms calldata terms) external nonReentrant {
        _finalise(terms);
    }

    /// @inheritdoc IStateChannels
    function finaliseMany(Terms[] calldata terms) external nonReentrant {
        for (uint256 i = 0; i < terms.length; ++i) {
            _finalise(terms[i]);
        }
    }

    /// @inheritdoc IStateChannels
    function withdrawHeld(address party, address token) external nonReentrant {
        uint256 amount = heldFor[party][token];
        if (amount == 0) revert NothingHeld(party, token);
        delete heldFor[party][token];
        emit PayoutReleased(party, token, amount);
        SafeErc20.send(token, party, amount);
    }

    /// @inheritdoc IStateChannels
    function channelIdOf(Terms calldata terms) public view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(this), terms));
    }

    /// @inheritdoc IStateChannels
    function channelOf(bytes32 channelId)
        external
        view
        returns (uint88 deposit, uint88 balanceA, uint40 version, uint40 deadline)
    {
        Channel memory channel = _channels[channelId];
        return (channel.deposit, channel.balanceA, channel.version, channel.deadline);
    }

    function _finalise(Terms calldata terms) private {
        (bytes32 channelId, Channel memory channel) = _openChannel(terms);
        if (channel.deadline == 0) revert ChallengeOver(0);
        if (block.timestamp < channel.deadline) revert ChallengeRunning(channel.deadline);
        _payOut(terms, channelId, channel.deposit, channel.balanceA);
    }

    /// @dev Party B holds the rest, so rounding cannot lose anything.
    // slither-disable-next-line reentrancy-no-eth (what is held is written after a call, but every entry is behind the lock)
    function _payOut(Terms calldata terms, bytes32 channelId, uint88 deposit, uint88 paidA) private {
        // Effects
        uint88 paidB = deposit - paidA;
        _channels[channelId] = Channel(0, 0, CLOSED, 0);
        emit ChannelClosed(channelId, paidA, paidB);

        // Interactions
        if (paidA > 0) _payOrHold(terms.token, terms.partyA, paidA);
        if (paidB > 0) _payOrHold(terms.token, terms.partyB, paidB);
    }

    /// @dev A party that the token refuses (a blocklist, a receiver that reverts) must not keep the other one from its money.
    function _payOrHold(address token, address party, uint88 amount) private {
        if (SafeErc20.trySend(token, party, amount)) return;
        heldFor[party][token] += amount;
        emit PayoutHeld(party, token, amount);
    }

    /// @dev Puts a newer signed state into `channel`.
    function _adopt(
        Terms calldata terms,
        bytes32 channelId,
        Channel memory channel,
        SignedState calldata state
    ) private view {
        _requireNewer(channel, state);
        _requireCovered(channel.deposit, state.balanceA);
        bytes32 structHash = keccak256(abi.encode(STATE_TYPEHASH, channelId, state.version, state.balanceA));
        _requireBoth(terms, structHash, state.signatureA, state.signatureB);
        (channel.balanceA, channel.version) = (state.balanceA, state.version);
    }

    function _openChannel(Terms calldata terms)
        private
        view
        returns (bytes32 channelId, Channel memory channel)
    {
        channelId = channelIdOf(terms);
        channel = _channels[channelId];
        if (channel.deposit == 0) revert UnknownChannel(channelId);
    }

    function _requireNewer(Channel memory channel, SignedState calldata state) private pure {
        if (state.version <= channel.version || state.version == CLOSED) {
            revert StaleState(channel.version, state.version);
        }
    }

    function _requireCovered(uint88 deposit, uint88 balanceA) private pure {
        if (balanceA > deposit) revert BalanceOverDeposit(deposit, balanceA);
    }

    function _requireParty(Terms calldata terms) private view {
        if (msg.sender != terms.partyA && msg.sender != terms.partyB) revert NotParty(msg.sender);
    }

    function _requireBoth(
        Terms calldata terms,
        bytes32 structHash,
        bytes calldata signatureA,
        bytes calldata signatureB
    ) private view {
        bytes32 digest = Eip712.digest(NAME_HASH, structHash);
        if (msg.sender != terms.partyA) Signatures.requireAccount(terms.partyA, digest, signatureA);
        if (msg.sender != terms.partyB) Signatures.requireAccount(terms.partyB, digest, signatureB);
    }

    function _sum(uint88 one, uint88 two) private pure returns (uint88) {
        uint256 total = uint256(one) + two;
        if (total == 0 || total > type(uint88).max) revert InvalidDeposit(total);
        return uint88(total);
    }
}
