// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "./Base.sol";
import { CoreToken } from "../../../contracts/CoreToken.sol";

/// A token whose proposer, guardian and admin (the test) are three.
abstract contract CoreTokenFixture is Test {
    uint40 internal constant WINDOW = 1 days;
    uint128 internal constant CAP = 1e24;
    uint16 internal constant FEE_BPS = 50;
    CoreToken internal token;
    address internal proposer = makeAddr("proposer");
    address internal guardian = makeAddr("guardian");
    address internal holder = makeAddr("holder");
    bytes26[] internal none;

    function setUp() public {
        vm.warp(1_700_000_000);
        token = new CoreToken(address(this), proposer, guardian, WINDOW, CAP, FEE_BPS, holder, 1e24);
    }

    function _leaf(address owner, uint128 cumulative) internal pure returns (bytes26) {
        return bytes26(keccak256(abi.encode(keccak256(abi.encodePacked(owner, cumulative)))));
    }

    function _propose(uint32 epoch, bytes26 root, uint128 emission) internal {
        vm.prank(proposer);
        token.proposeRoot(epoch, root, epoch, emission);
    }

    function _activate(uint32 epoch, bytes26 root, uint128 emission) internal {
        _propose(epoch, root, emission);
        vm.warp(block.timestamp + WINDOW);
    }
}
