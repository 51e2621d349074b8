// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { RegistryFixture } from "./RegistryFixture.sol";
import { DeviceRegistry } from "../../../contracts/DeviceRegistry.sol";

/// Registers, activates, materialises, sells, rotates and revokes a dozen devices again and again, whether
/// it is allowed or not, and keeps its own books of what must have happened.
contract RegistryHandler is RegistryFixture {
    struct Life {
        address owner;
        uint40 registeredAt;
        uint40 revokedAt;
    }

    uint256 public constant DEVICES = 12;
    uint40 internal constant ENROLLED = 1_700_000_000;
    Life[12] public lives;
    uint256[12] public keyAt;
    address[12] public deviceAt;
    bytes26[12] internal _fleets;
    address[3] internal _owners = [makeAddr("owner"), makeAddr("buyer"), makeAddr("thief")];
    /// An action did what it must not, or did not do what it must.
    bool public cheated;
    uint256 public done;
    uint40 internal _now = ENROLLED;

    constructor() {
        vm.warp(_now);
        _start();
        registry.setEnroller(address(this), true);
        for (uint256 i = 0; i < DEVICES; ++i) {
            keyAt[i] = keyOf(string.concat("device ", vm.toString(i)));
            deviceAt[i] = vm.addr(keyAt[i]);
            _fleets[i] = registry.enrolFleet(_owners[0], 1, abi.encodePacked(deviceAt[i]));
        }
    }

    function books() external view returns (DeviceRegistry) {
        return registry;
    }

    function wait(uint16 seconds_) external {
        _now += seconds_;
        vm.warp(_now);
    }

    function register(uint256 i, uint256 who) external {
        (i, who) = (i % DEVICES, who % 3);
        bytes memory signature = signed(keyAt[i], _activation(deviceAt[i], _owners[who]));
        try registry.register(deviceAt[i], _owners[who], 1, 0, 0, signature) {
            _begins(i, _owners[who], _now);
        } catch {
            _refused(_isFree(i));
        }
    }

    function activate(uint256 i, uint256 who) external {
        (i, who) = (i % DEVICES, who % 3);
        vm.prank(deviceAt[i]);
        try registry.activate(_owners[who]) {
            _begins(i, _owners[who], _now);
        } catch {
            _refused(_isFree(i));
        }
    }

    function materialise(uint256 i) external {
        i %= DEVICES;
        try registry.materialise(_fleets[i], deviceAt[i], 0, new bytes(60)) {
            _begins(i, _owners[0], ENROLLED);
        } catch {
            _refused(_isFree(i));
        }
    }

    function transfer(uint256 i, uint256 by, uint256 to) external {
        (i, by, to) = (i % DEVICES, by % 3, to % 3);
        vm.prank(_owners[by]);
        try registry.transfer(deviceAt[i], _owners[to]) {
            _did(lives[i].owner == _owners[by]);
            lives[i].owner = _owners[to];
        } catch {
            _refused(lives[i].owner == _owners[by]);
        }
    }

    function revoke(uint256 i, uint256 by) external {
        (i, by) = (i % DEVICES, by % 3);
        bool may = _acts(i, by);
        vm.prank(_owners[by]);
        try registry.revoke(deviceAt[i]) {
            _did(may);
            lives[i].revokedAt = _now;
        } catch {
            _refused(may);
        }
    }

    function rotate(uint256 i, uint256 j, uint256 by) external {
        (i, j, by) = (i % DEVICES, j % DEVICES, by % 3);
        bool may = _acts(i, by) && _isFree(j);
        bytes32 typehash = keccak256("Rotation(address oldDevice,address newDevice,address owner)");
        bytes32 digest = _digest(keccak256(abi.encode(typehash, deviceAt[i], deviceAt[j], _owners[by])));
        bytes memory signature = signed(keyAt[j], digest);
        vm.prank(_owners[by]);
        try registry.rotate(deviceAt[i], deviceAt[j], 1, 0, 0, signature) {
            if (!may) cheated = true;
            lives[i].revokedAt = _now;
            _begins(j, _owners[by], _now);
        } catch {
            _refused(may);
        }
    }

    function _begins(uint256 i, address first, uint40 registeredAt) internal {
        _did(_isFree(i));
        lives[i] = Life(first, registeredAt, 0);
    }

    function _did(bool must) internal {
        ++done;
        if (!must) cheated = true;
    }

    function _refused(bool must) internal {
        if (must) cheated = true;
    }

    function _isFree(uint256 i) internal view returns (bool) {
        return lives[i].registeredAt == 0;
    }

    function _acts(uint256 i, uint256 by) internal view returns (bool) {
        return lives[i].owner == _owners[by] && lives[i].revokedAt == 0;
    }
}

contract DeviceRegistryInvariants is RegistryFixture {
    RegistryHandler internal handler;
    address[] internal devices;

    function setUp() public {
        handler = new RegistryHandler();
        registry = handler.books();
        for (uint256 i = 0; i < handler.DEVICES(); ++i) {
            devices.push(handler.deviceAt(i));
        }
        _target(address(handler));
    }

    /// What was revoked stays revoked since that second, and its reports are refused; those of the others
    /// are not.
    function invariant_a_revoked_device_never_returns() public view {
        for (uint256 i = 0; i < devices.length; ++i) {
            (, uint40 registeredAt, uint40 revokedAt) = handler.lives(i);
            (,,, uint40 found) = registry.deviceOf(devices[i]);
            assertEq(found, revokedAt);
            // A signature takes the fuzzer's time: each step one device.
            if (i != handler.done() % devices.length) continue;
            assertTrue(_reports(i) == (registeredAt != 0 && revokedAt == 0), "reports");
        }
    }

    /// Nobody gets a second one, by no way: owner and date are those of the first, but for what owners did.
    function invariant_a_device_has_one_slot_in_its_life() public view {
        assertFalse(handler.cheated());
        for (uint256 i = 0; i < devices.length; ++i) {
            (address first, uint40 registeredAt,) = handler.lives(i);
            (address found, uint8 keyType, uint40 since,) = registry.deviceOf(devices[i]);
            assertEq(found, first);
            assertEq(since, registeredAt);
            assertEq(keyType, since == 0 ? 0 : 1);
        }
    }

    function afterInvariant() public view {
        assertTrue(handler.done() >= 3, "done");
    }

    function _reports(uint256 i) internal view returns (bool) {
        address device = devices[i];
        bytes memory signature = signed(handler.keyAt(i), registry.hashReport(device, 1, hex"01"));
        try registry.verifyReport(device, 1, hex"01", signature, 0, 0) {
            return true;
        } catch {
            return false;
        }
    }
}
