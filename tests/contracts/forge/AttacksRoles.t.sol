// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { BatchFixture } from "./BatchFixture.sol";
import { CoreToken } from "../../../contracts/CoreToken.sol";
import { PaymentChannels } from "../../../contracts/PaymentChannels.sol";
import { ICoreToken } from "../../../contracts/interfaces/ICoreToken.sol";
import { IDepositPause } from "../../../contracts/interfaces/IDepositPause.sol";
import { IDeviceRegistry } from "../../../contracts/interfaces/IDeviceRegistry.sol";
import { ILaneBonds } from "../../../contracts/interfaces/ILaneBonds.sol";
import { IPaymentChannels } from "../../../contracts/interfaces/IPaymentChannels.sol";

/// given a role whose key is lost, or that nobody ever had
///   └── what does not need it goes on: claims, payouts, commits, devices
/// given an offer of a role that nobody accepts
///   └── the holder keeps the role, and can offer it to somebody else
contract AttacksRolesTest is BatchFixture {
    address internal heir = makeAddr("heir");
    address internal lost = address(0xDEAD);

    function setUp() public {
        _deploy();
    }

    function _core(address admin, address proposer, address guardian) internal returns (CoreToken) {
        return new CoreToken(admin, proposer, guardian, 1 days, 1e24, 0, address(this), 1e24);
    }

    function _leaf(address owner, uint128 cumulative) internal pure returns (bytes26) {
        return bytes26(keccak256(abi.encode(keccak256(abi.encodePacked(owner, cumulative)))));
    }

    function test_rewards_outlive_every_role_of_the_token(address owner, uint128 amount) public {
        vm.assume(owner != address(this));
        amount = uint128(bound(amount, 1, 1e24));
        CoreToken core = _core(lost, address(this), lost);
        core.proposeRoot(1, _leaf(owner, amount), 1, amount);
        core.offerRole(ICoreToken.Role.Proposer, lost); // and with it the last key
        vm.warp(START + 1 days);
        core.claim(owner, amount, 0, new bytes26[](0));
        assertEq(core.balanceOf(owner), amount);
    }

    function test_a_role_that_nobody_holds_is_nobodys(address stranger) public {
        vm.assume(stranger != address(0));
        CoreToken core = _core(address(this), address(0), address(0));
        vm.startPrank(stranger);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.NotPermitted.selector, address(0), stranger));
        core.proposeRoot(1, bytes26(uint208(1)), 1, 1);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.NotPermitted.selector, address(0), stranger));
        core.veto(1);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.NotPermitted.selector, address(0), stranger));
        core.acceptRole(ICoreToken.Role.Guardian);
        vm.stopPrank();
        // The admin names another one.
        core.offerRole(ICoreToken.Role.Proposer, heir);
        vm.startPrank(heir);
        core.acceptRole(ICoreToken.Role.Proposer);
        core.proposeRoot(1, bytes26(uint208(1)), 1, 1);
    }

    function test_an_offer_that_nobody_accepts_takes_no_role_of_the_token_away() public {
        CoreToken core = _core(address(this), address(this), address(this));
        core.offerRole(ICoreToken.Role.Admin, lost);
        core.offerRole(ICoreToken.Role.Proposer, lost);
        assertEq(core.holderOf(ICoreToken.Role.Admin), address(this));
        core.proposeRoot(1, bytes26(uint208(1)), 1, 1);
        core.veto(1);
        core.offerRole(ICoreToken.Role.Admin, heir);
        vm.prank(lost);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.NotPermitted.selector, heir, lost));
        core.acceptRole(ICoreToken.Role.Admin);
        vm.prank(heir);
        core.acceptRole(ICoreToken.Role.Admin);
        assertEq(core.holderOf(ICoreToken.Role.Admin), heir);
    }

    function test_an_offer_that_nobody_accepts_takes_no_lane_away() public {
        batches.offerAdmin(lost);
        _activate(0, address(this));
        batches.commit(1, bytes26(uint208(1)));
        batches.offerAdmin(heir);
        vm.prank(lost);
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.NotAdmin.selector, heir, lost));
        batches.acceptAdmin();
        batches.offerAdmin(address(0)); // takes it back
        vm.prank(heir);
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.NotAdmin.selector, address(0), heir));
        batches.acceptAdmin();
        assertEq(batches.admin(), address(this));
    }

    function test_lanes_and_bonds_outlive_the_admin() public {
        _activate(0, address(this));
        batches.offerAdmin(lost);
        vm.prank(lost);
        batches.acceptAdmin(); // and loses the key
        batches.commit(1, bytes26(uint208(1)));
        batches.closeLane(0);
        vm.warp(START + WINDOW + 1);
        uint256 before = token.balanceOf(address(this));
        batches.withdrawBond(0);
        assertEq(token.balanceOf(address(this)), before + BOND);
    }

    function test_devices_outlive_the_admin_of_the_registry() public {
        registry.offerAdmin(lost);
        registry.setEnroller(heir, true);
        vm.prank(lost);
        registry.acceptAdmin(); // and loses the key
        vm.expectRevert(abi.encodeWithSelector(IDeviceRegistry.NotAdmin.selector, lost, address(this)));
        registry.setEnroller(heir, false);
        address device = makeAddr("device");
        vm.prank(device);
        registry.activate(address(this));
        registry.transfer(device, heir);
        vm.prank(heir);
        registry.revoke(device);
    }

    /// The worst that a lost guardian leaves behind: no new deposits, and every payout as before.
    function test_payouts_outlive_a_guardian_who_paused_and_lost_the_key() public {
        PaymentChannels channels = new PaymentChannels(address(this));
        (address payer, address seller) = (makeAddr("payer"), makeAddr("seller"));
        IPaymentChannels.ChannelConfig memory config =
            IPaymentChannels.ChannelConfig(payer, payer, seller, seller, address(token), 900, 0);
        token.approve(address(channels), 100);
        channels.open(config, 100);
        channels.pauseDeposits(true);
        channels.offerGuardian(lost);
        vm.prank(lost);
        channels.acceptGuardian();
        vm.expectRevert(abi.encodeWithSelector(IDepositPause.NotGuardian.selector, lost, address(this)));
        channels.pauseDeposits(false);
        bytes32 digest = channels.getVoucherDigest(channels.getChannelId(config), 60);
        IPaymentChannels.Redemption[] memory rows = new IPaymentChannels.Redemption[](1);
        rows[0] = IPaymentChannels.Redemption(config, 60, signed(keyOf("payer"), digest));
        vm.prank(seller);
        channels.redeem(rows);
        vm.startPrank(payer);
        channels.initiateWithdraw(config, 40);
        vm.warp(START + 900);
        channels.finalizeWithdraw(config);
        assertEq(token.balanceOf(seller), 60);
        assertEq(token.balanceOf(payer), 40);
    }

    function test_an_offer_that_nobody_accepts_takes_no_brake_away() public {
        PaymentChannels channels = new PaymentChannels(address(this));
        channels.offerGuardian(lost);
        channels.pauseDeposits(true);
        channels.offerGuardian(heir);
        vm.prank(lost);
        vm.expectRevert(abi.encodeWithSelector(IDepositPause.NotGuardian.selector, heir, lost));
        channels.acceptGuardian();
        channels.pauseDeposits(false);
        assertFalse(channels.depositsPaused());
    }
}
