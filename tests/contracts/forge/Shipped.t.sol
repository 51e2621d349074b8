// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { BatchFixture } from "./BatchFixture.sol";

/// Tests are compiled in a quicker way than contracts are (tools/forge_tests.py): what they deploy must be what we ship.
contract ShippedTest is BatchFixture {
    function setUp() public {
        _deploy();
    }

    /// Immutables are zeros in the artefact, so lengths are compared: another optimiser gives another length.
    function _isShipped(address deployed, string memory name) private view {
        string memory artefact = string.concat("out/", name, ".sol/", name, ".json");
        assertEq(deployed.code.length, vm.getDeployedCode(artefact).length);
    }

    function test_what_is_tested_is_what_is_shipped() public view {
        _isShipped(address(batches), "DataBatches");
        _isShipped(address(batches.judge()), "BatchChallenges");
        _isShipped(address(registry), "DeviceRegistry");
    }
}
