// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// The cheatcodes that the prover knows.
interface Cheats {
    function prank(address sender) external;
    function store(address place, bytes32 slot, bytes32 value) external;
    function load(address place, bytes32 slot) external view returns (bytes32);
    function warp(uint256 time) external;
}

/// Pays whom it is told to.
contract PlainToken {
    mapping(address account => uint256) public balanceOf;

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        balanceOf[msg.sender] -= amount;
        balanceOf[to] += amount;
        return true;
    }
}
