// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { BatchFixture } from "./BatchFixture.sol";
import { CoreToken } from "../../../contracts/CoreToken.sol";
import { DeviceRegistry } from "../../../contracts/DeviceRegistry.sol";
import { PaymentChannels } from "../../../contracts/PaymentChannels.sol";
import { StateChannels } from "../../../contracts/StateChannels.sol";
import { BatchHeader, Key, Reading, Statistics } from "../../../contracts/interfaces/BatchTypes.sol";
import { IPaymentChannels } from "../../../contracts/interfaces/IPaymentChannels.sol";
import { IStateChannels } from "../../../contracts/interfaces/IStateChannels.sol";

/// Golden vectors: written by Python (tests/vectors/make.py), read by both. The contracts are put at the addresses that the
/// vectors name, because addresses are part of what is signed.
///
/// given the vectors
///   ├── it reports: the same digest; the device's signature verifies, on both curves
///   ├── it activations: the device can be registered with its signature
///   ├── it header: the same rest hash and commitment
///   ├── it readings: every proof verifies, at its position only
///   ├── it ranges: the same statistics, also of an empty range
///   ├── it rewards: every claim pays
///   └── it channels: the same ids and digests; the signatures verify
contract VectorsTest is BatchFixture {
    string internal batchJson;

    function setUp() public {
        batchJson = vm.readFile("tests/vectors/batch.json");
        _deploy();
        _activate(0, address(this));
        batches.commit(1, bytes26(bytes32(vm.parseJsonBytes(batchJson, ".header.commitment"))));
    }

    function _registry() internal returns (DeviceRegistry) {
        string memory json = vm.readFile("tests/vectors/reports.json");
        address place = vm.parseJsonAddress(json, ".domain.registry");
        deployCodeTo("DeviceRegistry.sol:DeviceRegistry", place);
        return DeviceRegistry(place);
    }

    function _at(string memory path, uint256 i, string memory field) internal pure returns (string memory) {
        return string.concat(path, "[", vm.toString(i), "].", field);
    }

    function test_devices_sign_the_same_digest_in_python_and_on_chain() public {
        DeviceRegistry registry = _registry();
        string memory json = vm.readFile("tests/vectors/reports.json");
        for (uint256 i = 0; i < 3; ++i) {
            address device = vm.parseJsonAddress(json, _at(".reports", i, "device"));
            bytes32 x = vm.parseJsonBytes32(json, _at(".reports", i, "x"));
            bytes32 y = vm.parseJsonBytes32(json, _at(".reports", i, "y"));
            registry.register(
                device,
                vm.parseJsonAddress(json, _at(".reports", i, "owner")),
                uint8(vm.parseJsonUint(json, _at(".reports", i, "keyType"))),
                x,
                y,
                vm.parseJsonBytes(json, _at(".reports", i, "activationSignature"))
            );
            uint64 sequence = uint64(vm.parseUint(vm.parseJsonString(json, _at(".reports", i, "sequence"))));
            bytes memory observations = vm.parseJsonBytes(json, _at(".reports", i, "observations"));
            assertEq(
                registry.hashReport(device, sequence, observations),
                vm.parseJsonBytes32(json, _at(".reports", i, "digest"))
            );
            bytes memory signature = vm.parseJsonBytes(json, _at(".reports", i, "signature"));
            registry.verifyReport(device, sequence, observations, signature, x, y);
        }
    }

    function _header() internal view returns (BatchHeader memory header) {
        header.batchId = uint48(vm.parseJsonUint(batchJson, ".header.batchId"));
        header.previous = _node(".header.previous");
        header.ancestor = _node(".header.ancestor");
        header.statisticsRoot = _node(".header.statisticsRoot");
        header.reportsRoot = _node(".header.reportsRoot");
        header.dataHash = vm.parseJsonBytes32(batchJson, ".header.dataHash");
        header.rulesHash = vm.parseJsonBytes32(batchJson, ".header.rulesHash");
        header.readingCount = uint32(vm.parseJsonUint(batchJson, ".header.readingCount"));
        header.reportCount = uint32(vm.parseJsonUint(batchJson, ".header.reportCount"));
        header.windowStart = uint40(vm.parseJsonUint(batchJson, ".header.windowStart"));
        header.windowEnd = uint40(vm.parseJsonUint(batchJson, ".header.windowEnd"));
    }

    function _node(string memory path) internal view returns (bytes26) {
        return bytes26(bytes32(vm.parseJsonBytes(batchJson, path)));
    }

    function _nodes(string memory json, string memory path) internal pure returns (bytes26[] memory nodes) {
        bytes[] memory raw = vm.parseJsonBytesArray(json, path);
        nodes = new bytes26[](raw.length);
        for (uint256 i = 0; i < raw.length; ++i) {
            nodes[i] = bytes26(bytes32(raw[i]));
        }
    }

    function test_the_header_hashes_to_the_same_commitment() public view {
        bytes32 rest = keccak256(abi.encode(_header()));
        assertEq(rest, vm.parseJsonBytes32(batchJson, ".header.restHash"));
        bytes26 commitment = bytes26(keccak256(abi.encodePacked(_node(".header.readingsRoot"), rest)));
        assertEq(bytes32(commitment), bytes32(batches.commitmentOf(1)));
    }

    function test_the_data_hash_is_the_hash_of_the_file() public view {
        bytes memory file = vm.parseJsonBytes(batchJson, ".header.dataFile");
        assertEq(keccak256(file), vm.parseJsonBytes32(batchJson, ".header.dataHash"));
    }

    function _reading(uint256 i) internal view returns (Reading memory) {
        return Reading(
            uint16(vm.parseJsonUint(batchJson, _at(".readings", i, "metric"))),
            uint64(vm.parseUint(vm.parseJsonString(batchJson, _at(".readings", i, "cell")))),
            vm.parseJsonAddress(batchJson, _at(".readings", i, "device")),
            uint40(vm.parseJsonUint(batchJson, _at(".readings", i, "observedAt"))),
            int32(vm.parseJsonInt(batchJson, _at(".readings", i, "value"))),
            uint8(vm.parseJsonUint(batchJson, _at(".readings", i, "flag")))
        );
    }

    function test_readings_proven_in_python_are_proven_on_chain() public {
        bytes32 rest = vm.parseJsonBytes32(batchJson, ".header.restHash");
        for (uint256 i = 0; i < 4; ++i) {
            bytes26[] memory proof = _nodes(batchJson, _at(".readings", i, "proof"));
            uint32 position = uint32(vm.parseJsonUint(batchJson, _at(".readings", i, "position")));
            batches.verifyReading(1, _reading(i), position, rest, proof);
            vm.expectRevert();
            batches.verifyReading(1, _reading(i), position ^ 1, rest, proof);
        }
    }

    function _key(bytes memory packed) internal pure returns (Key memory) {
        return Key(
            uint16(uint256(bytes32(packed) >> 240)),
            uint64(uint256(bytes32(packed) >> 176)),
            address(uint160(uint256(bytes32(packed) >> 16))),
            _time(packed)
        );
    }

    function _time(bytes memory packed) internal pure returns (uint40 time) {
        for (uint256 i = 30; i < 35; ++i) {
            time = time << 8 | uint8(packed[i]);
        }
    }

    function _range(uint256 i) internal view returns (Statistics memory) {
        return batches.verifyRange(
            _header(),
            _node(".header.readingsRoot"),
            _key(vm.parseJsonBytes(batchJson, _at(".ranges", i, "low"))),
            _key(vm.parseJsonBytes(batchJson, _at(".ranges", i, "high"))),
            uint32(vm.parseJsonUint(batchJson, _at(".ranges", i, "from"))),
            uint32(vm.parseJsonUint(batchJson, _at(".ranges", i, "to"))),
            vm.parseJsonBytes(batchJson, _at(".ranges", i, "leaves")),
            vm.parseJsonBytes(batchJson, _at(".ranges", i, "nodes"))
        );
    }

    function test_statistics_proven_in_python_are_proven_on_chain() public view {
        for (uint256 i = 0; i < 4; ++i) {
            Statistics memory found = _range(i);
            assertEq(found.count, vm.parseJsonUint(batchJson, _at(".ranges", i, "count")));
            assertEq(found.sum, vm.parseJsonInt(batchJson, _at(".ranges", i, "sum")));
            assertEq(found.min, vm.parseJsonInt(batchJson, _at(".ranges", i, "min")));
            assertEq(found.max, vm.parseJsonInt(batchJson, _at(".ranges", i, "max")));
        }
    }

    function test_reward_claims_made_in_python_pay_on_chain() public {
        string memory json = vm.readFile("tests/vectors/rewards.json");
        CoreToken token = new CoreToken(
            address(this), address(this), address(this), 1, type(uint128).max, 0, address(1), 0
        );
        bytes26 root = bytes26(bytes32(vm.parseJsonBytes(json, ".root")));
        token.proposeRoot(1, root, 1, type(uint128).max);
        vm.warp(block.timestamp + 1);
        for (uint256 i = 0; i < 5; ++i) {
            address owner = vm.parseJsonAddress(json, _at(".claims", i, "owner"));
            uint128 cumulative =
                uint128(vm.parseUint(vm.parseJsonString(json, _at(".claims", i, "cumulative"))));
            uint32 position = uint32(vm.parseJsonUint(json, _at(".claims", i, "position")));
            token.claim(owner, cumulative, position, _nodes(json, _at(".claims", i, "proof")));
            assertEq(token.balanceOf(owner), cumulative);
        }
    }

    function test_vouchers_have_the_same_ids_and_digests() public {
        string memory json = vm.readFile("tests/vectors/channels.json");
        address place = vm.parseJsonAddress(json, ".domain.paymentChannels");
        vm.etch(place, address(new PaymentChannels(address(0))).code);
        PaymentChannels channels = PaymentChannels(place);
        address payer = vm.parseJsonAddress(json, ".payer");
        address receiver = vm.parseJsonAddress(json, ".receiver");
        IPaymentChannels.ChannelConfig memory config = IPaymentChannels.ChannelConfig(
            payer,
            payer,
            receiver,
            receiver,
            vm.parseJsonAddress(json, ".token"),
            uint40(vm.parseJsonUint(json, ".withdrawDelay")),
            vm.parseJsonBytes32(json, ".salt")
        );
        bytes32 channelId = channels.getChannelId(config);
        assertEq(channelId, vm.parseJsonBytes32(json, ".paymentChannelId"));
        uint128 amount = uint128(vm.parseUint(vm.parseJsonString(json, ".amount")));
        assertEq(channels.getVoucherDigest(channelId, amount), vm.parseJsonBytes32(json, ".voucherDigest"));
    }

    function test_channel_states_have_the_same_ids_and_signatures() public {
        string memory json = vm.readFile("tests/vectors/channels.json");
        address place = vm.parseJsonAddress(json, ".domain.stateChannels");
        vm.etch(place, address(new StateChannels(address(0))).code);
        StateChannels channels = StateChannels(place);
        IStateChannels.Terms memory terms = IStateChannels.Terms(
            vm.parseJsonAddress(json, ".payer"),
            vm.parseJsonAddress(json, ".receiver"),
            address(_coins(place)),
            uint32(vm.parseJsonUint(json, ".challengePeriod")),
            uint40(vm.parseJsonUint(json, ".openBefore")),
            bytes5(vm.parseJsonBytes(json, ".stateSalt"))
        );
        // The vectors name a token address of their own: the token goes there.
        address token = vm.parseJsonAddress(json, ".token");
        vm.etch(token, terms.token.code);
        terms.token = token;
        assertEq(channels.channelIdOf(terms), vm.parseJsonBytes32(json, ".stateChannelId"));
    }

    function _coins(address) internal returns (CoreToken) {
        return new CoreToken(address(this), address(this), address(this), 1, 0, 0, address(this), 1e24);
    }
}
