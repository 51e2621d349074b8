// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { DepositPause } from "./DepositPause.sol";
import { IErc2612, IErc3009 } from "./interfaces/IDepositCollector.sol";
import { IStateChannels } from "./interfaces/IStateChannels.sol";
import { ChannelBytes } from "./libraries/ChannelBytes.sol";
import { ChannelTerms, PackedTerms } from "./libraries/ChannelTerms.sol";
import { Channel, ChannelWord } from "./libraries/ChannelWord.sol";
import { Eip712 } from "./libraries/Eip712.sol";
import { SafeErc20 } from "./libraries/SafeErc20.sol";
import { Signatures } from "./libraries/Signatures.sol";

/// @title How money comes into two-way channels: openings and top-ups, and the word of each channel
abstract contract StateOpenings is IStateChannels, DepositPause {
    using ChannelTerms for PackedTerms;
    using ChannelWord for Channel;

    bytes32 private constant NAME_HASH = keccak256("CoreChain State Channels");
    bytes32 private constant TOP_UP_TYPEHASH =
        keccak256("ChannelTopUp(bytes32 channelId,uint40 version,uint88 balanceA,uint88 deposit)");
    bytes32 private constant OPENING_TYPEHASH =
        keccak256("ChannelOpening(bytes32 channelId,uint88 amountA,uint88 amountB)");

    /// @dev A deposit within a deposit (a token that calls back) would pass its tokens off as those that the outer one's token kept as a
    /// fee.
    uint256 private transient _depositing;
    mapping(bytes32 channelId => Channel) private _channels;

    modifier noDepositWithin() {
        if (_depositing != 0) revert Reentered();
        _depositing = 1;
        _;
        _depositing = 0;
    }

    /// @inheritdoc IStateChannels
    function open(Terms calldata terms, uint88 amountA, uint88 amountB) external {
        _open(ChannelTerms.pack(terms), amountA, amountB);
    }

    /// @inheritdoc IStateChannels
    // slither-disable-next-line reentrancy-events,reentrancy-benign (what a token does in its permit it could do before the call)
    function openWithPermit(
        Terms calldata terms,
        uint88 amountA,
        uint88 amountB,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        _permit(terms.token, msg.sender, _sum(amountA, amountB), Permit(deadline, v, r, s));
        _open(ChannelTerms.pack(terms), amountA, amountB);
    }

    /// @inheritdoc IStateChannels
    // slither-disable-next-line reentrancy-no-eth (the lock is what guards: it is taken anew for each of the two deposits)
    function openTogether(Terms calldata terms, Share calldata shareA, Share calldata shareB)
        external
        whenDepositsNotPaused
    {
        PackedTerms packed = ChannelTerms.pack(terms);
        _requireConsent(packed, shareA, shareB);
        _enter(packed, shareA.amount, shareB.amount);
        _draw(terms.token, terms.partyA, shareA);
        _draw(terms.token, terms.partyB, shareB);
    }

    /// @inheritdoc IStateChannels
    function openAuthorised(Terms calldata terms, Funding calldata fundingA, Funding calldata fundingB)
        external
        whenDepositsNotPaused
        noDepositWithin
    {
        (bytes32 channelId,) = _enter(ChannelTerms.pack(terms), fundingA.amount, fundingB.amount);
        bytes32 nonce = keccak256(abi.encode(channelId, fundingA.amount, fundingB.amount));
        uint256 before = SafeErc20.balanceOfThis(terms.token);
        _collect(terms.token, terms.partyA, fundingA, nonce);
        _collect(terms.token, terms.partyB, fundingB, nonce);
        SafeErc20.requireArrived(terms.token, before, uint256(fundingA.amount) + fundingB.amount);
    }

    /// @inheritdoc IStateChannels
    function topUp(Terms calldata terms, uint88 amount) external {
        _topUp(ChannelTerms.pack(terms), amount);
    }

    /// @inheritdoc IStateChannels
    function topUpWithState(Terms calldata terms, uint88 deposit, SignedState calldata state)
        external
        whenDepositsNotPaused
    {
        // Checks
        PackedTerms packed = ChannelTerms.pack(terms);
        (bytes32 channelId, Channel channel) = _openChannel(packed);
        if (deposit <= channel.deposit()) revert InvalidDeposit(deposit);
        if (channel.deadline() != 0) revert ChallengeRunning(channel.deadline());
        _requireNewer(channel, state.version);
        Channel after_ = ChannelWord.pack(deposit, state.balanceA, state.version, 0);
        _requireCovered(after_, state.balanceA);
        bytes32 structHash =
            keccak256(abi.encode(TOP_UP_TYPEHASH, channelId, state.version, state.balanceA, deposit));
        _requireBoth(packed, structHash, state.signatureA, state.signatureB);

        // Effects
        _write(channelId, after_);
        emit ChannelToppedUp(channelId, Channel.unwrap(after_));

        // Interactions
        _receive(terms.token, msg.sender, deposit - channel.deposit());
    }

    function _open(PackedTerms terms, uint256 amountA, uint256 amountB) private whenDepositsNotPaused {
        (, uint256 deposit) = _enter(terms, amountA, amountB);
        _receive(terms.token(), msg.sender, deposit);
    }

    /// @dev Enters a new channel into the books before its tokens move; the caller then makes sure that they arrive. Amounts are of 88 bits.
    function _enter(PackedTerms terms, uint256 amountA, uint256 amountB)
        private
        returns (bytes32 channelId, uint256 deposit)
    {
        // Checks
        if (!terms.areSound()) revert InvalidTerms();
        if (block.timestamp > terms.openBefore()) revert OpeningOver(terms.openBefore());
        channelId = terms.id();
        if (_read(channelId).isUsed()) revert ChannelExists(channelId);
        deposit = _sum(amountA, amountB);

        // Effects
        Channel channel = ChannelWord.opened(deposit, amountA);
        _write(channelId, channel);
        terms.tellOpening(ChannelOpened.selector, channel);
    }

    /// @dev Draws tokens in, by allowance.
    function _receive(address token, address from, uint256 amount) private noDepositWithin {
        SafeErc20.receiveFrom(token, from, amount);
    }

    /// @dev Whoever sends the permit first spoils nothing: the allowance is there.
    function _permit(address token, address owner, uint256 amount, Permit memory permit) private {
        try IErc2612(token)
            .permit(owner, address(this), amount, permit.deadline, permit.v, permit.r, permit.s) { }
            catch { }
    }

    function _requireConsent(PackedTerms terms, Share calldata shareA, Share calldata shareB) private view {
        bytes32 structHash = Eip712.hashStruct(OPENING_TYPEHASH, terms.id(), shareA.amount, shareB.amount);
        bytes32 digest = Eip712.digest(NAME_HASH, structHash);
        if (shareA.amount != 0) _requireSignedBy(terms.partyA(), digest, shareA.consent);
        if (shareB.amount != 0) _requireSignedBy(terms.partyB(), digest, shareB.consent);
    }

    // slither-disable-next-line reentrancy-benign (the lock is what guards)
    function _draw(address token, address party, Share calldata share) private {
        if (share.amount == 0) return;
        if (share.permit.v != 0) _permit(token, party, share.amount, share.permit);
        _receive(token, party, share.amount);
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

    function _topUp(PackedTerms terms, uint88 amount) private whenDepositsNotPaused {
        (bytes32 channelId, Channel channel) = _openChannel(terms);
        if (amount == 0) revert InvalidDeposit(0);
        Channel after_ = channel.withDeposit(_sum(channel.deposit(), amount));
        _write(channelId, after_);
        emit ChannelToppedUp(channelId, Channel.unwrap(after_));
        _receive(terms.token(), msg.sender, amount);
    }

    function _openChannel(PackedTerms terms) internal view returns (bytes32 channelId, Channel channel) {
        channelId = terms.id();
        channel = _read(channelId);
        // slither-disable-next-line incorrect-equality (zero is no channel)
        if (channel.deposit() == 0) revert UnknownChannel(channelId);
    }

    /// @dev Of a channel that was closed while its terms could still open it, the version stays at its maximum: its states must never be
    /// used again. Later nobody can open it, and the word is cleared, which gives 4,800 gas back.
    function _read(bytes32 channelId) internal view returns (Channel channel) {
        return _channels[channelId];
    }

    function _write(bytes32 channelId, Channel channel) internal {
        _channels[channelId] = channel;
    }

    function _requireNewer(Channel channel, uint40 version) internal pure {
        uint40 held = channel.version();
        if (version <= held || version == ChannelWord.CLOSED) revert StaleState(held, version);
    }

    function _requireCovered(Channel channel, uint88 balanceA) internal pure {
        uint88 deposit = channel.deposit();
        if (balanceA > deposit) revert BalanceOverDeposit(deposit, balanceA);
    }

    function _requireBoth(
        PackedTerms terms,
        bytes32 structHash,
        bytes calldata signatureA,
        bytes calldata signatureB
    ) internal view {
        bytes32 digest = Eip712.digest(NAME_HASH, structHash);
        _requireSignedBy(terms.partyA(), digest, signatureA);
        _requireSignedBy(terms.partyB(), digest, signatureB);
    }

    /// @dev The sender's call stands for its signature.
    function _requireSignedBy(address party, bytes32 digest, bytes calldata signature) internal view {
        if (msg.sender != party) Signatures.requireAccount(party, digest, signature);
    }

    /// @dev Of 88 bits each, so nothing overflows. Zero is nothing to deposit, and less one it is too much.
    function _sum(uint256 one, uint256 two) private pure returns (uint256 total) {
        unchecked {
            total = one + two;
            if (total - 1 >= type(uint88).max) revert InvalidDeposit(total);
        }
    }
}
