// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// An event as the chain keeps it.
struct Log {
    bytes32[] topics;
    bytes data;
    address emitter;
}

/// The cheatcodes that these tests use. (The forge-std that npm has is of 2022 and knows half of them.)
interface Vm {
    function addr(uint256 key) external pure returns (address);
    function assume(bool condition) external pure;
    function chainId(uint256 id) external;
    function deployCode(string calldata artefact, bytes calldata arguments) external returns (address);
    function deal(address account, uint256 amount) external;
    function etch(address place, bytes calldata code) external;
    function expectEmit(address emitter) external;
    function expectRevert() external;
    function expectRevert(bytes4 selector) external;
    function expectRevert(bytes calldata data) external;
    function getDeployedCode(string calldata artefact) external view returns (bytes memory);
    function mockCall(address callee, bytes calldata data, bytes calldata answer) external;
    function parseJsonAddress(string calldata json, string calldata key) external pure returns (address);
    function parseJsonBytes(string calldata json, string calldata key) external pure returns (bytes memory);
    function parseJsonBytes32(string calldata json, string calldata key) external pure returns (bytes32);
    function parseJsonBytesArray(string calldata json, string calldata key)
        external
        pure
        returns (bytes[] memory);
    function parseJsonInt(string calldata json, string calldata key) external pure returns (int256);
    function parseJsonString(string calldata json, string calldata key) external pure returns (string memory);
    function parseJsonUint(string calldata json, string calldata key) external pure returns (uint256);
    function parseJsonUintArray(string calldata json, string calldata key)
        external
        pure
        returns (uint256[] memory);
    function parseUint(string calldata text) external pure returns (uint256);
    function prank(address sender) external;
    function publicKeyP256(uint256 key) external pure returns (uint256 x, uint256 y);
    function getRecordedLogs() external returns (Log[] memory);
    function recordLogs() external;
    function readFile(string calldata path) external view returns (string memory);
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function signP256(uint256 key, bytes32 digest) external pure returns (bytes32 r, bytes32 s);
    function startPrank(address sender) external;
    function stopPrank() external;
    function store(address place, bytes32 slot, bytes32 value) external;
    function toString(uint256 value) external pure returns (string memory);
    function warp(uint256 time) external;
}

/// What every test contract stands on.
abstract contract Test {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    bool public constant IS_TEST = true;
    uint256 internal constant SECP256K1_ORDER =
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    error Unequal(uint256 found, uint256 expected);
    error UnequalInt(int256 found, int256 expected);
    error UnequalWord(bytes32 found, bytes32 expected);
    error NotTrue(string what);

    address[] private _targets;

    /// The contracts that an invariant run calls.
    function targetContracts() public view returns (address[] memory) {
        return _targets;
    }

    function _target(address handler) internal {
        _targets.push(handler);
    }

    function assertEq(uint256 found, uint256 expected) internal pure {
        if (found != expected) revert Unequal(found, expected);
    }

    function assertEq(int256 found, int256 expected) internal pure {
        if (found != expected) revert UnequalInt(found, expected);
    }

    function assertEq(bytes32 found, bytes32 expected) internal pure {
        if (found != expected) revert UnequalWord(found, expected);
    }

    function assertEq(address found, address expected) internal pure {
        assertEq(bytes32(uint256(uint160(found))), bytes32(uint256(uint160(expected))));
    }

    function assertTrue(bool condition) internal pure {
        if (!condition) revert NotTrue("condition");
    }

    function assertTrue(bool condition, string memory what) internal pure {
        if (!condition) revert NotTrue(what);
    }

    function assertFalse(bool condition) internal pure {
        if (condition) revert NotTrue("not condition");
    }

    function assertFalse(bool condition, string memory what) internal pure {
        if (condition) revert NotTrue(what);
    }

    function bound(uint256 value, uint256 low, uint256 high) internal pure returns (uint256) {
        uint256 size = high - low + 1;
        return size == 0 ? value : low + value % size;
    }

    function makeAddr(string memory name) internal pure returns (address) {
        return vm.addr(keyOf(name));
    }

    function keyOf(string memory name) internal pure returns (uint256) {
        return uint256(keccak256(bytes(name))) % (SECP256K1_ORDER - 1) + 1;
    }

    /// The recorded events of one contract.
    function _logsOf(address emitter) internal returns (Log[] memory found) {
        Log[] memory logs = vm.getRecordedLogs();
        uint256 count = 0;
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].emitter == emitter) logs[count++] = logs[i];
        }
        found = new Log[](count);
        for (uint256 i = 0; i < count; ++i) {
            found[i] = logs[i];
        }
    }

    /// 65 bytes, r ‖ s ‖ v.
    function signed(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// 64 bytes, EIP-2098.
    function signedCompact(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, bytes32(uint256(s) | (uint256(v - 27) << 255)));
    }

    /// Puts a contract without constructor and immutables at an address of our choice.
    function deployCodeTo(string memory artefact, address place) internal {
        vm.etch(place, vm.getDeployedCode(artefact));
    }
}
