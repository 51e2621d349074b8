// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "./Base.sol";
import { CoreToken } from "../../../contracts/CoreToken.sol";
import { PaymentChannels } from "../../../contracts/PaymentChannels.sol";
import { IPaymentChannels } from "../../../contracts/interfaces/IPaymentChannels.sol";
import { InvalidSignature } from "../../../contracts/libraries/Signatures.sol";
import { TokenTypes } from "../../../contracts/libraries/TokenTypes.sol";

/// A contract that calls itself channels and takes what it is given, or less, or comes back for more.
contract GreedyChannels {
    CoreToken internal immutable _token;
    uint256 internal immutable _takes;

    constructor(CoreToken token, uint256 takes) {
        (_token, _takes) = (token, takes);
    }

    function open(IPaymentChannels.ChannelConfig calldata, uint128) external {
        assert(_token.transferFrom(msg.sender, address(this), _takes));
    }
}

/// given an owner with a reward
///   ├── it flows into a channel of the owner in one transaction, without an approval
///   ├── a relayer sends it with the owner's signature, for that channel and that reward only
///   └── a contract that takes another amount than the reward gets nothing
contract ClaimIntoChannelTest is Test {
    CoreToken internal token;
    PaymentChannels internal channels;
    address internal owner = makeAddr("owner");
    address internal relayer = makeAddr("relayer");
    bytes26[] internal none;
    uint128 internal constant REWARD = 1000;

    function setUp() public {
        vm.warp(1_700_000_000);
        token = new CoreToken(address(this), address(this), address(this), 1, 1e24, 0, address(9), 1e24);
        channels = new PaymentChannels(address(0));
        bytes26 leaf = bytes26(keccak256(abi.encode(keccak256(abi.encodePacked(owner, REWARD)))));
        token.proposeRoot(1, leaf, 1, REWARD);
        vm.warp(1_700_000_001);
    }

    function _config() internal view returns (IPaymentChannels.ChannelConfig memory) {
        return IPaymentChannels.ChannelConfig(
            owner, owner, address(0xBEEF), address(0xBEEF), address(token), 900, 0
        );
    }

    function _consent(IPaymentChannels.ChannelConfig memory config, address place, uint128 cumulative)
        internal
        view
        returns (bytes memory)
    {
        bytes32 structHash = keccak256(
            abi.encode(TokenTypes.CLAIM_INTO_CHANNEL, owner, cumulative, place, keccak256(abi.encode(config)))
        );
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), structHash));
        return signed(keyOf("owner"), digest);
    }

    function test_a_reward_flows_into_the_owners_channel() public {
        IPaymentChannels.ChannelConfig memory config = _config();
        vm.prank(owner);
        token.claimIntoChannel(REWARD, 0, none, address(channels), config, "");
        (uint128 balance,) = channels.channels(channels.getChannelId(config));
        assertEq(balance, REWARD);
        assertEq(token.balanceOf(address(channels)), REWARD);
        assertEq(token.balanceOf(address(token)), 0);
        assertEq(token.claimedOf(owner), REWARD);
        vm.prank(owner);
        vm.expectRevert();
        token.claimIntoChannel(REWARD, 0, none, address(channels), config, "");
    }

    function test_a_relayer_sends_it_with_the_owners_signature() public {
        IPaymentChannels.ChannelConfig memory config = _config();
        bytes memory consent = _consent(config, address(channels), REWARD);
        vm.prank(relayer);
        token.claimIntoChannel(REWARD, 0, none, address(channels), config, consent);
        assertEq(token.balanceOf(address(channels)), REWARD);
    }

    function test_the_consent_is_for_this_channel_and_this_contract_only(bytes32 salt, address place) public {
        IPaymentChannels.ChannelConfig memory config = _config();
        vm.assume(salt != 0 && place != address(channels));
        bytes memory consent = _consent(config, place, REWARD);
        vm.startPrank(relayer);
        vm.expectRevert(InvalidSignature.selector);
        token.claimIntoChannel(REWARD, 0, none, address(channels), config, consent);
        consent = _consent(config, address(channels), REWARD);
        config.salt = salt;
        vm.expectRevert(InvalidSignature.selector);
        token.claimIntoChannel(REWARD, 0, none, address(channels), config, consent);
        config.salt = 0;
        consent = _consent(config, address(channels), REWARD - 1);
        vm.expectRevert(InvalidSignature.selector);
        token.claimIntoChannel(REWARD, 0, none, address(channels), config, consent);
    }

    function test_a_channel_contract_that_takes_another_amount_gets_nothing(uint256 takes) public {
        takes = bound(takes, 0, 3 * uint256(REWARD));
        GreedyChannels greedy = new GreedyChannels(token, takes);
        IPaymentChannels.ChannelConfig memory config = _config();
        vm.prank(owner);
        if (takes != REWARD) vm.expectRevert();
        token.claimIntoChannel(REWARD, 0, none, address(greedy), config, "");
        assertEq(token.balanceOf(address(greedy)), takes == REWARD ? REWARD : 0);
        assertEq(token.allowance(address(token), address(greedy)), 0);
    }

    function test_other_tokens_cannot_be_deposited_so() public {
        IPaymentChannels.ChannelConfig memory config = _config();
        config.token = address(0xDEAD);
        vm.prank(owner);
        vm.expectRevert();
        token.claimIntoChannel(REWARD, 0, none, address(channels), config, "");
        assertEq(token.claimedOf(owner), 0);
    }
}
