// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { BatchFixture } from "./BatchFixture.sol";
import { BatchHeader, Revealed } from "../../../contracts/interfaces/BatchTypes.sol";
import { BatchHeaders } from "../../../contracts/libraries/BatchHeaders.sol";

/// Batches of lane 0 as the protocol wants them: three devices on both curves report, five readings each,
/// chained headers.
abstract contract HonestBatches is BatchFixture {
    uint256 internal constant P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551;
    uint256 internal constant BATCHES = 4;
    uint40 internal constant OBSERVED = 1_999_990_000;

    /// By number; 0 is empty.
    Revealed[BATCHES + 1] internal sealedBatches;
    bytes[][BATCHES + 1] internal reports;
    bytes[][BATCHES + 1] internal readings;
    address[3] internal devices;
    uint256[3] internal keys;
    bytes32 internal keyX;
    bytes32 internal keyY;

    function _sealAll() internal {
        _deploy();
        _registerDevices();
        _activate(0, address(this));
        for (uint48 number = 1; number <= BATCHES; ++number) {
            _seal(number);
        }
    }

    /// Two of secp256k1 in the order of their ids, and the secure element at the end or the beginning.
    function _registerDevices() internal {
        (uint256 one, uint256 two) = (keyOf("device 1"), keyOf("device 2"));
        if (vm.addr(one) > vm.addr(two)) (one, two) = (two, one);
        (keys[0], keys[1], keys[2]) = (one, two, 0);
        (uint256 x, uint256 y) = vm.publicKeyP256(8);
        (keyX, keyY) = (bytes32(x), bytes32(y));
        (devices[0], devices[1]) = (vm.addr(one), vm.addr(two));
        devices[2] = address(uint160(uint256(keccak256(abi.encode(keyX, keyY)))));
        for (uint256 k = 2; k > 0 && devices[k] < devices[k - 1]; --k) {
            (devices[k], devices[k - 1], keys[k], keys[k - 1]) =
            (devices[k - 1], devices[k], keys[k - 1], keys[k]);
        }
        bytes32 typehash = keccak256("Activation(address device,address owner)");
        for (uint256 k = 0; k < 3; ++k) {
            bytes32 structHash = keccak256(abi.encode(typehash, devices[k], address(this)));
            bytes32 digest = keccak256(abi.encodePacked(hex"1901", registry.domainSeparator(), structHash));
            bool secure = keys[k] == 0;
            registry.register(
                devices[k],
                address(this),
                secure ? 2 : 1,
                secure ? keyX : bytes32(0),
                secure ? keyY : bytes32(0),
                _sign(k, digest)
            );
        }
    }

    function _sign(uint256 k, bytes32 digest) internal view returns (bytes memory) {
        if (keys[k] != 0) return signedCompact(keys[k], digest);
        (bytes32 r, bytes32 s) = vm.signP256(8, digest);
        uint256 low = uint256(s) > P256_ORDER / 2 ? P256_ORDER - uint256(s) : uint256(s);
        return abi.encodePacked(r, low);
    }

    function _seal(uint48 number) internal {
        for (uint256 k = 0; k < 3; ++k) {
            bytes memory observations;
            // The first device has one observation, the others have two: five readings, so that there is
            // padding.
            for (uint256 n = 0; n < (k == 0 ? 1 : 2); ++n) {
                (uint40 at_, int32 value) =
                    (OBSERVED + uint40(100 * number + n), int32(int256(7 * k + n)) - int32(uint32(number)));
                bytes memory head = abi.encodePacked(uint16(1), uint64(2));
                observations = abi.encodePacked(observations, head, at_, value);
                readings[number].push(abi.encodePacked(head, devices[k], at_, value, uint8(n == 0 ? 1 : 3)));
            }
            bytes memory signature = _sign(k, registry.hashReport(devices[k], number, observations));
            uint16 count = k == 0 ? 1 : 2;
            reports[number].push(abi.encodePacked(devices[k], uint64(number), count, observations, signature));
        }
        _commit(number);
    }

    function _commit(uint48 number) internal {
        uint48 ancestor = BatchHeaders.ancestorOf(number);
        sealedBatches[number].readingsRoot = _plain(readings[number], 3, 0);
        sealedBatches[number].header = BatchHeader(
            number,
            _commitment(number - 1),
            _commitment(ancestor),
            bytes26(keccak256(_node(number, 3, 0))),
            _plain(reports[number], 2, 0),
            keccak256("data"),
            keccak256("rules"),
            5,
            3,
            OBSERVED,
            OBSERVED + 1000
        );
        batches.commit(number, _commitment(number));
    }

    function _commitment(uint48 number) internal view returns (bytes26) {
        if (number == 0) return 0;
        Revealed memory batch = sealedBatches[number];
        return bytes26(keccak256(abi.encodePacked(batch.readingsRoot, keccak256(abi.encode(batch.header)))));
    }

    function _plain(bytes[] storage leaves, uint256 level, uint256 index) internal view returns (bytes26) {
        if (index << level >= leaves.length) return 0;
        if (level == 0) return bytes26(keccak256(leaves[index]));
        bytes26 left = _plain(leaves, level - 1, 2 * index);
        return bytes26(keccak256(abi.encodePacked(left, _plain(leaves, level - 1, 2 * index + 1))));
    }

    function _proof(bytes[] storage leaves, uint256 position) internal view returns (bytes26[] memory proof) {
        proof = new bytes26[](leaves.length == 3 ? 2 : 3);
        for (uint256 level = 0; level < proof.length; ++level) {
            proof[level] = _plain(leaves, level, (position >> level) ^ 1);
        }
    }

    function _value(bytes storage leaf) internal view returns (int32) {
        bytes4 packed = bytes4(abi.encodePacked(leaf[35], leaf[36], leaf[37], leaf[38]));
        return int32(uint32(packed));
    }

    /// A node of the statistics tree as it stands in its parent's preimage: 42 bytes.
    function _node(uint48 number, uint256 level, uint256 index) internal view returns (bytes memory) {
        bytes[] storage leaves = readings[number];
        if (index << level >= leaves.length) return new bytes(42);
        int64 sum = 0;
        (int32 low, int32 high) = (type(int32).max, type(int32).min);
        for (uint256 i = index << level; i < (index + 1) << level && i < leaves.length; ++i) {
            int32 value = _value(leaves[i]);
            sum += value;
            if (value < low) low = value;
            if (value > high) high = value;
        }
        bytes26 hash =
            level == 0 ? bytes26(keccak256(leaves[index])) : bytes26(keccak256(_pair(number, level, index)));
        return abi.encodePacked(hash, sum, low, high);
    }

    /// The two children of a node.
    function _pair(uint48 number, uint256 level, uint256 index) internal view returns (bytes memory) {
        return bytes.concat(_node(number, level - 1, 2 * index), _node(number, level - 1, 2 * index + 1));
    }

    /// From the top down so many pairs on the way to a position.
    function _path(uint48 number, uint256 position, uint256 pairs, uint32 index)
        internal
        view
        returns (bytes memory path)
    {
        path = abi.encodePacked(index, _node(number, 3, 0));
        for (uint256 step = 0; step < pairs; ++step) {
            path = bytes.concat(path, _pair(number, 3 - step, position >> (3 - step)));
        }
    }
}
