// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { IDepositCollector, IErc2612 } from "../interfaces/IDepositCollector.sol";
import { IPermit2 } from "../interfaces/IPermit2.sol";

/// @title Deposits by Permit2: for tokens that know no EIP-3009
/// @notice The payer signs token, amount, this collector and, as the witness, the channel: so it pays into this channel only.
/// The tokens go straight to the channel contract. Types and encoding are those of x402 `batch-settlement`.
contract Permit2Collector is IDepositCollector {
    /// @notice Only the channel contract may call.
    error NotChannels(address channels, address caller);

    bytes32 private constant WITNESS_TYPEHASH = keccak256("DepositWitness(bytes32 channelId)");
    // EIP-712 sorts the structs that a type refers to by name.
    string private constant WITNESS_TYPE =
        "DepositWitness witness)DepositWitness(bytes32 channelId)TokenPermissions(address token,uint256 amount)";

    /// @notice The contract whose deposits are collected.
    address public immutable channels;
    /// @notice The contract that payers have approved.
    IPermit2 public immutable permit2;

    constructor(address paymentChannels, address permit2Contract) {
        // slither-disable-next-line missing-zero-check (the deployment script passes it)
        channels = paymentChannels;
        permit2 = IPermit2(permit2Contract);
    }

    /// @inheritdoc IDepositCollector
    /// @dev collectorData: `abi.encode(nonce, deadline, permit2Signature, erc2612Permit)`; the last one is empty, or
    /// `abi.encode(value, deadline, v, r, s)` and lets Permit2 spend, so that the payer needs no transaction at all.
    function collect(
        address payer,
        address token,
        uint256 amount,
        bytes32 channelId,
        bytes calldata collectorData
    ) external {
        if (msg.sender != channels) revert NotChannels(channels, msg.sender);
        (uint256 nonce, uint256 deadline, bytes memory signature, bytes memory erc2612Permit) =
            abi.decode(collectorData, (uint256, uint256, bytes, bytes));
        if (erc2612Permit.length > 0) _permit(payer, token, erc2612Permit);
        permit2.permitWitnessTransferFrom(
            IPermit2.PermitTransferFrom(IPermit2.TokenPermissions(token, amount), nonce, deadline),
            IPermit2.SignatureTransferDetails(channels, amount),
            payer,
            keccak256(abi.encode(WITNESS_TYPEHASH, channelId)),
            WITNESS_TYPE,
            signature
        );
    }

    /// @dev Anyone can send the permit before us, and then it fails here: what counts is the allowance, which Permit2 needs
    /// in any case.
    function _permit(address payer, address token, bytes memory erc2612Permit) private {
        (uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s) =
            abi.decode(erc2612Permit, (uint256, uint256, uint8, bytes32, bytes32));
        try IErc2612(token).permit(payer, address(permit2), value, deadline, v, r, s) { } catch { }
    }
}
