// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { SignedToken } from "./SignedToken.sol";
import { TokenRoles } from "./TokenRoles.sol";
import { ICoreToken } from "./interfaces/ICoreToken.sol";
import { IPaymentChannels } from "./interfaces/IPaymentChannels.sol";
import { Eip712 } from "./libraries/Eip712.sol";
import { InvalidProof, PositionalTree } from "./libraries/PositionalTree.sol";
import { RewardRoot, RewardRoots } from "./libraries/RewardRoots.sol";
import { Signatures } from "./libraries/Signatures.sol";
import { TokenTypes } from "./libraries/TokenTypes.sol";

/// @title CORE
contract CoreToken is SignedToken, TokenRoles {
    using RewardRoots for RewardRoot;

    uint16 private constant MAX_FEE_BPS = 100;
    /// @dev Without a window all epochs could be proposed at once; a longer one might not fit into its 32 bits.
    uint40 private constant MAX_WINDOW = 365 days;
    uint256 private constant BPS = 10_000;
    /// @dev Bytes of a packed proposal.
    uint256 private constant PROPOSAL = 52;

    /// @dev What many claims have come to so far. `budget` is what may still be minted.
    struct Tally {
        bytes26 root;
        uint256 budget;
        uint128 minimum;
        uint256 minted;
        uint256 fees;
        uint256 paid;
    }

    /// @notice Length of the window in which a root can be vetoed, seconds.
    uint40 public immutable disputeWindow;
    /// @notice What each epoch adds to what may be minted, base units.
    uint128 public immutable emissionCap;
    /// @notice What the sender of `claimMany` gets of each claim, hundredths of a percent, at most 100.
    uint16 public immutable relayFeeBps;
    uint256 private immutable _initialSupply;
    /// @dev Proposes until the role goes over; both roots then say so, and the slot says to whom. A slot less to read for a root.
    address private immutable _firstProposer;

    /// @dev Roots of odd and of even epochs: the one that waits never takes the place of the one that counts.
    RewardRoot[2] private _roots;

    constructor(
        address firstAdmin,
        address firstProposer,
        address firstGuardian,
        uint40 windowSeconds,
        uint128 capPerEpoch,
        uint16 feeBps,
        address treasury,
        uint128 initialSupply
    ) {
        if (feeBps > MAX_FEE_BPS) revert FeeOverLimit(feeBps);
        if (windowSeconds == 0 || windowSeconds > MAX_WINDOW) revert WindowOutOfRange(windowSeconds);
        (disputeWindow, emissionCap, relayFeeBps) = (windowSeconds, capPerEpoch, feeBps);
        // slither-disable-next-line missing-zero-check (nobody is allowed: see below)
        (_initialSupply, _firstProposer) = (initialSupply, firstProposer);
        // A role that is the zero address is a role that nobody holds: allowed, and visible in the events.
        _setHolder(Role.Admin, firstAdmin);
        _setHolder(Role.Proposer, firstProposer);
        _setHolder(Role.Guardian, firstGuardian);
        _mint(treasury, initialSupply);
    }

    /// @inheritdoc ICoreToken
    function proposeRoot(uint32 epoch, bytes26 root, uint64 throughBlock, uint128 emission) external {
        _propose(epoch, root, throughBlock, emission);
    }

    /// @inheritdoc ICoreToken
    function proposeInBrief() external {
        if (msg.data.length != 4 + PROPOSAL) revert MalformedProposal(msg.data.length - 4);
        uint32 epoch;
        bytes26 root;
        uint64 throughBlock;
        uint128 emission;
        assembly ("memory-safe") {
            epoch := shr(240, calldataload(4))
            root := shl(48, shr(48, calldataload(6)))
            throughBlock := shr(192, calldataload(32))
            emission := shr(128, calldataload(40))
        }
        _propose(epoch, root, throughBlock, emission);
    }

    /// @inheritdoc ICoreToken
    function veto(uint32 epoch) external {
        _requireHolder(Role.Guardian);
        RewardRoot root = _rootOf(epoch);
        if (!root.isWaiting() || root.epoch() != epoch) revert NothingToVeto();
        _setRoot(epoch, root.emptied());
        emit RootVetoed(epoch);
    }

    /// @inheritdoc ICoreToken
    function claim(address owner, uint128 cumulative, uint32 position, bytes26[] calldata proof) external {
        uint128 amount = _settle(owner, cumulative, position, proof);
        _accounts[owner].balance += amount;
        emit Transfer(address(0), owner, amount);
    }

    /// @inheritdoc ICoreToken
    function claimMany(Claim[] calldata claims, uint128 minimum) external returns (uint256 paid) {
        RewardRoot root = _newest();
        Tally memory tally = Tally(root.root(), _budget(root), minimum, 0, 0, 0);
        for (uint256 i = 0; i < claims.length; ++i) {
            _claimRow(claims[i], tally);
        }
        return _finish(tally);
    }

    /// @inheritdoc ICoreToken
    function claimIntoChannel(
        uint128 cumulative,
        uint32 position,
        bytes26[] calldata proof,
        address channels,
        IPaymentChannels.ChannelConfig calldata config,
        bytes calldata signature
    ) external {
        // Checks
        address owner = config.payer;
        if (msg.sender != owner) {
            bytes32 structHash = keccak256(
                abi.encode(
                    TokenTypes.CLAIM_INTO_CHANNEL, owner, cumulative, channels, keccak256(abi.encode(config))
                )
            );
            Signatures.requireAccount(owner, Eip712.digest(NAME_HASH, structHash), signature);
        }

        // Effects
        uint128 amount = _settle(owner, cumulative, position, proof);
        _accounts[address(this)].balance += amount;
        emit Transfer(address(0), address(this), amount);

        // Interactions: the channel contract draws exactly this amount, or all of it is undone.
        _approve(address(this), channels, amount);
        IPaymentChannels(channels).open(config, amount);
        if (allowance[address(this)][channels] != 0) revert InsufficientAllowance(channels, 0, amount);
    }

    /// @inheritdoc TokenRoles
    /// @dev The roots say that the first proposer is none any more.
    function acceptRole(Role role) public override {
        super.acceptRole(role);
        if (role == Role.Proposer) (_roots[0], _roots[1]) = (_roots[0].handedOver(), _roots[1].handedOver());
    }

    /// @inheritdoc ICoreToken
    function claimedOf(address owner) external view returns (uint128) {
        return _accounts[owner].claimed;
    }

    /// @inheritdoc ICoreToken
    function activeRoot() external view returns (uint32 epoch, bytes26 root) {
        RewardRoot newest = _newest();
        return (newest.epoch(), newest.root());
    }

    /// @inheritdoc ICoreToken
    function pendingRoot() external view returns (uint32 epoch, bytes26 root, uint40 activeAt) {
        RewardRoot waiting = _roots[0].isWaiting() ? _roots[0] : _roots[1];
        if (waiting.isWaiting()) return (waiting.epoch(), waiting.root(), waiting.activeAt());
    }

    /// @inheritdoc ICoreToken
    function emitted() external view returns (uint256) {
        return totalSupply - _initialSupply;
    }

    /// @dev Reads no slot but those of the two roots as long as the first proposer proposes.
    function _propose(uint256 epoch, bytes26 root, uint64 throughBlock, uint256 emission) private {
        // Checks
        (RewardRoot before, RewardRoot replaced) = (_rootOf(~epoch), _rootOf(epoch));
        address proposer = _firstProposer;
        if (before.isHandedOver()) proposer = _holders[uint256(Role.Proposer)];
        if (msg.sender != proposer) revert NotPermitted(proposer, msg.sender);
        if (root == 0) revert ZeroRoot();
        if (emission > emissionCap) revert EmissionOverCap(emissionCap, uint128(emission));
        if (before.isWaiting()) revert RootWaiting(before.activeAt());
        if (RewardRoots.isNotNext(epoch, before, replaced) != 0) {
            revert WrongEpoch(RewardRoots.nextEpoch(before, replaced), uint32(epoch));
        }

        // Effects
        RewardRoot proposed;
        unchecked {
            proposed = replaced.followedBy(root, block.timestamp + disputeWindow, epoch); // of 41 bits at most
        }
        _setRoot(epoch, proposed);
        emit RootProposed(RewardRoot.unwrap(proposed), throughBlock, uint128(emission));
    }

    /// @dev Proves a claim against the newest active root and counts it; the caller pays the amount.
    function _settle(address owner, uint128 cumulative, uint32 position, bytes26[] calldata proof)
        private
        returns (uint128 amount)
    {
        RewardRoot root = _newest();
        amount = _due(_accounts[owner].claimed, cumulative);
        PositionalTree.verify(root.root(), _leaf(owner, cumulative), position, proof);
        _emit(_limit(root.epoch()), amount);
        _accounts[owner].claimed = cumulative;
        emit Claimed(owner, amount, cumulative);
    }

    /// @dev Pays a row of many; one that is not worth it, would leave the budget or proves nothing is passed over.
    function _claimRow(Claim calldata row, Tally memory tally) private {
        // Checks
        Account memory account = _accounts[row.owner];
        if (row.cumulative <= account.claimed) return;
        uint128 amount = row.cumulative - account.claimed;
        if (amount < tally.minimum || amount > tally.budget) return;
        bytes26 leaf = _leaf(row.owner, row.cumulative);
        if (!PositionalTree.leadsTo(tally.root, leaf, row.position, row.proof)) return;

        // Effects
        uint128 fee = uint128(uint256(amount) * relayFeeBps / BPS); // rounded down, for the owner
        _accounts[row.owner] = Account(account.balance + amount - fee, row.cumulative);
        (tally.budget, tally.minted) = (tally.budget - amount, tally.minted + amount);
        (tally.fees, tally.paid) = (tally.fees + fee, tally.paid + 1);
        emit Claimed(row.owner, amount, row.cumulative);
        emit Transfer(address(0), row.owner, amount - fee);
    }

    function _finish(Tally memory tally) private returns (uint256) {
        totalSupply += tally.minted;
        if (tally.fees > 0) {
            _accounts[msg.sender].balance += uint128(tally.fees);
            emit Transfer(address(0), msg.sender, tally.fees);
        }
        return tally.paid;
    }

    /// @dev Raises the supply within what the epochs may have emitted.
    function _emit(uint256 limit, uint128 amount) private {
        uint256 supply = totalSupply + amount;
        if (supply - _initialSupply > limit) revert EmissionExhausted(limit, supply - _initialSupply);
        totalSupply = supply;
    }

    function _mint(address to, uint128 amount) private {
        totalSupply += amount;
        _accounts[to].balance += amount;
        emit Transfer(address(0), to, amount);
    }

    /// @dev Of the roots that left their window the one of the later epoch.
    function _newest() private view returns (RewardRoot) {
        (RewardRoot even, RewardRoot odd) = (_roots[0], _roots[1]);
        if (!even.isActive()) return odd.isActive() ? odd : RewardRoot.wrap(0);
        return odd.isActive() && odd.epoch() > even.epoch() ? odd : even;
    }

    /// @dev Of odd epochs, or of even ones. In assembly: the compiler would see to it that one bit is less than two, for 159 gas a proposal.
    function _rootOf(uint256 epoch) private view returns (RewardRoot root) {
        assembly ("memory-safe") {
            root := sload(add(_roots.slot, and(epoch, 1)))
        }
    }

    function _setRoot(uint256 epoch, RewardRoot root) private {
        assembly ("memory-safe") {
            sstore(add(_roots.slot, and(epoch, 1)), root)
        }
    }

    function _budget(RewardRoot root) private view returns (uint256) {
        return _initialSupply + _limit(root.epoch()) - totalSupply;
    }

    function _limit(uint32 epoch) private view returns (uint256) {
        return uint256(emissionCap) * epoch;
    }

    function _due(uint128 claimed, uint128 cumulative) private pure returns (uint128) {
        if (cumulative <= claimed) revert NothingToClaim(claimed, cumulative);
        return cumulative - claimed;
    }

    /// @dev `hash26(hash32(owner 20 ‖ cumulative 16))`. Hashed twice: no leaf is the preimage of a node.
    function _leaf(address owner, uint128 cumulative) private pure returns (bytes26) {
        bytes32 leaf;
        assembly ("memory-safe") {
            mstore(0, shl(96, owner))
            mstore(20, shl(128, cumulative))
            mstore(0, keccak256(0, 36))
            leaf := keccak256(0, 32)
        }
        return bytes26(leaf);
    }
}
