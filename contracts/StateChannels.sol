// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { DepositPause } from "./DepositPause.sol";
import { IErc2612, IErc3009 } from "./interfaces/IDepositCollector.sol";
import { IStateChannels } from "./interfaces/IStateChannels.sol";
import { ChannelBytes } from "./libraries/ChannelBytes.sol";
import { Channel, ChannelWord } from "./libraries/ChannelWord.sol";
import { Eip712 } from "./libraries/Eip712.sol";
import { SafeErc20 } from "./libraries/SafeErc20.sol";
import { Signatures } from "./libraries/Signatures.sol";

/// @title Two-way state channels
contract StateChannels is IStateChannels, DepositPause {
    using ChannelBytes for bytes;
    using ChannelWord for Channel;

    bytes32 private constant NAME_HASH = keccak256("CoreChain State Channels");
    bytes32 private constant STATE_TYPEHASH =
        keccak256("ChannelState(bytes32 channelId,uint40 version,uint88 balanceA)");
    bytes32 private constant CLOSE_TYPEHASH = keccak256("ChannelClose(bytes32 channelId,uint88 balanceA)");
    bytes32 private constant TOP_UP_TYPEHASH =
        keccak256("ChannelTopUp(bytes32 channelId,uint40 version,uint88 balanceA,uint88 deposit)");

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

    constructor(address firstGuardian) DepositPause(firstGuardian) { }

    /// @inheritdoc IStateChannels
    function open(Terms calldata terms, uint88 amountA, uint88 amountB) external {
        _open(terms, amountA, amountB);
    }

    /// @inheritdoc IStateChannels
    function openBrief() external {
        bytes calldata packed = msg.data[4:];
        packed.requireLength(ChannelBytes.OPENING + 22);
        _open(
            packed.ownTerms(), packed.amount(ChannelBytes.OPENING), packed.amount(ChannelBytes.OPENING + 11)
        );
    }

    /// @inheritdoc IStateChannels
    // slither-disable-next-line reentrancy-events (what a token does in its permit it could do before the call)
    function openWithPermit(
        Terms calldata terms,
        uint88 amountA,
        uint88 amountB,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        // Whoever sends the permit first spoils nothing: the allowance is there.
        try IErc2612(terms.token)
            .permit(msg.sender, address(this), _sum(amountA, amountB), deadline, v, r, s) { }
            catch { }
        _open(terms, amountA, amountB);
    }

    /// @inheritdoc IStateChannels
    function openAuthorised(Terms calldata terms, Funding calldata fundingA, Funding calldata fundingB)
        external
        nonReentrant
        whileDepositsRun
    {
        bytes32 channelId = _enter(terms, fundingA.amount, fundingB.amount);
        bytes32 nonce = keccak256(abi.encode(channelId, fundingA.amount, fundingB.amount));
        uint256 before = SafeErc20.balanceOfThis(terms.token);
        _collect(terms.token, terms.partyA, fundingA, nonce);
        _collect(terms.token, terms.partyB, fundingB, nonce);
        SafeErc20.requireArrived(terms.token, before, uint256(fundingA.amount) + fundingB.amount);
    }

    /// @inheritdoc IStateChannels
    function topUp(Terms calldata terms, uint88 amount) external {
        _topUp(terms, amount);
    }

    /// @inheritdoc IStateChannels
    function increaseBrief() external {
        bytes calldata packed = msg.data[4:];
        packed.requireLength(ChannelBytes.TERMS + 11);
        _topUp(packed.terms(), packed.amount(ChannelBytes.TERMS));
    }

    /// @inheritdoc IStateChannels
    function topUpWithState(Terms calldata terms, uint88 amount, SignedState calldata state)
        external
        nonReentrant
        whileDepositsRun
    {
        // Checks
        (bytes32 channelId, Channel channel) = _openChannel(terms);
        if (amount == 0) revert InvalidDeposit(0);
        if (channel.deadline() != 0) revert ChallengeRunning(channel.deadline());
        _requireNewer(channel, state.version);
        uint88 deposit = _sum(channel.deposit(), amount);
        _requireCovered(deposit, state.balanceA);
        bytes32 structHash =
            keccak256(abi.encode(TOP_UP_TYPEHASH, channelId, state.version, state.balanceA, deposit));
        _requireBoth(terms, structHash, state.signatureA, state.signatureB);

        // Effects
        _write(channelId, ChannelWord.pack(deposit, state.balanceA, state.version, 0));
        emit ChannelToppedUp(channelId, deposit, state.balanceA);

        // Interactions
        SafeErc20.receiveFrom(terms.token, msg.sender, amount);
    }

    /// @inheritdoc IStateChannels
    function close(
        Terms calldata terms,
        uint88 balanceA,
        bytes calldata signatureA,
        bytes calldata signatureB
    ) external {
        _close(terms, balanceA, signatureA, signatureB);
    }

    /// @inheritdoc IStateChannels
    function closeBrief() external {
        bytes calldata packed = msg.data[4:];
        (bytes calldata signatureA, bytes calldata signatureB) = packed.signatures(ChannelBytes.TERMS + 11);
        _close(packed.terms(), packed.amount(ChannelBytes.TERMS), signatureA, signatureB);
    }

    /// @inheritdoc IStateChannels
    function challenge(Terms calldata terms, SignedState calldata state) external {
        _challenge(terms, state.version, state.balanceA, state.signatureA, state.signatureB);
    }

    /// @inheritdoc IStateChannels
    function challengeBrief() external {
        bytes calldata packed = msg.data[4:];
        (bytes calldata signatureA, bytes calldata signatureB) = packed.signatures(ChannelBytes.TERMS + 16);
        (uint40 version, uint88 balanceA) = packed.state();
        _challenge(packed.terms(), version, balanceA, signatureA, signatureB);
    }

    /// @inheritdoc IStateChannels
    function respond(Terms calldata terms, SignedState calldata state) external {
        _respond(terms, state.version, state.balanceA, state.signatureA, state.signatureB);
    }

    /// @inheritdoc IStateChannels
    function respondBrief() external {
        bytes calldata packed = msg.data[4:];
        (bytes calldata signatureA, bytes calldata signatureB) = packed.signatures(ChannelBytes.TERMS + 16);
        (uint40 version, uint88 balanceA) = packed.state();
        _respond(packed.terms(), version, balanceA, signatureA, signatureB);
    }

    /// @inheritdoc IStateChannels
    function finalise(Terms calldata terms) external {
        _finalise(terms);
    }

    /// @inheritdoc IStateChannels
    function finaliseBrief() external {
        bytes calldata packed = msg.data[4:];
        packed.requireLength(ChannelBytes.TERMS);
        _finalise(packed.terms());
    }

    /// @inheritdoc IStateChannels
    function finaliseMany(Terms[] calldata terms) external nonReentrant returns (uint256 paid) {
        for (uint256 i = 0; i < terms.length; ++i) {
            bytes32 channelId = _channelId(terms[i]);
            Channel channel = _read(channelId);
            if (!channel.isDue()) continue;
            // slither-disable-next-line reentrancy-no-eth (every entry is behind the lock)
            _payOut(terms[i], channelId, channel.deposit(), channel.balanceA());
            ++paid;
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
    function channelIdOf(Terms calldata terms) external view returns (bytes32) {
        return _channelId(terms);
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

    /// @dev Without the lock. The token's call is the last thing but the check that exactly this amount arrived; a payout of this contract
    /// in the middle of it, or another deposit, makes that check fail.
    function _open(Terms memory terms, uint88 amountA, uint88 amountB) private whileDepositsRun {
        _enter(terms, amountA, amountB);
        SafeErc20.receiveFrom(terms.token, msg.sender, uint256(amountA) + amountB);
    }

    /// @dev Enters a new channel into the books before its tokens move; the caller then makes sure that they arrive.
    function _enter(Terms memory terms, uint88 amountA, uint88 amountB) private returns (bytes32 channelId) {
        // Checks
        bool sound = terms.partyA != address(0) && terms.partyB != address(0) && terms.partyA != terms.partyB
            && terms.token != address(0) && terms.challengePeriod != 0;
        if (!sound) revert InvalidTerms();
        if (block.timestamp > terms.openBefore) revert OpeningOver(terms.openBefore);
        channelId = _channelId(terms);
        if (_read(channelId).isUsed()) revert ChannelExists(channelId);
        uint88 deposit = _sum(amountA, amountB);

        // Effects
        _write(channelId, ChannelWord.pack(deposit, amountA, 0, 0));
        uint256 numbers = uint256(terms.challengePeriod) << 216 | uint256(terms.openBefore) << 176
            | uint256(deposit) << 88 | amountA;
        emit ChannelOpened(channelId, terms.partyA, terms.partyB, terms.token, terms.salt, numbers);
    }

    function _collect(address token, address party, Funding calldata funding, bytes32 nonce) private {
        if (funding.amount == 0) return;
        IErc3009(token)
            .receiveWithAuthorization(
                party,
                address(this),
                funding.amount,
                funding.validAfter,
                funding.validBefore,
                nonce,
                funding.signature
            );
    }

    /// @dev Without the lock, as `_open`.
    function _topUp(Terms memory terms, uint88 amount) private whileDepositsRun {
        (bytes32 channelId, Channel channel) = _openChannel(terms);
        if (amount == 0) revert InvalidDeposit(0);
        uint88 deposit = _sum(channel.deposit(), amount);
        uint88 balanceA = channel.balanceA();
        _write(channelId, ChannelWord.pack(deposit, balanceA, channel.version(), channel.deadline()));
        emit ChannelToppedUp(channelId, deposit, balanceA);
        SafeErc20.receiveFrom(terms.token, msg.sender, amount);
    }

    function _close(Terms memory terms, uint88 balanceA, bytes calldata signatureA, bytes calldata signatureB)
        private
        nonReentrant
    {
        (bytes32 channelId, Channel channel) = _openChannel(terms);
        _requireCovered(channel.deposit(), balanceA);
        bytes32 structHash = Eip712.hashStruct(CLOSE_TYPEHASH, channelId, balanceA);
        _requireBoth(terms, structHash, signatureA, signatureB);
        _payOut(terms, channelId, channel.deposit(), balanceA);
    }

    function _challenge(
        Terms memory terms,
        uint40 version,
        uint88 balanceA,
        bytes calldata signatureA,
        bytes calldata signatureB
    ) private {
        (bytes32 channelId, Channel channel) = _openChannel(terms);
        if (channel.deadline() != 0) revert ChallengeRunning(channel.deadline());
        bool asItStands = version == channel.version() && balanceA == channel.balanceA();
        if (asItStands) _requireParty(terms);
        else _requireState(terms, channelId, channel, version, balanceA, signatureA, signatureB);
        _stand(channelId, channel, version, balanceA, uint40(block.timestamp) + terms.challengePeriod);
    }

    function _respond(
        Terms memory terms,
        uint40 version,
        uint88 balanceA,
        bytes calldata signatureA,
        bytes calldata signatureB
    ) private {
        (bytes32 channelId, Channel channel) = _openChannel(terms);
        uint40 deadline = channel.deadline();
        if (deadline == 0 || block.timestamp >= deadline) revert ChallengeOver(deadline);
        _requireState(terms, channelId, channel, version, balanceA, signatureA, signatureB);
        _stand(channelId, channel, version, balanceA, deadline);
    }

    function _stand(bytes32 channelId, Channel channel, uint40 version, uint88 balanceA, uint40 deadline)
        private
    {
        _write(channelId, ChannelWord.pack(channel.deposit(), balanceA, version, deadline));
        emit ChannelChallenged(channelId, version, balanceA, deadline);
    }

    function _finalise(Terms memory terms) private nonReentrant {
        (bytes32 channelId, Channel channel) = _openChannel(terms);
        if (channel.deadline() == 0) revert ChallengeOver(0);
        if (!channel.isDue()) revert ChallengeRunning(channel.deadline());
        _payOut(terms, channelId, channel.deposit(), channel.balanceA());
    }

    /// @dev Party B holds the rest, so rounding cannot lose anything.
    // slither-disable-next-line reentrancy-no-eth (what is held is written after a call, but every entry is behind the lock)
    function _payOut(Terms memory terms, bytes32 channelId, uint88 deposit, uint88 paidA) private {
        // Effects
        uint88 paidB = deposit - paidA;
        bool forGood = block.timestamp > terms.openBefore;
        _write(channelId, forGood ? Channel.wrap(0) : ChannelWord.pack(0, 0, ChannelWord.CLOSED, 0));
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

    function _requireState(
        Terms memory terms,
        bytes32 channelId,
        Channel channel,
        uint40 version,
        uint88 balanceA,
        bytes calldata signatureA,
        bytes calldata signatureB
    ) private view {
        _requireNewer(channel, version);
        _requireCovered(channel.deposit(), balanceA);
        bytes32 structHash = Eip712.hashStruct(STATE_TYPEHASH, channelId, version, balanceA);
        _requireBoth(terms, structHash, signatureA, signatureB);
    }

    function _openChannel(Terms memory terms) private view returns (bytes32 channelId, Channel channel) {
        channelId = _channelId(terms);
        channel = _read(channelId);
        if (channel.deposit() == 0) revert UnknownChannel(channelId);
    }

    /// @dev `keccak256(abi.encode(block.chainid, address(this), terms))` without the copies.
    function _channelId(Terms memory terms) private view returns (bytes32 channelId) {
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, chainid())
            mstore(add(free, 32), address())
            mcopy(add(free, 64), terms, 192)
            channelId := keccak256(free, 256)
        }
    }

    /// @dev A channel's word lies at its id: a hash of what no storage layout hashes, so it meets no other slot. A mapping would hash once
    /// more for each access, 80 gas. Of a channel that was closed while its terms could still open it, the version stays at its maximum: its
    /// states must never be used again. Later nobody can open it, and the word is cleared, which gives 4,800 gas back.
    function _read(bytes32 channelId) private view returns (Channel channel) {
        assembly ("memory-safe") {
            channel := sload(channelId)
        }
    }

    function _write(bytes32 channelId, Channel channel) private {
        assembly ("memory-safe") {
            sstore(channelId, channel)
        }
    }

    function _requireNewer(Channel channel, uint40 version) private pure {
        uint40 held = channel.version();
        if (version <= held || version == ChannelWord.CLOSED) revert StaleState(held, version);
    }

    function _requireCovered(uint88 deposit, uint88 balanceA) private pure {
        if (balanceA > deposit) revert BalanceOverDeposit(deposit, balanceA);
    }

    function _requireParty(Terms memory terms) private view {
        if (msg.sender != terms.partyA && msg.sender != terms.partyB) revert NotParty(msg.sender);
    }

    function _requireBoth(
        Terms memory terms,
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
