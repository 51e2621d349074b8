// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IDepositCollector, IErc3009 } from "./interfaces/IDepositCollector.sol";
import { IPaymentChannels } from "./interfaces/IPaymentChannels.sol";
import { Eip712 } from "./libraries/Eip712.sol";
import { IErc20, SafeErc20 } from "./libraries/SafeErc20.sol";
import { Signatures } from "./libraries/Signatures.sol";

/// @title One-way payment channels
contract PaymentChannels is IPaymentChannels {
    struct Channel {
        uint128 balance;
        uint128 totalClaimed;
    }

    struct Withdrawal {
        uint128 amount;
        uint40 initiatedAt;
    }

    struct Receiver {
        uint128 totalClaimed;
        uint128 totalSettled;
    }

    uint40 public constant MIN_WITHDRAW_DELAY = 15 minutes;
    uint40 public constant MAX_WITHDRAW_DELAY = 30 days;

    bytes32 private constant NAME_HASH = keccak256("x402 Batch Settlement");
    bytes32 private constant CONFIG_TYPEHASH = keccak256(
        "ChannelConfig(address payer,address payerAuthorizer,address receiver,address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 salt)"
    );
    bytes32 private constant VOUCHER_TYPEHASH =
        keccak256("Voucher(bytes32 channelId,uint128 maxClaimableAmount)");
    bytes32 private constant REFUND_TYPEHASH =
        keccak256("Refund(bytes32 channelId,uint256 nonce,uint128 amount)");
    bytes32 private constant ENTRY_TYPEHASH =
        keccak256("ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)");
    bytes32 private constant BATCH_TYPEHASH = keccak256(
        "ClaimBatch(ClaimEntry[] claims)ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)"
    );

    /// @inheritdoc IPaymentChannels
    mapping(bytes32 channelId => Channel) public channels;
    /// @inheritdoc IPaymentChannels
    mapping(bytes32 channelId => Withdrawal) public pendingWithdrawals;
    /// @inheritdoc IPaymentChannels
    mapping(address receiver => mapping(address token => Receiver)) public receivers;
    /// @inheritdoc IPaymentChannels
    mapping(bytes32 channelId => uint256) public refundNonce;

    /// @dev Tokens are foreign code, and a deposit measures the balance around its call.
    bool private transient _entered;

    modifier nonReentrant() {
        if (_entered) revert Reentered();
        _entered = true;
        _;
        _entered = false;
    }

    /// @inheritdoc IPaymentChannels
    function deposit(
        ChannelConfig calldata config,
        uint128 amount,
        address collector,
        bytes calldata collectorData
    ) external nonReentrant {
        if (collector == address(0)) revert InvalidCollector();
        bytes32 channelId = _credit(config, amount);
        uint256 before = IErc20(config.token).balanceOf(address(this));
        IDepositCollector(collector).collect(config.payer, config.token, amount, channelId, collectorData);
        _requireCollected(config.token, before, amount);
    }

    /// @inheritdoc IPaymentChannels
    function open(ChannelConfig calldata config, uint128 amount) external nonReentrant {
        _credit(config, amount);
        SafeErc20.receiveFrom(config.token, msg.sender, amount);
    }

    /// @inheritdoc IPaymentChannels
    function openWithAuthorization(
        ChannelConfig calldata config,
        uint128 amount,
        uint256 validAfter,
        uint256 validBefore,
        uint256 salt,
        bytes calldata signature
    ) external nonReentrant {
        bytes32 channelId = _credit(config, amount);
        uint256 before = IErc20(config.token).balanceOf(address(this));
        IErc3009(config.token)
            .receiveWithAuthorization(
                config.payer,
                address(this),
                amount,
                validAfter,
                validBefore,
                keccak256(abi.encode(channelId, salt)),
                signature
            );
        _requireCollected(config.token, before, amount);
    }

    /// @inheritdoc IPaymentChannels
    function claim(VoucherClaim[] calldata voucherClaims) external nonReentrant {
        if (voucherClaims.length == 0) revert EmptyBatch();
        for (uint256 i = 0; i < voucherClaims.length; ++i) {
            if (!_onReceiverSide(voucherClaims[i].voucher.channel)) revert NotAuthorizedToClaim();
            _claim(voucherClaims[i]);
        }
    }

    /// @inheritdoc IPaymentChannels
    function claimWithSignature(VoucherClaim[] calldata voucherClaims, bytes calldata authorizerSignature)
        external
        nonReentrant
    {
        if (voucherClaims.length == 0) revert EmptyBatch();
        address authorizer = voucherClaims[0].voucher.channel.receiverAuthorizer;
        Signatures.requireAccount(authorizer, getClaimBatchDigest(voucherClaims), authorizerSignature);
        for (uint256 i = 0; i < voucherClaims.length; ++i) {
            if (voucherClaims[i].voucher.channel.receiverAuthorizer != authorizer) {
                revert NotReceiverAuthorizer();
            }
            _claim(voucherClaims[i]);
        }
    }

    /// @inheritdoc IPaymentChannels
    function settle(address receiver, address token) external nonReentrant {
        Receiver storage total = receivers[receiver][token];
        uint128 amount = total.totalClaimed - total.totalSettled;
        if (amount == 0) return;
        total.totalSettled = total.totalClaimed;
        emit Settled(receiver, token, msg.sender, amount);
        SafeErc20.send(token, receiver, amount);
    }

    /// @inheritdoc IPaymentChannels
    function redeem(Redemption[] calldata redemptions) external nonReentrant {
        if (redemptions.length == 0) revert EmptyBatch();
        (address receiver, address token) = (redemptions[0].config.receiver, redemptions[0].config.token);
        uint256 due = 0;
        for (uint256 i = 0; i < redemptions.length; ++i) {
            ChannelConfig calldata config = redemptions[i].config;
            if (config.receiver != receiver || config.token != token) {
                // slither-disable-next-line reentrancy-no-eth (every entry is behind the lock)
                SafeErc20.send(token, receiver, due);
                (receiver, token, due) = (config.receiver, config.token, 0);
            }
            due += _redeem(redemptions[i]);
        }
        SafeErc20.send(token, receiver, due);
    }

    /// @inheritdoc IPaymentChannels
    function initiateWithdraw(ChannelConfig calldata config, uint128 amount) external nonReentrant {
        if (!_onPayerSide(config)) revert InvalidChannel();
        if (amount == 0) revert NothingToWithdraw();
        bytes32 channelId = getChannelId(config);
        if (pendingWithdrawals[channelId].initiatedAt != 0) revert WithdrawalAlreadyPending();
        if (amount > _available(channels[channelId])) revert WithdrawAmountExceedsAvailable();
        pendingWithdrawals[channelId] = Withdrawal(amount, uint40(block.timestamp));
        emit WithdrawInitiated(channelId, amount, uint40(block.timestamp) + config.withdrawDelay);
    }

    /// @inheritdoc IPaymentChannels
    function finalizeWithdraw(ChannelConfig calldata config) external nonReentrant {
        // Checks
        if (!_onPayerSide(config)) revert NotAuthorizedToFinalizeWithdraw();
        bytes32 channelId = getChannelId(config);
        Withdrawal memory pending = pendingWithdrawals[channelId];
        if (pending.initiatedAt == 0) revert WithdrawalNotPending();
        if (block.timestamp < uint256(pending.initiatedAt) + config.withdrawDelay) {
            revert WithdrawDelayNotElapsed();
        }

        // Effects
        Channel storage channel = channels[channelId];
        uint128 amount = _atMost(pending.amount, _available(channel));
        delete pendingWithdrawals[channelId];
        channel.balance -= amount;
        emit WithdrawFinalized(channelId, msg.sender, amount);
        _noteIfClosed(channelId, config);

        // Interactions
        if (amount > 0) SafeErc20.send(config.token, config.payer, amount);
    }

    /// @inheritdoc IPaymentChannels
    function refund(ChannelConfig calldata config, uint128 amount) external nonReentrant {
        if (!_onReceiverSide(config)) revert NotAuthorizedToRefund();
        _refund(config, getChannelId(config), amount);
    }

    /// @inheritdoc IPaymentChannels
    function refundWithSignature(
        ChannelConfig calldata config,
        uint128 amount,
        uint256 nonce,
        bytes calldata receiverAuthorizerSignature
    ) external nonReentrant {
        bytes32 channelId = getChannelId(config);
        if (nonce != refundNonce[channelId]) revert InvalidRefundNonce();
        bytes32 digest = getRefundDigest(channelId, nonce, amount);
        Signatures.requireAccount(config.receiverAuthorizer, digest, receiverAuthorizerSignature);
        _refund(config, channelId, amount);
    }

    /// @inheritdoc IPaymentChannels
    function multicall(bytes[] calldata data) external returns (bytes[] memory results) {
        results = new bytes[](data.length);
        for (uint256 i = 0; i < data.length; ++i) {
            (bool success, bytes memory answer) = address(this).delegatecall(data[i]);
            if (!success) _bubble(answer);
            results[i] = answer;
        }
    }

    /// @inheritdoc IPaymentChannels
    function getChannelId(ChannelConfig calldata config) public view returns (bytes32) {
        return Eip712.digest(NAME_HASH, keccak256(abi.encode(CONFIG_TYPEHASH, config)));
    }

    /// @inheritdoc IPaymentChannels
    function getVoucherDigest(bytes32 channelId, uint128 maxClaimableAmount) public view returns (bytes32) {
        return
            Eip712.digest(NAME_HASH, keccak256(abi.encode(VOUCHER_TYPEHASH, channelId, maxClaimableAmount)));
    }

    /// @inheritdoc IPaymentChannels
    function getRefundDigest(bytes32 channelId, uint256 nonce, uint128 amount) public view returns (bytes32) {
        return Eip712.digest(NAME_HASH, keccak256(abi.encode(REFUND_TYPEHASH, channelId, nonce, amount)));
    }

    /// @inheritdoc IPaymentChannels
    function getClaimBatchDigest(VoucherClaim[] calldata voucherClaims) public view returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](voucherClaims.length);
        for (uint256 i = 0; i < voucherClaims.length; ++i) {
            VoucherClaim calldata row = voucherClaims[i];
            bytes32 channelId = getChannelId(row.voucher.channel);
            hashes[i] = keccak256(
                abi.encode(ENTRY_TYPEHASH, channelId, row.voucher.maxClaimableAmount, row.totalClaimed)
            );
        }
        bytes32 claims = keccak256(abi.encodePacked(hashes));
        return Eip712.digest(NAME_HASH, keccak256(abi.encode(BATCH_TYPEHASH, claims)));
    }

    /// @dev Enters a deposit into the books before its tokens move; the caller then makes sure that they arrive.
    function _credit(ChannelConfig calldata config, uint128 amount) private returns (bytes32 channelId) {
        // Checks
        bool whole = config.payer != address(0) && config.receiver != address(0)
            && config.receiverAuthorizer != address(0) && config.token != address(0);
        if (!whole) revert InvalidChannel();
        bool inBounds =
            config.withdrawDelay >= MIN_WITHDRAW_DELAY && config.withdrawDelay <= MAX_WITHDRAW_DELAY;
        if (!inBounds) revert WithdrawDelayOutOfRange();
        if (amount == 0) revert ZeroDeposit();
        channelId = getChannelId(config);
        Channel storage channel = channels[channelId];
        uint128 before = channel.balance;
        if (amount > type(uint128).max - before) revert DepositOverflow();

        // Effects
        channel.balance = before + amount;
        if (before == 0 && channel.totalClaimed == 0) emit ChannelCreated(channelId, config);
        emit Deposited(channelId, msg.sender, amount, before + amount);
    }

    function _requireCollected(address token, uint256 before, uint128 amount) private view {
        if (IErc20(token).balanceOf(address(this)) != before + amount) revert DepositCollectionFailed();
    }

    function _claim(VoucherClaim calldata row) private {
        // Checks
        ChannelConfig calldata config = row.voucher.channel;
        bytes32 channelId = getChannelId(config);
        uint128 before = channels[channelId].totalClaimed;
        if (row.totalClaimed <= before) return;
        if (row.totalClaimed > row.voucher.maxClaimableAmount) revert ClaimExceedsCeiling();
        _requireVoucher(config, channelId, row.voucher.maxClaimableAmount, row.totalClaimed, row.signature);

        // Effects
        uint128 amount = row.totalClaimed - before;
        channels[channelId].totalClaimed = row.totalClaimed;
        receivers[config.receiver][config.token].totalClaimed += amount;
        emit Claimed(channelId, msg.sender, amount, row.totalClaimed);
    }

    /// @dev The receiver's ledger is left alone: what is paid at once never waits to be settled.
    function _redeem(Redemption calldata row) private returns (uint128 amount) {
        // Checks
        ChannelConfig calldata config = row.config;
        if (!_onReceiverSide(config)) revert NotAuthorizedToClaim();
        bytes32 channelId = getChannelId(config);
        uint128 before = channels[channelId].totalClaimed;
        uint128 ceiling = row.maxClaimableAmount;
        if (ceiling <= before) revert VoucherRegressed(before, ceiling);
        _requireVoucher(config, channelId, ceiling, ceiling, row.signature);

        // Effects
        amount = ceiling - before;
        channels[channelId].totalClaimed = ceiling;
        emit Redeemed(channelId, config.receiver, amount, ceiling);
    }

    function _requireVoucher(
        ChannelConfig calldata config,
        bytes32 channelId,
        uint128 ceiling,
        uint128 claimed,
        bytes calldata signature
    ) private view {
        if (claimed > channels[channelId].balance) revert ClaimExceedsBalance();
        bytes32 digest = getVoucherDigest(channelId, ceiling);
        if (config.payerAuthorizer == address(0)) {
            Signatures.requireAccount(config.payer, digest, signature);
        } else {
            Signatures.requireSigner(config.payerAuthorizer, digest, signature);
        }
    }

    function _refund(ChannelConfig calldata config, bytes32 channelId, uint128 amount) private {
        // Checks
        if (amount == 0) revert ZeroRefund();
        Channel storage channel = channels[channelId];
        uint128 refunded = _atMost(amount, _available(channel));

        // Effects: the nonce moves even when nothing does, so that a signed refund can be used once only.
        ++refundNonce[channelId];
        if (refunded == 0) return;
        channel.balance -= refunded;
        _shrinkPending(channelId, refunded);
        emit Refunded(channelId, msg.sender, refunded);
        _noteIfClosed(channelId, config);

        // Interactions
        SafeErc20.send(config.token, config.payer, refunded);
    }

    function _shrinkPending(bytes32 channelId, uint128 refunded) private {
        Withdrawal storage pending = pendingWithdrawals[channelId];
        if (pending.initiatedAt == 0) return;
        if (refunded >= pending.amount) delete pendingWithdrawals[channelId];
        else pending.amount -= refunded;
    }

    function _noteIfClosed(bytes32 channelId, ChannelConfig calldata config) private {
        Channel storage channel = channels[channelId];
        if (channel.balance == 0 && channel.totalClaimed == 0) emit ChannelClosed(channelId, config);
    }

    function _available(Channel storage channel) private view returns (uint128) {
        return channel.balance - channel.totalClaimed;
    }

    function _onReceiverSide(ChannelConfig calldata config) private view returns (bool) {
        return msg.sender == config.receiver || msg.sender == config.receiverAuthorizer;
    }

    function _onPayerSide(ChannelConfig calldata config) private view returns (bool) {
        return msg.sender == config.payer || msg.sender == config.payerAuthorizer;
    }

    function _atMost(uint128 amount, uint128 limit) private pure returns (uint128) {
        return amount > limit ? limit : amount;
    }

    function _bubble(bytes memory answer) private pure {
        assembly ("memory-safe") {
            revert(add(answer, 32), mload(answer))
        }
    }
}
