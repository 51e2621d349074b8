// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4 <0.9.0;

/// @title One-way payment channels: pay per query with cumulative vouchers
/// @notice Interface- and signature-compatible with x402 `batch-settlement` (EIP-712 domain "x402 Batch Settlement", version 1), so a stock
/// x402 client can pay. Beside it: deposits by plain allowance, permit or authorisation, and `redeem` and `redeemGroupsBrief`, which
/// claim vouchers of many channels and pay them out in the same call.
interface IPaymentChannels {
    /// @notice The immutable terms of a channel; their EIP-712 hash is its id. `withdrawDelay` in seconds, 900 to 2,592,000.
    struct ChannelConfig {
        address payer;
        address payerAuthorizer;
        address receiver;
        address receiverAuthorizer;
        address token;
        uint40 withdrawDelay;
        bytes32 salt;
    }

    /// @notice A channel and the ceiling that its payer signed.
    struct Voucher {
        ChannelConfig channel;
        uint128 maxClaimableAmount;
    }

    /// @notice A signed voucher and the cumulative amount to claim under it.
    struct VoucherClaim {
        Voucher voucher;
        bytes signature;
        uint128 totalClaimed;
    }

    /// @notice A signed voucher that is claimed to its ceiling and paid out at once.
    struct Redemption {
        ChannelConfig config;
        uint128 maxClaimableAmount;
        bytes signature;
    }

    /// @notice A channel got its first deposit: its terms.
    event ChannelCreated(bytes32 indexed channelId, ChannelConfig config);
    /// @notice A channel holds nothing any more, and nothing of it was ever claimed.
    event ChannelClosed(bytes32 indexed channelId, ChannelConfig config);
    /// @notice Somebody deposited into a channel. `newBalance` is all that was deposited and not given back.
    event Deposited(bytes32 indexed channelId, address indexed sender, uint128 amount, uint128 newBalance);
    /// @notice Vouchers were claimed; the amount waits for `settle`.
    event Claimed(
        bytes32 indexed channelId, address indexed sender, uint128 claimAmount, uint128 newTotalClaimed
    );
    /// @notice A receiver was paid what it had claimed.
    event Settled(address indexed receiver, address indexed token, address indexed sender, uint128 amount);
    /// @notice The receiver's side gave unclaimed deposit back to the payer.
    event Refunded(bytes32 indexed channelId, address indexed sender, uint128 amount);
    /// @notice The payer's side began to withdraw; from `finalizeAfter` on (seconds) it can end it.
    event WithdrawInitiated(bytes32 indexed channelId, uint128 amount, uint40 finalizeAfter);
    /// @notice A withdrawal ended and paid the payer.
    event WithdrawFinalized(bytes32 indexed channelId, address indexed sender, uint128 amount);
    /// @notice A voucher was claimed and paid out in one step.
    event Redeemed(bytes32 indexed channelId, address indexed receiver, uint128 amount, uint128 totalClaimed);

    /// @notice Vouchers of one payee and token were claimed and paid out together. Each row: first 20 bytes of the channelId ‖
    /// totalClaimed 12. Without topics (375 gas each): the channels say who was paid.
    event RedeemedMany(bytes32[] rows);
    /// @notice A voucher was left out of a packed redemption. `reason` is the selector of the error that names why.
    event VoucherRefused(bytes32 indexed channelId, uint128 maxClaimableAmount, bytes4 reason);

    /// @notice A party or the token of the terms is zero, or the caller is not on the payer's side.
    error InvalidChannel();
    /// @notice A deposit of nothing.
    error ZeroDeposit();
    /// @notice The channel's deposits would be more than 128 bits hold.
    error DepositOverflow();
    /// @notice A row has another receiverAuthorizer than the one who signed.
    error NotReceiverAuthorizer();
    /// @notice Only the receiver and its receiverAuthorizer claim.
    error NotAuthorizedToClaim();
    /// @notice Only the receiver and its receiverAuthorizer refund.
    error NotAuthorizedToRefund();
    /// @notice More is claimed than the voucher says.
    error ClaimExceedsCeiling();
    /// @notice More is claimed than was deposited.
    error ClaimExceedsBalance();
    /// @notice One withdrawal of a channel at a time.
    error WithdrawalAlreadyPending();
    /// @notice No withdrawal was begun.
    error WithdrawalNotPending();
    /// @notice Only the payer and its payerAuthorizer end a withdrawal.
    error NotAuthorizedToFinalizeWithdraw();
    /// @notice The withdrawal's delay is not over.
    error WithdrawDelayNotElapsed();
    /// @notice A withdrawal of nothing.
    error NothingToWithdraw();
    /// @notice More is to be withdrawn than is unclaimed.
    error WithdrawAmountExceedsAvailable();
    /// @notice The terms' delay is not between 15 minutes and 30 days.
    error WithdrawDelayOutOfRange();
    /// @notice A call without rows.
    error EmptyBatch();
    /// @notice The tokens that were to be collected have not arrived exactly.
    error DepositCollectionFailed();
    /// @notice A deposit without a collector.
    error InvalidCollector();
    /// @notice The signed refund is of another turn: each nonce is used once, in order.
    error InvalidRefundNonce();
    /// @notice A refund of nothing.
    error ZeroRefund();
    /// @notice The voucher is worth no more than what is claimed already.
    error VoucherRegressed(uint128 held, uint128 offered);
    /// @notice The contract was entered again before the first call was done.
    error Reentered();

    /// @notice Deposits through a collector, which pulls the payer's tokens by its own kind of authorisation.
    function deposit(
        ChannelConfig calldata config,
        uint128 amount,
        address collector,
        bytes calldata collectorData
    ) external;

    /// @notice Deposits the caller's tokens, for the payer of the channel, by plain allowance. Also tops up.
    function open(ChannelConfig calldata config, uint128 amount) external;

    /// @notice The same with the caller's permit (EIP-2612) for exactly `amount` in the same transaction. A permit that somebody else has
    /// sent already, or that the token refuses, does not matter where the allowance is there.
    /// @dev Draws from the caller only: a permit names no channel, so a stranger could put the tokens into one of its own.
    function openWithPermit(
        ChannelConfig calldata config,
        uint128 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice Deposits the payer's tokens by EIP-3009 without a collector in between. The nonce is
    /// `keccak256(abi.encode(channelId, salt))`; `to` of the authorisation is this contract.
    function openWithAuthorization(
        ChannelConfig calldata config,
        uint128 amount,
        uint256 validAfter,
        uint256 validBefore,
        uint256 salt,
        bytes calldata signature
    ) external;

    /// @notice Claims vouchers. Each row's receiver or receiverAuthorizer only; a row that adds nothing is skipped.
    function claim(VoucherClaim[] calldata voucherClaims) external;

    /// @notice Claims vouchers by the signature of their common receiverAuthorizer. Anyone may send it.
    function claimWithSignature(VoucherClaim[] calldata voucherClaims, bytes calldata authorizerSignature)
        external;

    /// @notice Pays a receiver what was claimed and not yet settled.
    function settle(address receiver, address token) external;

    /// @notice Claims vouchers to their ceiling and pays the receivers at once: one transfer per run of rows with the same
    /// receiver and token. Each row's receiver or receiverAuthorizer only; a row that adds nothing reverts.
    function redeem(Redemption[] calldata redemptions) external;

    /// @notice The same from packed calldata behind the selector, without ABI (docs/protocol.md, Packed redemption), for any number of vouchers. The caller is receiver or
    /// receiverAuthorizer of every row by the way its terms are written. One bad voucher does not hold up the others: a row that adds
    /// nothing is skipped, one that is not signed or not covered is left out and told by VoucherRefused. Bytes that are not of the
    /// layout revert MalformedRows.
    /// @return redeemed number of vouchers that were paid
    function redeemGroupsBrief() external returns (uint256 redeemed);

    /// @notice Starts the payer's way out, which needs nobody's help.
    function initiateWithdraw(ChannelConfig calldata config, uint128 amount) external;

    /// @notice Ends it after the delay; pays what is still unclaimed, at most the amount initiated.
    function finalizeWithdraw(ChannelConfig calldata config) external;

    /// @notice Gives unclaimed deposit back to the payer. Receiver's side only.
    function refund(ChannelConfig calldata config, uint128 amount) external;

    /// @notice The same by the receiverAuthorizer's signature. Anyone may send it.
    function refundWithSignature(
        ChannelConfig calldata config,
        uint128 amount,
        uint256 nonce,
        bytes calldata receiverAuthorizerSignature
    ) external;

    /// @notice Several calls in one transaction, each as the caller.
    function multicall(bytes[] calldata data) external returns (bytes[] memory results);

    /// @notice The id of a channel: the EIP-712 digest of its terms.
    function getChannelId(ChannelConfig calldata config) external view returns (bytes32);
    /// @notice What was deposited and not given back, and how much of it was claimed.
    function channels(bytes32 channelId) external view returns (uint128 balance, uint128 totalClaimed);
    /// @notice The withdrawal that runs: at most how much, and since when (seconds); zeros for none.
    function pendingWithdrawals(bytes32 channelId) external view returns (uint128 amount, uint40 initiatedAt);
    /// @notice What a receiver has claimed in a token, and how much of it was settled. Redemptions are paid at once and not counted.
    function receivers(address receiver, address token)
        external
        view
        returns (uint128 totalClaimed, uint128 totalSettled);
    /// @notice The nonce that the next signed refund of a channel must have.
    function refundNonce(bytes32 channelId) external view returns (uint256);
    /// @notice What the payer signs: a channel pays up to this amount in all.
    function getVoucherDigest(bytes32 channelId, uint128 maxClaimableAmount) external view returns (bytes32);
    /// @notice What the receiverAuthorizer signs for a refund.
    function getRefundDigest(bytes32 channelId, uint256 nonce, uint128 amount) external view returns (bytes32);
    /// @notice What the receiverAuthorizer signs for claims that anyone sends.
    function getClaimBatchDigest(VoucherClaim[] calldata voucherClaims) external view returns (bytes32);
}
