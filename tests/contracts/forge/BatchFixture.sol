// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "./Base.sol";
import { BatchChallenges } from "../../../contracts/BatchChallenges.sol";
import { DataBatches } from "../../../contracts/DataBatches.sol";
import { DeviceRegistry } from "../../../contracts/DeviceRegistry.sol";
import { Place } from "../../../contracts/interfaces/BatchTypes.sol";
import { IBatchChallenges } from "../../../contracts/interfaces/IBatchChallenges.sol";
import { MintableToken } from "../../../contracts/mocks/Tokens.sol";

/// Registry, judge, batches, and lanes that are bonded by this contract.
abstract contract BatchFixture is Test {
    uint88 internal constant BOND = 1000e18;
    uint88 internal constant FEE = 1e18;
    uint40 internal constant WINDOW = 1 days;
    uint40 internal constant ANSWER = 1 hours;
    uint256 internal constant RING = 8192;
    /// The compiler takes block.timestamp for a constant within a call, `warp` or not: tests count from here.
    uint256 internal constant START = 2_000_000_000;

    MintableToken internal token;
    DeviceRegistry internal registry;
    DataBatches internal batches;

    function _deploy() internal {
        vm.warp(START);
        token = new MintableToken();
        registry = new DeviceRegistry(address(this));
        IBatchChallenges judge = new BatchChallenges(registry);
        batches = new DataBatches(address(this), address(token), BOND, FEE, WINDOW, ANSWER, judge);
        token.mint(address(this), type(uint128).max);
        token.approve(address(batches), type(uint256).max);
    }

    function _activate(uint16 lane, address submitter) internal {
        batches.assignLane(lane, submitter);
        batches.bondLane(lane);
    }

    function _place(uint48 batchId) internal pure returns (Place memory) {
        return Place(batchId, 0, new bytes26[](0));
    }

    function _in(uint16 lane, uint256 number) internal pure returns (uint48) {
        return uint48(uint256(lane) << 32 | number);
    }
}
