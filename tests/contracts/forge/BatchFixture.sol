// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "./Base.sol";
import { DataBatches } from "../../../contracts/DataBatches.sol";
import { DeviceRegistry } from "../../../contracts/DeviceRegistry.sol";
import { Place } from "../../../contracts/interfaces/BatchTypes.sol";
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
        registry = DeviceRegistry(_make("DeviceRegistry.sol:DeviceRegistry", abi.encode(address(this))));
        address judge = _make("BatchChallenges.sol:BatchChallenges", abi.encode(registry));
        bytes memory terms = abi.encode(address(this), token, BOND, FEE, WINDOW, ANSWER, judge);
        batches = DataBatches(_make("DataBatches.sol:DataBatches", terms));
        token.mint(address(this), type(uint128).max);
        token.approve(address(batches), type(uint256).max);
    }

    /// From the artefact: with `new`, the compiler optimises the whole contract once more for every test that has one.
    function _make(string memory artefact, bytes memory arguments) internal returns (address) {
        return vm.deployCode(artefact, arguments);
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
