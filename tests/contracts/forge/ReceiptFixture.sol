// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { BatchFixture } from "./BatchFixture.sol";
import { BatchHeader, Place, Receipt, Revealed } from "../../../contracts/interfaces/BatchTypes.sol";
import { Demand, Evidence, Shown, Witness } from "../../../contracts/interfaces/IBatchChallenges.sol";

/// Lane 0 of this contract, whose gateway signs; a device on each curve with a slot, and one that a fleet lists. Frames are of
/// three reports, so that a way has padding; batches are of one.
abstract contract ReceiptFixture is BatchFixture {
    uint256 internal constant P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551;
    bytes32 internal constant DOMAIN =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 internal constant RECEIPT =
        keccak256("Receipt(uint16 lane,uint40 since,uint40 commitBy,bytes26 root,uint32 count)");
    uint256 internal constant GATEWAY = 12;
    uint256 internal constant SECURE = 8;
    uint40 internal constant PROMISE = 1 hours;
    uint256 internal constant FLEET_DEVICE = 2;

    address internal holder = makeAddr("holder");
    address internal gateway = vm.addr(GATEWAY);
    address[3] internal devices;
    uint256[3] internal keys;
    bytes32 internal keyX;
    bytes32 internal keyY;
    bytes26 internal fleet;

    function _start() internal {
        _deploy();
        (uint256 x, uint256 y) = vm.publicKeyP256(SECURE);
        (keyX, keyY) = (bytes32(x), bytes32(y));
        keys = [keyOf("device"), 0, keyOf("listed device")];
        devices = [vm.addr(keys[0]), address(uint160(uint256(keccak256(abi.encode(x, y))))), vm.addr(keys[2])];
        for (uint256 k = 0; k < 2; ++k) {
            bytes32 typehash = keccak256("Activation(address device,address owner)");
            bytes32 hash = keccak256(abi.encode(typehash, devices[k], address(this)));
            bytes32 digest = keccak256(abi.encodePacked(hex"1901", registry.domainSeparator(), hash));
            registry.register(devices[k], address(this), uint8(k + 1), keyX, keyY, _signAs(k, digest));
        }
        registry.setEnroller(address(this), true);
        fleet = registry.enrolFleet(address(this), 1, abi.encodePacked(devices[FLEET_DEVICE]));
        _activate(0, address(this));
        batches.nameReceiptSigner(0, gateway);
        token.mint(holder, 1000 * uint256(FEE));
        vm.prank(holder);
        token.approve(address(batches), type(uint256).max);
    }

    function _signAs(uint256 k, bytes32 digest) internal view returns (bytes memory) {
        if (keys[k] != 0) return signedCompact(keys[k], digest);
        (bytes32 r, bytes32 s) = vm.signP256(SECURE, digest);
        return abi.encodePacked(r, uint256(s) > P256_ORDER / 2 ? P256_ORDER - uint256(s) : uint256(s));
    }

    function _observations(int32 value) internal pure returns (bytes memory) {
        return abi.encodePacked(uint16(1), uint64(2), uint40(1_900_000_000), value);
    }

    function _report(uint256 k, uint64 sequence, int32 value) internal view returns (bytes memory) {
        bytes memory observations = _observations(value);
        bytes memory signature = _signAs(k, registry.hashReport(devices[k], sequence, observations));
        return abi.encodePacked(devices[k], sequence, uint16(1), observations, signature);
    }

    /// Its key where a signature does not tell it, and the fleet that lists it.
    function _who(uint256 k) internal view returns (bytes memory) {
        if (k == 1) return abi.encodePacked(keyX, keyY);
        if (k == FLEET_DEVICE) return abi.encodePacked(new bytes(64), fleet, uint16(0), new bytes(60));
        return "";
    }

    // --------------------------------------------------------------------------------------------- receipts

    function _since(uint16 lane) internal view returns (uint40) {
        return batches.bondOf(lane).since;
    }

    function _pair(bytes26 left, bytes26 right) internal pure returns (bytes26) {
        return bytes26(keccak256(abi.encodePacked(left, right)));
    }

    /// A frame of the report at position 2, behind two others.
    function _frame(bytes memory report) internal pure returns (bytes26 root, Shown memory shown) {
        bytes26 others = _pair(bytes26(keccak256("one")), bytes26(keccak256("two")));
        bytes26 leaf = bytes26(keccak256(report));
        shown = Shown(2, report, new bytes26[](2));
        shown.proof[1] = others;
        root = _pair(others, _pair(leaf, 0));
    }

    function _promised(bytes memory report, uint40 commitBy)
        internal
        view
        returns (Receipt memory receipt, Evidence memory evidence)
    {
        evidence.shown = new Shown[](1);
        bytes26 root;
        (root, evidence.shown[0]) = _frame(report);
        receipt = Receipt(0, _since(0), commitBy, root, 3);
    }

    function _receiptDigest(Receipt memory receipt) internal view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(DOMAIN, keccak256("CoreChain"), keccak256("1"), block.chainid, address(batches))
        );
        return keccak256(abi.encodePacked(hex"1901", domain, keccak256(abi.encode(RECEIPT, receipt))));
    }

    function _signedBy(uint256 key, Receipt memory receipt) internal view returns (bytes memory) {
        return signedCompact(key, _receiptDigest(receipt));
    }

    function _bondWord(uint16 lane, uint40 since) internal pure returns (bytes26) {
        return bytes26(abi.encodePacked(lane, since, bytes19(0)));
    }

    function _subject(uint256 k, uint64 sequence) internal view returns (bytes32) {
        return bytes32(uint256(uint160(devices[k])) << 64 | sequence);
    }

    function _idOf(uint16 lane, uint40 since, bytes32 subject) internal pure returns (bytes32) {
        return keccak256(abi.encode(Demand.Receipt, uint48(lane) << 32, _bondWord(lane, since), subject));
    }

    function _demandAs(uint256 key, Receipt memory receipt, Evidence memory evidence)
        internal
        returns (bytes32)
    {
        bytes memory signature = _signedBy(key, receipt);
        vm.prank(holder);
        return batches.demandReceipt(receipt, signature, evidence);
    }

    // ---------------------------------------------------------------------------------------------- answers

    /// A batch of this one report, committed on a lane of this contract's.
    function _include(uint48 batchId, bytes memory report) internal returns (Revealed memory batch) {
        batch.readingsRoot = bytes26(keccak256("a reading"));
        batch.header = BatchHeader(batchId, 0, 0, 0, bytes26(keccak256(report)), 0, 0, 1, 1, 0, 0);
        batches.commit(batchId, _commitmentOf(batch));
    }

    function _commitmentOf(Revealed memory batch) internal pure returns (bytes26) {
        return bytes26(keccak256(abi.encodePacked(batch.readingsRoot, keccak256(abi.encode(batch.header)))));
    }

    function _inclusion(Revealed memory batch, Place memory place, bytes memory report, bytes memory key)
        internal
        pure
        returns (Evidence memory evidence)
    {
        evidence.shown = new Shown[](1);
        evidence.shown[0] = Shown(0, report, new bytes26[](0));
        evidence.witnesses = new Witness[](1);
        evidence.witnesses[0] = Witness(batch.header.batchId, batch, place);
        evidence.extra = key;
    }

    function _answer(uint40 since, bytes32 subject, Evidence memory evidence) internal {
        batches.answer(Demand.Receipt, 0, _bondWord(0, since), subject, evidence);
    }
}
