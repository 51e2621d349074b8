// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IDepositCollector, IErc3009 } from "../interfaces/IDepositCollector.sol";
import { SafeErc20 } from "../libraries/SafeErc20.sol";

/// @title Deposits by EIP-3009: the payer signs, anyone sends, nobody needs an allowance
/// @notice The authorisation's nonce is `keccak256(abi.encode(channelId, salt))`, so it pays into this channel only.
contract Erc3009Collector is IDepositCollector {
    /// @notice Only the channel contract may call.
    error NotChannels(address channels, address caller);

    /// @notice The contract whose deposits are collected.
    address public immutable channels;

    constructor(address paymentChannels) {
        // slither-disable-next-line missing-zero-check (the deployment script passes it)
        channels = paymentChannels;
    }

    /// @inheritdoc IDepositCollector
    /// @dev collectorData: `abi.encode(validAfter, validBefore, salt, signature)`.
    function collect(
        address payer,
        address token,
        uint256 amount,
        bytes32 channelId,
        bytes calldata collectorData
    ) external {
        if (msg.sender != channels) revert NotChannels(channels, msg.sender);
        (uint256 validAfter, uint256 validBefore, uint256 salt, bytes memory signature) =
            abi.decode(collectorData, (uint256, uint256, uint256, bytes));
        bytes32 nonce = keccak256(abi.encode(channelId, salt));
        // The token insists that the receiver calls, so the tokens come here first.
        IErc3009(token)
            .receiveWithAuthorization(payer, address(this), amount, validAfter, validBefore, nonce, signature);
        SafeErc20.send(token, channels, amount);
    }
}
