// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { DepositPause } from "./DepositPause.sol";
import { IDepositCollector, IErc2612, IErc3009 } from "./interfaces/IDepositCollector.sol";
import { IPaymentChannels } from "./interfaces/IPaymentChannels.sol";
import { Eip712 } from "./libraries/Eip712.sol";
import { PaymentTypes } from "./libraries/PaymentTypes.sol";
import { IErc20, SafeErc20 } from "./libraries/SafeErc20.sol";

/// @title How money comes into one-way channels, and where a channel's books are
abstract contract PaymentDeposits is IPaymentChannels, DepositPause {
    struct Channel {
        uint128 balance;
        uint128 totalClaimed;
    }

    /// @notice The shortest delay that terms may have, seconds.
    uint40 public constant MIN_WITHDRAW_DELAY = 15 minutes;
    /// @notice The longest, seconds.
    uint40 public constant MAX_WITHDRAW_DELAY = 30 days;

    /// @dev Tokens are foreign code, and a deposit measures the balance around its call.
    uint256 private transient _entered;

    modifier nonReentrant() {
        if (_entered != 0) revert Reentered();
        _entered = 1;
        _;
        _entered = 0;
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
    function openWithPermit(
        ChannelConfig calldata config,
        uint128 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external nonReentrant {
        _credit(config, amount);
        // Whoever sends the permit first does no harm: the allowance is there, and the next line needs nothing else.
        try IErc2612(config.token).permit(msg.sender, address(this), amount, deadline, v, r, s) { } catch { }
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
    function channels(bytes32 channelId) external view returns (uint128 balance, uint128 totalClaimed) {
        Channel storage channel = _channel(channelId);
        return (channel.balance, channel.totalClaimed);
    }

    /// @inheritdoc IPaymentChannels
    function getChannelId(ChannelConfig calldata config) public view returns (bytes32) {
        return Eip712.digest(PaymentTypes.NAME_HASH, keccak256(abi.encode(PaymentTypes.CONFIG, config)));
    }

    /// @dev Enters a deposit into the books before its tokens move; the caller then makes sure that they arrive.
    function _credit(ChannelConfig calldata config, uint128 amount)
        private
        whenDepositsNotPaused
        returns (bytes32 channelId)
    {
        // Checks
        bool whole = config.payer != address(0) && config.receiver != address(0)
            && config.receiverAuthorizer != address(0) && config.token != address(0);
        if (!whole) revert InvalidChannel();
        bool inBounds =
            config.withdrawDelay >= MIN_WITHDRAW_DELAY && config.withdrawDelay <= MAX_WITHDRAW_DELAY;
        if (!inBounds) revert WithdrawDelayOutOfRange();
        if (amount == 0) revert ZeroDeposit();
        channelId = getChannelId(config);
        Channel storage channel = _channel(channelId);
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

    /// @dev A channel lies where its id points: the id is a hash of 66 bytes already, mappings hash 64. Hashing it once more would
    /// cost 57 gas a voucher.
    function _channel(bytes32 channelId) internal pure returns (Channel storage channel) {
        assembly ("memory-safe") {
            channel.slot := channelId
        }
    }
}
