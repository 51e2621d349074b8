// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { BatchFixture } from "./BatchFixture.sol";
import { BatchHeader, Place, Revealed } from "../../../contracts/interfaces/BatchTypes.sol";
import { InvalidProof } from "../../../contracts/libraries/PositionalTree.sol";

/// given a lane with 10,000 batches, of which the ring holds the last 8,192
///   ├── every older batch is proven from any newer one, by O(log n) headers
///   ├── another commitment, another batch, a missing or a wrong header is refused
///   └── the first header must stand on chain
contract ArchiveTest is BatchFixture {
    uint256 internal constant LAST = 10_000;
    bytes26[] internal commitments;
    uint256[] internal jumps;

    function setUp() public {
        _deploy();
        _activate(0, address(this));
        commitments.push(0);
        jumps.push(0);
        for (uint256 number = 1; number <= LAST; ++number) {
            if (number == RING) vm.warp(START + WINDOW + 1);
            _learnJump(number);
            commitments.push(_commitment(_revealed(number)));
            batches.commit(uint48(number), commitments[number]);
        }
    }

    /// Myers' own rule, step by step: the oracle of the closed form.
    function _learnJump(uint256 number) internal {
        uint256 before = number - 1;
        bool even = before - jumps[before] == jumps[before] - jumps[jumps[before]];
        jumps.push(even ? jumps[jumps[before]] : before);
    }

    function _revealed(uint256 number) internal view returns (Revealed memory batch) {
        batch.header.batchId = uint48(number);
        batch.header.previous = commitments[number - 1];
        batch.header.ancestor = commitments[jumps[number]];
        batch.header.dataHash = keccak256(abi.encode(number));
        batch.readingsRoot = bytes26(keccak256(abi.encode("readings", number)));
    }

    function _commitment(Revealed memory batch) internal pure returns (bytes26) {
        bytes32 rest = keccak256(abi.encode(batch.header));
        return bytes26(keccak256(abi.encodePacked(batch.readingsRoot, rest)));
    }

    /// The headers that lead back: by the ancestor when it is not behind the target, else by the one before.
    function _trail(uint256 from, uint256 target) internal view returns (Revealed[] memory links) {
        Revealed[] memory all = new Revealed[](64);
        uint256 count;
        for (uint256 number = from; number != target; ++count) {
            all[count] = _revealed(number);
            number = jumps[number] >= target ? jumps[number] : number - 1;
        }
        links = new Revealed[](count);
        for (uint256 i = 0; i < count; ++i) {
            links[i] = all[i];
        }
    }

    function test_an_old_batch_is_proven_from_any_newer_one(uint16 old, uint16 newer) public view {
        uint256 target = bound(old, 1, LAST - RING);
        uint256 from = bound(newer, LAST - RING + 1, LAST);
        Revealed[] memory links = _trail(from, target);
        assertTrue(links.length <= 40, "headers grow with the logarithm");
        batches.requireArchived(uint48(target), commitments[target], _place(uint48(from)), links);
    }

    function test_what_is_not_its_commitment_is_refused(uint16 old, bytes26 other) public {
        uint256 target = bound(old, 1, LAST - RING);
        vm.assume(other != commitments[target]);
        Revealed[] memory links = _trail(LAST, target);
        vm.expectRevert(InvalidProof.selector);
        batches.requireArchived(uint48(target), other, _place(uint48(LAST)), links);
        vm.expectRevert(InvalidProof.selector);
        batches.requireArchived(uint48(target + 1), commitments[target], _place(uint48(LAST)), links);
    }

    function test_a_changed_header_leads_nowhere(uint16 old, uint8 which, bytes26 forged) public {
        uint256 target = bound(old, 1, LAST - RING);
        Revealed[] memory links = _trail(LAST, target);
        uint256 i = which % links.length;
        vm.assume(forged != links[i].header.ancestor);
        links[i].header.ancestor = forged;
        links[i].header.previous = forged;
        vm.expectRevert(InvalidProof.selector);
        batches.requireArchived(uint48(target), forged, _place(uint48(LAST)), links);
    }

    function test_a_header_that_is_left_out_is_missed(uint16 old, uint8 which) public {
        uint256 target = bound(old, 1, LAST - RING);
        Revealed[] memory links = _trail(LAST, target);
        Revealed[] memory fewer = new Revealed[](links.length - 1);
        uint256 gap = which % links.length;
        for (uint256 i = 0; i < fewer.length; ++i) {
            fewer[i] = links[i < gap ? i : i + 1];
        }
        vm.expectRevert();
        batches.requireArchived(uint48(target), commitments[target], _place(uint48(LAST)), fewer);
    }

    function test_the_first_header_must_stand_on_chain(uint16 old) public {
        uint256 target = bound(old, 1, LAST - RING - 1);
        // The batch behind the target has left the ring itself.
        Revealed[] memory links = _trail(target + 1, target);
        vm.expectRevert();
        batches.requireArchived(uint48(target), commitments[target], _place(uint48(target + 1)), links);
    }

    function test_a_trail_does_not_leave_its_lane() public {
        Revealed[] memory links = _trail(LAST, 1);
        vm.expectRevert(InvalidProof.selector);
        batches.requireArchived(_in(1, 1), commitments[1], _place(uint48(LAST)), links);
        vm.expectRevert(InvalidProof.selector);
        batches.requireArchived(0, 0, _place(uint48(LAST)), links);
    }
}
