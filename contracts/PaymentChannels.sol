// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { DepositPause } from "./DepositPause.sol";
import { PaymentDeposits } from "./PaymentDeposits.sol";
import { IPaymentChannels } from "./interfaces/IPaymentChannels.sol";
import { Eip712 } from "./libraries/Eip712.sol";
import { PackedVouchers } from "./libraries/PackedVouchers.sol";
import { PaymentTypes } from "./libraries/PaymentTypes.sol";
import { IErc20, SafeErc20 } from "./libraries/SafeErc20.sol";
import { InvalidSignature, Signatures } from "./libraries/Signatures.sol";

/// @title One-way payment channels
contract PaymentChannels is PaymentDeposits {
    struct Withdrawal {
        uint128 amount;
        uint40 initiatedAt;
    }

    struct Receiver {
        uint128 totalClaimed;
        uint128 totalSettled;
    }

    /// @inheritdoc IPaymentChannels
    mapping(bytes32 channelId => Withdrawal) public pendingWithdrawals;
    /// @inheritdoc IPaymentChannels
    mapping(address receiver => mapping(address token => Receiver)) public receivers;
    /// @inheritdoc IPaymentChannels
    mapping(bytes32 channelId => uint256) public refundNonce;

    constructor(address firstGuardian) DepositPause(firstGuardian) { }

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
    function redeemGroupsBrief() external returns (uint256 redeemed) {
        // Without the lock: what a row pays is in the books before tokens move, and a deposit that this takes tokens from, in the middle
        // of its measuring, fails.
        uint256 position = 4;
        PackedVouchers.begin();
        (address receiver, address token, uint256 due) = (address(0), address(0), 0);
        // Sums of amounts that are deposited, of at most 96 bits, and of rows: nothing overflows.
        unchecked {
            do {
                (address payee, address coin) = PackedVouchers.openGroup(position);
                if (payee != receiver || coin != token) {
                    // slither-disable-next-line reentrancy-no-eth (what is paid is in the books; what comes next is read anew)
                    if (due > 0) SafeErc20.send(token, receiver, due);
                    (receiver, token, due) = (payee, coin, 0);
                }
                (uint256 paid, uint256 rows, uint256 next) = _redeemGroup();
                (redeemed, due, position) = (redeemed + rows, due + paid, next);
            } while (position < msg.data.length);
        }
        if (due > 0) SafeErc20.send(token, receiver, due);
    }

    /// @inheritdoc IPaymentChannels
    function initiateWithdraw(ChannelConfig calldata config, uint128 amount) external nonReentrant {
        if (!_onPayerSide(config)) revert InvalidChannel();
        if (amount == 0) revert NothingToWithdraw();
        bytes32 channelId = getChannelId(config);
        if (pendingWithdrawals[channelId].initiatedAt != 0) revert WithdrawalAlreadyPending();
        if (amount > _available(_channel(channelId))) revert WithdrawAmountExceedsAvailable();
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
        Channel storage channel = _channel(channelId);
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
    function getVoucherDigest(bytes32 channelId, uint128 maxClaimableAmount) public view returns (bytes32) {
        return Eip712.digest(
            PaymentTypes.NAME_HASH, keccak256(abi.encode(PaymentTypes.VOUCHER, channelId, maxClaimableAmount))
        );
    }

    /// @inheritdoc IPaymentChannels
    function getRefundDigest(bytes32 channelId, uint256 nonce, uint128 amount) public view returns (bytes32) {
        return Eip712.digest(
            PaymentTypes.NAME_HASH, keccak256(abi.encode(PaymentTypes.REFUND, channelId, nonce, amount))
        );
    }

    /// @inheritdoc IPaymentChannels
    function getClaimBatchDigest(VoucherClaim[] calldata voucherClaims) public view returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](voucherClaims.length);
        for (uint256 i = 0; i < voucherClaims.length; ++i) {
            VoucherClaim calldata row = voucherClaims[i];
            bytes32 channelId = getChannelId(row.voucher.channel);
            hashes[i] = keccak256(
                abi.encode(PaymentTypes.ENTRY, channelId, row.voucher.maxClaimableAmount, row.totalClaimed)
            );
        }
        bytes32 claims = keccak256(abi.encodePacked(hashes));
        return Eip712.digest(PaymentTypes.NAME_HASH, keccak256(abi.encode(PaymentTypes.BATCH, claims)));
    }

    function _claim(VoucherClaim calldata row) private {
        // Checks
        ChannelConfig calldata config = row.voucher.channel;
        bytes32 channelId = getChannelId(config);
        uint128 before = _channel(channelId).totalClaimed;
        if (row.totalClaimed <= before) return;
        if (row.totalClaimed > row.voucher.maxClaimableAmount) revert ClaimExceedsCeiling();
        _requireVoucher(config, channelId, row.voucher.maxClaimableAmount, row.totalClaimed, row.signature);

        // Effects
        uint128 amount = row.totalClaimed - before;
        _channel(channelId).totalClaimed = row.totalClaimed;
        receivers[config.receiver][config.token].totalClaimed += amount;
        emit Claimed(channelId, msg.sender, amount, row.totalClaimed);
    }

    /// @dev The receiver's ledger is left alone: what is paid at once never waits to be settled.
    function _redeem(Redemption calldata row) private returns (uint128 amount) {
        // Checks
        ChannelConfig calldata config = row.config;
        if (!_onReceiverSide(config)) revert NotAuthorizedToClaim();
        bytes32 channelId = getChannelId(config);
        uint128 before = _channel(channelId).totalClaimed;
        uint128 ceiling = row.maxClaimableAmount;
        if (ceiling <= before) revert VoucherRegressed(before, ceiling);
        _requireVoucher(config, channelId, ceiling, ceiling, row.signature);

        // Effects
        amount = ceiling - before;
        _channel(channelId).totalClaimed = ceiling;
        emit Redeemed(channelId, config.receiver, amount, ceiling);
    }

    function _redeemGroup() private returns (uint256 paid, uint256 redeemed, uint256 position) {
        if (PackedVouchers.isOfAccounts()) {
            (paid, redeemed, position) = _redeemAccounts();
        } else {
            (paid, redeemed) = PackedVouchers.redeemKeys();
            position = PackedVouchers.pastRows();
        }
        if (redeemed > 0) PackedVouchers.emitList(redeemed);
    }

    /// @dev Rows that a contract may have to judge. Its call cannot change anything: it is a static one.
    function _redeemAccounts() private returns (uint256 paid, uint256 redeemed, uint256 position) {
        PackedVouchers.reserveList();
        position = PackedVouchers.firstRow();
        for (uint256 left = PackedVouchers.countOf(); left > 0; --left) {
            bytes32 channelId;
            uint256 amount;
            bytes calldata signature;
            (channelId, amount, signature, position) = PackedVouchers.readAccountRow(position);
            uint256 added = _redeemAccount(channelId, uint128(amount), signature);
            if (added == 0) continue;
            PackedVouchers.append(redeemed, channelId, amount);
            (paid, redeemed) = (paid + added, redeemed + 1);
        }
    }

    /// @dev What the voucher adds; nothing when it is stale, or refused, which is told.
    function _redeemAccount(bytes32 channelId, uint128 amount, bytes calldata signature)
        private
        returns (uint256)
    {
        Channel storage channel = _channel(channelId);
        uint128 before = channel.totalClaimed;
        if (amount <= before) return 0;
        bool signed = PackedVouchers.isByAccount(channelId, amount, signature);
        if (!signed || amount > channel.balance) {
            bytes4 reason = signed ? ClaimExceedsBalance.selector : InvalidSignature.selector;
            emit VoucherRefused(channelId, amount, reason);
            return 0;
        }
        channel.totalClaimed = amount;
        return amount - before;
    }

    function _requireVoucher(
        ChannelConfig calldata config,
        bytes32 channelId,
        uint128 ceiling,
        uint128 claimed,
        bytes calldata signature
    ) private view {
        if (claimed > _channel(channelId).balance) revert ClaimExceedsBalance();
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
        Channel storage channel = _channel(channelId);
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
        Channel storage channel = _channel(channelId);
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
