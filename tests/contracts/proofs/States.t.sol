// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Cheats, PlainToken } from "./Stage.sol";
import { StateChannels } from "../../../contracts/StateChannels.sol";
import { IStateChannels } from "../../../contracts/interfaces/IStateChannels.sol";
import { Channel, ChannelWord } from "../../../contracts/libraries/ChannelWord.sol";

/// For any channel whose deposit covers party A's balance, and any call that anybody makes at any time:
///   ├── a state stands only if both agree (who sends it, or has signed it), and is newer
///   ├── it stays covered, and the deposit stays what it was
///   └── a payout comes after the challenge or with both agreeing, and is the deposit, by the word
contract StateProofs {
    using ChannelWord for Channel;

    Cheats private constant vm = Cheats(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint256 private constant HALF = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;
    address private constant A = address(0xA1);
    address private constant B = address(0xB1);
    uint256 private constant CHANNELS_SLOT = 2;
    bytes32 private constant DOMAIN =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

    StateChannels private channels = new StateChannels(address(0));
    PlainToken private token = new PlainToken();

    struct Case {
        Channel word;
        uint32 time;
        uint32 period;
        uint40 openBefore;
        address sender;
        uint40 version;
        uint88 balance;
        bytes32[2] r;
        uint256[2] vs;
    }

    function _terms(Case calldata c) private view returns (IStateChannels.Terms memory) {
        return IStateChannels.Terms(A, B, address(token), c.period, c.openBefore, 0);
    }

    function _id(Case calldata c) private view returns (bytes32) {
        return keccak256(
            abi.encodePacked(
                block.chainid, address(channels), A, B, address(token), c.period, c.openBefore, bytes5(0)
            )
        );
    }

    /// Where its word lies: the mapping's slot comes after guardian, candidate and pause.
    function _slot(Case calldata c) private view returns (bytes32) {
        return keccak256(abi.encode(_id(c), CHANNELS_SLOT));
    }

    function _state(Case calldata c) private pure returns (IStateChannels.SignedState memory) {
        bytes memory one = abi.encodePacked(c.r[0], c.vs[0]);
        return IStateChannels.SignedState(c.version, c.balance, one, abi.encodePacked(c.r[1], c.vs[1]));
    }

    function _after(Case calldata c) private view returns (Channel) {
        return Channel.wrap(uint256(vm.load(address(channels), _slot(c))));
    }

    /// Whether there is such a channel; its tokens are there then.
    function _begin(Case calldata c) private returns (bool) {
        if (c.word.deposit() == 0 || c.word.balanceA() > c.word.deposit() || c.period == 0) return false;
        vm.warp(c.time);
        vm.store(address(channels), _slot(c), bytes32(Channel.unwrap(c.word)));
        token.mint(address(channels), c.word.deposit());
        vm.prank(c.sender);
        return true;
    }

    function _agrees(Case calldata c, uint256 side, bytes32 structHash) private view returns (bool) {
        address party = side == 0 ? A : B;
        bytes32 name = keccak256("CoreChain State Channels");
        bytes32 domain =
            keccak256(abi.encode(DOMAIN, name, keccak256("1"), block.chainid, address(channels)));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", domain, structHash));
        uint256 s = c.vs[side] << 1 >> 1;
        address found = ecrecover(digest, uint8(27 + (c.vs[side] >> 255)), c.r[side], bytes32(s));
        return c.sender == party || (s <= HALF && found == party);
    }

    function _bothAgreeToState(Case calldata c) private view returns (bool) {
        bytes32 kind = keccak256("ChannelState(bytes32 channelId,uint40 version,uint88 balanceA)");
        bytes32 structHash = keccak256(abi.encode(kind, _id(c), c.version, c.balance));
        return _agrees(c, 0, structHash) && _agrees(c, 1, structHash);
    }

    function _bothAgreeToClose(Case calldata c) private view returns (bool) {
        bytes32 kind = keccak256("ChannelClose(bytes32 channelId,uint88 balanceA)");
        bytes32 structHash = keccak256(abi.encode(kind, _id(c), c.balance));
        return _agrees(c, 0, structHash) && _agrees(c, 1, structHash);
    }

    function _isPaid(Case calldata c, uint256 paidA) private view {
        assert(token.balanceOf(A) == paidA);
        assert(token.balanceOf(B) == c.word.deposit() - paidA);
        assert(token.balanceOf(address(channels)) == 0);
        bool forGood = c.time > c.openBefore;
        Channel closed = ChannelWord.pack(0, 0, forGood ? 0 : ChannelWord.CLOSED, 0);
        assert(Channel.unwrap(_after(c)) == Channel.unwrap(closed));
    }

    function _isUntouched(Case calldata c) private view {
        assert(Channel.unwrap(_after(c)) == Channel.unwrap(c.word));
        assert(token.balanceOf(address(channels)) == c.word.deposit());
    }

    function _stands(Case calldata c, uint256 deadline) private view {
        Channel found = _after(c);
        assert(found.deposit() == c.word.deposit() && found.balanceA() == c.balance);
        assert(found.balanceA() <= found.deposit());
        assert(found.version() == c.version && found.deadline() == deadline);
        assert(token.balanceOf(address(channels)) == c.word.deposit());
    }

    function check_a_challenge(Case calldata c) public {
        if (!_begin(c)) return;
        try channels.challenge(_terms(c), _state(c)) {
            assert(c.word.deadline() == 0);
            bool standing = c.version == c.word.version() && c.balance == c.word.balanceA();
            if (standing) assert(c.sender == A || c.sender == B);
            else assert(c.version > c.word.version() && _bothAgreeToState(c));
            _stands(c, uint256(c.time) + c.period);
        } catch {
            _isUntouched(c);
        }
    }

    function check_a_response(Case calldata c) public {
        if (!_begin(c)) return;
        try channels.respond(_terms(c), _state(c)) {
            assert(c.time < c.word.deadline());
            assert(c.version > c.word.version() && _bothAgreeToState(c));
            _stands(c, c.word.deadline());
        } catch {
            _isUntouched(c);
        }
    }

    function check_a_final_payout(Case calldata c) public {
        if (!_begin(c)) return;
        bool due = c.word.deadline() != 0 && c.time >= c.word.deadline();
        try channels.finalise(_terms(c)) {
            assert(due);
            _isPaid(c, c.word.balanceA());
        } catch {
            assert(!due);
            _isUntouched(c);
        }
    }

    function check_a_close(Case calldata c) public {
        if (!_begin(c)) return;
        IStateChannels.SignedState memory state = _state(c);
        try channels.close(_terms(c), c.balance, state.signatureA, state.signatureB) {
            assert(_bothAgreeToClose(c) && c.balance <= c.word.deposit());
            _isPaid(c, c.balance);
        } catch {
            assert(!_bothAgreeToClose(c) || c.balance > c.word.deposit());
            _isUntouched(c);
        }
    }
}
