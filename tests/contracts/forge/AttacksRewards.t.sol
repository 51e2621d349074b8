// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "./Base.sol";
import { CoreToken } from "../../../contracts/CoreToken.sol";
import { PaymentChannels } from "../../../contracts/PaymentChannels.sol";
import { ICoreToken } from "../../../contracts/interfaces/ICoreToken.sol";
import { IPaymentChannels } from "../../../contracts/interfaces/IPaymentChannels.sol";
import { InvalidProof } from "../../../contracts/libraries/PositionalTree.sol";
import { InvalidSignature } from "../../../contracts/libraries/Signatures.sol";
import { TokenTypes } from "../../../contracts/libraries/TokenTypes.sol";

/// A contract that calls itself channels. While it draws a reward it claims another owner's into itself.
contract NestedChannels {
    CoreToken internal immutable _token;
    bool internal immutable _drawsFirst;
    bytes internal _next;

    constructor(CoreToken token, bool drawsFirst) {
        (_token, _drawsFirst) = (token, drawsFirst);
    }

    function plan(bytes calldata next) external {
        _next = next;
    }

    function open(IPaymentChannels.ChannelConfig calldata, uint128 amount) external {
        bytes memory next = _next;
        delete _next;
        bool nests = next.length > 0;
        if (!nests || _drawsFirst) _draw(amount);
        if (!nests) return;
        (bool success,) = address(_token).call(next);
        assert(success);
        // Whatever is still allowed, and more.
        if (!_drawsFirst) _draw(amount);
    }

    function _draw(uint128 amount) internal {
        assert(_token.transferFrom(msg.sender, address(this), amount));
    }
}

/// given a tree of three shares
///   └── its last leaf cannot be shown a second time, nor is a tree with a doubled leaf the same
/// given a claim that somebody else sends
///   └── the reward is the owner's, and nobody gets it twice by coming back in the middle
/// given the second in which a root becomes active
///   └── it pays, and no veto helps
contract AttacksRewardsTest is Test {
    uint40 internal constant WINDOW = 1 days;
    uint256 internal constant START = 1_700_000_000;
    CoreToken internal token;
    address[3] internal owners = [makeAddr("first owner"), makeAddr("second owner"), makeAddr("third owner")];
    uint128[3] internal shares = [uint128(100), 200, 300];

    function setUp() public {
        vm.warp(START);
        token = new CoreToken(address(this), address(this), address(this), WINDOW, 1e24, 0, address(9), 1e24);
    }

    function _leaf(uint256 i) internal view returns (bytes26) {
        return bytes26(keccak256(abi.encode(keccak256(abi.encodePacked(owners[i], shares[i])))));
    }

    function _pair(bytes26 left, bytes26 right) internal pure returns (bytes26) {
        return bytes26(keccak256(abi.encodePacked(left, right)));
    }

    /// Three leaves; the fourth place is the zero node, or what is given.
    function _root(bytes26 fourth) internal view returns (bytes26) {
        return _pair(_pair(_leaf(0), _leaf(1)), _pair(_leaf(2), fourth));
    }

    function _activate(bytes26 root) internal {
        token.proposeRoot(1, root, 1, 1e24);
        vm.warp(START + WINDOW);
    }

    function _proof(uint256 position) internal view returns (bytes26[] memory proof) {
        proof = new bytes26[](2);
        proof[0] = position == 2 ? bytes26(0) : _leaf(position == 3 ? 2 : 1 - position);
        proof[1] = position < 2 ? _pair(_leaf(2), 0) : _pair(_leaf(0), _leaf(1));
    }

    // ------------------------------------------------------------------------------------------------- trees

    /// CVE-2012-2459: where an odd leaf is paired with itself, three leaves and four with the last one
    /// doubled have one root.
    function test_a_doubled_last_share_is_another_tree() public {
        assertTrue(_root(0) != _root(_leaf(2)));
        _activate(_root(0));
        bytes26[] memory proof = _proof(3);
        vm.expectRevert(InvalidProof.selector);
        token.claim(owners[2], shares[2], 3, proof);
        token.claim(owners[2], shares[2], 2, _proof(2));
        assertEq(token.balanceOf(owners[2]), shares[2]);
    }

    function test_a_share_that_stands_twice_in_a_tree_pays_once() public {
        _activate(_root(_leaf(2)));
        bytes26[] memory proof = _proof(3);
        token.claim(owners[2], shares[2], 3, proof);
        proof[0] = _leaf(2);
        vm.expectRevert(abi.encodeWithSelector(ICoreToken.NothingToClaim.selector, shares[2], shares[2]));
        token.claim(owners[2], shares[2], 2, proof);
        ICoreToken.Claim[] memory rows = new ICoreToken.Claim[](1);
        rows[0] = ICoreToken.Claim(owners[2], shares[2], 2, proof);
        assertEq(token.claimMany(rows, 0), 0);
    }

    function test_padding_is_nobodys_share(address owner, uint128 amount) public {
        amount = uint128(bound(amount, 1, 1e24));
        _activate(_root(0));
        bytes26[] memory proof = _proof(3);
        vm.expectRevert(InvalidProof.selector);
        token.claim(owner, amount, 3, proof);
    }

    /// The leaf is 20 ‖ 16 bytes: bytes that move from the owner to the amount make another one.
    function test_bytes_that_move_between_owner_and_amount_claim_nothing(uint8 shift) public {
        uint256 bits = 8 * bound(shift, 1, 35);
        uint256 leaf = uint256(uint160(owners[0])) << 128 | shares[0];
        uint256 moved = (leaf << bits | leaf >> (288 - bits)) & type(uint256).max;
        (address owner, uint128 amount) = (address(uint160(moved >> 128)), uint128(moved));
        vm.assume(amount > 0);
        _activate(_root(0));
        bytes26[] memory proof = _proof(0);
        vm.expectRevert(InvalidProof.selector);
        token.claim(owner, amount, 0, proof);
    }

    // ----------------------------------------------------------------------------------------- to the second

    function test_in_the_second_in_which_a_root_becomes_active_it_pays_and_no_veto_helps(bool late) public {
        token.proposeRoot(1, _root(0), 1, 1e24);
        bytes26[] memory proof = _proof(0);
        vm.warp(START + WINDOW - (late ? 0 : 1));
        vm.expectRevert(late ? ICoreToken.NothingToVeto.selector : InvalidProof.selector);
        if (late) token.veto(1);
        else token.claim(owners[0], shares[0], 0, proof);
        if (late) token.claim(owners[0], shares[0], 0, proof);
        else token.veto(1);
        assertEq(token.balanceOf(owners[0]), late ? shares[0] : 0);
    }

    // ---------------------------------------------------------------------------------- claims into channels

    function _config(uint256 i) internal view returns (IPaymentChannels.ChannelConfig memory) {
        address seller = makeAddr("seller");
        return IPaymentChannels.ChannelConfig(owners[i], owners[i], seller, seller, address(token), 900, 0);
    }

    /// The call that a relayer sends for an owner who has consented to this place.
    function _intoChannel(uint256 i, string memory name, address place) internal view returns (bytes memory) {
        IPaymentChannels.ChannelConfig memory config = _config(i);
        bytes32 terms = keccak256(abi.encode(config));
        bytes32 structHash =
            keccak256(abi.encode(TokenTypes.CLAIM_INTO_CHANNEL, owners[i], shares[i], place, terms));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), structHash));
        bytes memory consent = signed(keyOf(name), digest);
        return abi.encodeCall(
            CoreToken.claimIntoChannel, (shares[i], uint32(i), _proof(i), place, config, consent)
        );
    }

    /// A channel contract to which both owners consented, and which claims for the second while it is
    /// called for the first.
    function test_channels_that_claim_again_in_the_middle_get_no_more_than_the_rewards(bool drawsFirst)
        public
    {
        _activate(_root(0));
        NestedChannels nested = new NestedChannels(token, drawsFirst);
        nested.plan(_intoChannel(1, "second owner", address(nested)));
        (bool success,) = address(token).call(_intoChannel(0, "first owner", address(nested)));
        // In the other order the second allowance took the place of the first, which can no longer be drawn.
        assertTrue(success == drawsFirst);
        assertEq(token.balanceOf(address(nested)), drawsFirst ? shares[0] + shares[1] : 0);
        assertEq(token.claimedOf(owners[0]), drawsFirst ? shares[0] : 0);
        assertEq(token.totalSupply(), 1e24 + (drawsFirst ? shares[0] + shares[1] : 0));
        assertEq(token.allowance(address(token), address(nested)), 0);
    }

    function test_channels_cannot_draw_the_reward_of_an_owner_who_trusts_others() public {
        _activate(_root(0));
        PaymentChannels honest = new PaymentChannels(address(0));
        NestedChannels nested = new NestedChannels(token, true);
        nested.plan(_intoChannel(1, "second owner", address(honest)));
        (bool success,) = address(token).call(_intoChannel(0, "first owner", address(nested)));
        assertTrue(success);
        assertEq(token.balanceOf(address(nested)), shares[0]);
        (uint128 balance,) = honest.channels(honest.getChannelId(_config(1)));
        assertEq(balance, shares[1]);
        nested.plan(_intoChannel(2, "first owner", address(nested)));
        (success,) = address(token).call(_intoChannel(2, "first owner", address(nested)));
        assertFalse(success); // signed by somebody else
    }

    function test_who_claims_before_the_relayer_only_saves_the_owner_the_channel() public {
        _activate(_root(0));
        PaymentChannels channels = new PaymentChannels(address(0));
        bytes memory call_ = _intoChannel(0, "first owner", address(channels));
        token.claim(owners[0], shares[0], 0, _proof(0));
        (bool success, bytes memory answer) = address(token).call(call_);
        assertFalse(success);
        assertEq(bytes32(bytes4(answer)), bytes32(ICoreToken.NothingToClaim.selector));
        assertEq(token.balanceOf(owners[0]), shares[0]);
    }

    function test_ether_and_tokens_that_are_forced_in_mint_nothing(uint96 gift) public {
        gift = uint96(bound(gift, 0, 1e24));
        _activate(_root(0));
        vm.deal(address(token), gift);
        vm.prank(address(9));
        assertTrue(token.transfer(address(token), gift));
        PaymentChannels channels = new PaymentChannels(address(0));
        (bool success,) = address(token).call(_intoChannel(0, "first owner", address(channels)));
        assertTrue(success);
        assertEq(token.balanceOf(address(channels)), shares[0]);
        assertEq(token.balanceOf(address(token)), gift);
    }

    function test_a_consent_is_of_the_owner_whose_reward_it_is() public {
        _activate(_root(0));
        bytes memory call_ = _intoChannel(0, "thief", makeAddr("thief"));
        (bool success, bytes memory answer) = address(token).call(call_);
        assertFalse(success);
        assertEq(bytes32(bytes4(answer)), bytes32(InvalidSignature.selector));
    }
}
