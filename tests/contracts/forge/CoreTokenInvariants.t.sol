// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "./Base.sol";
import { CoreToken } from "../../../contracts/CoreToken.sol";

/// Proposes, vetoes, waits, claims and gives; a root may promise more than its epoch emits. Keeps its own books.
contract RewardsHandler is Test {
    uint128 internal constant CAP = 1.5e20;
    CoreToken public token;
    address[3] public owners = [address(0xA1), address(0xA2), address(0xA3)];
    /// What the newest root that counts says, and the one that waits.
    uint128[3] public earned;
    uint128[3] internal _waiting;
    uint256 public emitted;
    uint256 internal _emission;
    uint40 internal _activeAt;
    uint32 internal _epoch;
    uint256 internal _now = 1_700_000_000;
    bool public cheated;

    constructor() {
        vm.warp(_now);
        token = new CoreToken(address(this), address(this), address(this), 1 days, CAP, 0, address(9), 1e24);
    }

    function _leaf(uint256 i, uint128 cumulative) internal view returns (bytes26) {
        return bytes26(keccak256(abi.encode(keccak256(abi.encodePacked(owners[i], cumulative)))));
    }

    function _pair(bytes26 left, bytes26 right) internal pure returns (bytes26) {
        return bytes26(keccak256(abi.encodePacked(left, right)));
    }

    function propose(uint128 a, uint128 b, uint128 c, uint128 missing) external {
        _ripen();
        if (_activeAt != 0) return;
        (a, b, c) = (uint128(bound(a, 0, 1e20)), uint128(bound(b, 0, 1e20)), uint128(bound(c, 0, 1e20)));
        _waiting = [earned[0] + a, earned[1] + b, earned[2] + c];
        // Half of the roots promise more than an epoch may emit.
        _emission = bound(missing, 0, CAP);
        bytes26 left = _pair(_leaf(0, _waiting[0]), _leaf(1, _waiting[1]));
        bytes26 root = _pair(left, _pair(_leaf(2, _waiting[2]), 0));
        token.proposeRoot(_epoch + 1, root, _epoch + 1, uint128(_emission));
        _activeAt = uint40(_now) + 1 days;
    }

    function veto() external {
        _ripen();
        if (_activeAt == 0) return;
        token.veto(_epoch + 1);
        _activeAt = 0;
    }

    function wait(uint256 seconds_) external {
        _now += bound(seconds_, 1, 1 days);
        vm.warp(_now);
    }

    function claim(uint256 who) external {
        _ripen();
        uint256 i = who % 3;
        bool pays = earned[i] > token.claimedOf(owners[i])
            && token.totalSupply() - 1e24 + earned[i] - token.claimedOf(owners[i]) <= emitted;
        try token.claim(owners[i], earned[i], uint32(i), _proof(i)) {
            if (!pays) cheated = true;
        } catch {
            if (pays) cheated = true;
        }
    }

    function claimWithAnothersProof(uint256 who, uint256 as_, uint128 amount) external {
        _ripen();
        (uint256 i, uint256 j) = (who % 3, as_ % 3);
        amount = uint128(bound(amount, 0, 1e21));
        if (i == j && amount == earned[i]) return;
        try token.claim(owners[i], amount, uint32(j), _proof(j)) {
            cheated = true;
        } catch { }
    }

    function give(uint256 from, uint256 to, uint256 amount) external {
        address sender = owners[from % 3];
        amount = bound(amount, 0, token.balanceOf(sender));
        vm.prank(sender);
        assertTrue(token.transfer(owners[to % 3], amount));
    }

    function _ripen() internal {
        if (_activeAt == 0 || _now < _activeAt) return;
        earned = _waiting;
        emitted += CAP;
        ++_epoch;
        _activeAt = 0;
    }

    function _proof(uint256 i) internal view returns (bytes26[] memory proof) {
        proof = new bytes26[](2);
        proof[0] = i == 0 ? _leaf(1, earned[1]) : i == 1 ? _leaf(0, earned[0]) : bytes26(0);
        proof[1] = i == 2 ? _pair(_leaf(0, earned[0]), _leaf(1, earned[1])) : _pair(_leaf(2, earned[2]), 0);
    }
}

contract CoreTokenInvariants is Test {
    RewardsHandler internal handler;

    function setUp() public {
        handler = new RewardsHandler();
        _target(address(handler));
    }

    /// What was minted beyond the first supply was emitted by some epoch.
    function invariant_minted_is_never_more_than_emitted() public view {
        assertTrue(handler.token().totalSupply() - 1e24 <= handler.emitted());
    }

    /// A claim pays exactly when a root that counts says so and its epochs have emitted enough.
    function invariant_claims_pay_what_is_proven_and_nothing_else() public view {
        assertFalse(handler.cheated());
    }

    /// Nobody has claimed more than it has earned.
    function invariant_a_claim_never_pays_twice() public view {
        for (uint256 i = 0; i < 3; ++i) {
            assertTrue(handler.token().claimedOf(handler.owners(i)) <= handler.earned(i));
        }
    }

    /// Balances add up to the supply.
    function invariant_balances_add_up() public view {
        CoreToken token = handler.token();
        uint256 total = token.balanceOf(address(9));
        for (uint256 i = 0; i < 3; ++i) {
            total += token.balanceOf(handler.owners(i));
        }
        assertEq(total, token.totalSupply());
    }
}
