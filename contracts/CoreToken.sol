// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ICoreToken } from "./interfaces/ICoreToken.sol";
import { Eip712 } from "./libraries/Eip712.sol";
import { InvalidProof, PositionalTree } from "./libraries/PositionalTree.sol";
import { InvalidSignature, Signatures } from "./libraries/Signatures.sol";
import { TokenTypes } from "./libraries/TokenTypes.sol";

/// @title CORE
// slither-disable-next-line missing-inheritance (IErc20 is what escrow needs of any token)
contract CoreToken is ICoreToken {
    /// @dev One slot: the claim counter beside the balance makes a claim one slot cheaper than any outside distributor.
    struct Account {
        uint128 balance;
        uint128 claimed;
    }

    /// @dev One slot. `activeAt` is when the window ends.
    struct Root {
        bytes26 root;
        uint40 activeAt;
    }

    /// @dev One slot. The epoch of a root, the last block it covers, and emissions.
    struct Epoch {
        uint32 epoch;
        uint64 throughBlock;
        uint128 emission;
    }

    bytes32 private constant NAME_HASH = keccak256("CoreChain");

    string public constant name = "CoreChain";
    string public constant symbol = "CORE";
    string public constant version = "1";
    uint8 public constant decimals = 18;

    /// @notice Length of the window in which a root can be vetoed, seconds.
    uint40 public immutable disputeWindow;
    /// @notice What an epoch may emit at most, base units.
    uint128 public immutable emissionCap;
    uint256 private immutable _initialSupply;

    address public admin;
    address public adminCandidate;
    address public proposer;
    address public guardian;

    uint256 public totalSupply;
    mapping(address owner => mapping(address spender => uint256)) public allowance;
    mapping(address owner => uint256) public nonces;
    /// @inheritdoc ICoreToken
    mapping(address authorizer => mapping(bytes32 nonce => bool)) public authorizationState;
    mapping(address owner => Account) private _accounts;

    Root private _active;
    Epoch private _activeEpoch; // its emission is the sum over all active epochs
    Root private _pending;
    Epoch private _pendingEpoch;

    // A role that is the zero address is a role that nobody holds: allowed, and visible in the events.
    // slither-disable-start missing-zero-check
    constructor(
        address firstAdmin,
        address firstProposer,
        address firstGuardian,
        uint40 windowSeconds,
        uint128 capPerEpoch,
        address treasury,
        uint128 initialSupply
    ) {
        (admin, proposer, guardian) = (firstAdmin, firstProposer, firstGuardian);
        (disputeWindow, emissionCap, _initialSupply) = (windowSeconds, capPerEpoch, initialSupply);
        emit AdminChanged(address(0), firstAdmin);
        emit RolesChanged(firstProposer, firstGuardian);
        _mint(treasury, initialSupply);
    }
    // slither-disable-end missing-zero-check

    function balanceOf(address owner) external view returns (uint256) {
        return _accounts[owner].balance;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        _transfer(msg.sender, to, amount);
        return true;
    }

    function approve(address spender, uint256 amount) external returns (bool) {
        _approve(msg.sender, spender, amount);
        return true;
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        uint256 allowed = allowance[from][msg.sender];
        if (allowed != type(uint256).max) {
            if (allowed < amount) revert InsufficientAllowance(msg.sender, allowed, amount);
            allowance[from][msg.sender] = allowed - amount;
        }
        _transfer(from, to, amount);
        return true;
    }

    function DOMAIN_SEPARATOR() external view returns (bytes32) {
        return Eip712.domainSeparator(NAME_HASH);
    }

    /// @inheritdoc ICoreToken
    function permit(
        address owner,
        address spender,
        uint256 value,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        if (block.timestamp > deadline) revert Expired(deadline);
        bytes32 structHash =
            keccak256(abi.encode(TokenTypes.PERMIT, owner, spender, value, nonces[owner]++, deadline));
        _requireSigner(owner, Eip712.digest(NAME_HASH, structHash), v, r, s);
        _approve(owner, spender, value);
    }

    /// @inheritdoc ICoreToken
    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external {
        bytes32 digest = _spend(TokenTypes.TRANSFER, from, to, value, validAfter, validBefore, nonce);
        Signatures.requireAccount(from, digest, signature);
        _transfer(from, to, value);
    }

    /// @inheritdoc ICoreToken
    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        bytes32 digest = _spend(TokenTypes.TRANSFER, from, to, value, validAfter, validBefore, nonce);
        _requireSigner(from, digest, v, r, s);
        _transfer(from, to, value);
    }

    /// @inheritdoc ICoreToken
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external {
        if (to != msg.sender) revert NotReceiver(to, msg.sender);
        bytes32 digest = _spend(TokenTypes.RECEIVE, from, to, value, validAfter, validBefore, nonce);
        Signatures.requireAccount(from, digest, signature);
        _transfer(from, to, value);
    }

    /// @inheritdoc ICoreToken
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        if (to != msg.sender) revert NotReceiver(to, msg.sender);
        bytes32 digest = _spend(TokenTypes.RECEIVE, from, to, value, validAfter, validBefore, nonce);
        _requireSigner(from, digest, v, r, s);
        _transfer(from, to, value);
    }

    /// @inheritdoc ICoreToken
    function cancelAuthorization(address authorizer, bytes32 nonce, bytes calldata signature) external {
        Signatures.requireAccount(authorizer, _cancel(authorizer, nonce), signature);
    }

    /// @inheritdoc ICoreToken
    function cancelAuthorization(address authorizer, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) external {
        _requireSigner(authorizer, _cancel(authorizer, nonce), v, r, s);
    }

    /// @inheritdoc ICoreToken
    function proposeRoot(uint32 epoch, bytes26 root, uint64 throughBlock, uint128 emission) external {
        // Checks
        if (msg.sender != proposer) revert NotPermitted(proposer, msg.sender);
        if (root == 0) revert ZeroRoot();
        if (emission > emissionCap) revert EmissionOverCap(emissionCap, emission);
        _settlePending();
        Epoch memory last = _activeEpoch;
        if (epoch != last.epoch + 1) revert WrongEpoch(last.epoch + 1, epoch);
        if (throughBlock <= last.throughBlock) revert BlockRegressed(last.throughBlock, throughBlock);

        // Effects
        uint40 activeAt = uint40(block.timestamp) + disputeWindow;
        _pending = Root(root, activeAt);
        _pendingEpoch = Epoch(epoch, throughBlock, emission);
        emit RootProposed(epoch, root, throughBlock, emission, activeAt);
    }

    /// @inheritdoc ICoreToken
    function veto(uint32 epoch) external {
        if (msg.sender != guardian) revert NotPermitted(guardian, msg.sender);
        if (!_waiting()) revert NothingToVeto();
        if (epoch != _pendingEpoch.epoch) revert WrongEpoch(_pendingEpoch.epoch, epoch);
        delete _pending;
        delete _pendingEpoch;
        emit RootVetoed(epoch);
    }

    /// @inheritdoc ICoreToken
    function claim(address owner, uint128 cumulative, uint32 position, bytes26[] calldata proof) external {
        (bytes26 root, uint256 limit) = _claimable();
        uint128 claimed = _accounts[owner].claimed;
        if (cumulative <= claimed) revert NothingToClaim(claimed, cumulative);
        _claim(root, limit, owner, cumulative, position, proof);
    }

    /// @inheritdoc ICoreToken
    function claimMany(Claim[] calldata claims) external {
        (bytes26 root, uint256 limit) = _claimable();
        for (uint256 i = 0; i < claims.length; ++i) {
            Claim calldata one = claims[i];
            if (one.cumulative <= _accounts[one.owner].claimed) continue;
            _claim(root, limit, one.owner, one.cumulative, one.position, one.proof);
        }
    }

    /// @inheritdoc ICoreToken
    function setRoles(address newProposer, address newGuardian) external {
        if (msg.sender != admin) revert NotPermitted(admin, msg.sender);
        // slither-disable-next-line missing-zero-check (zero: nobody holds the role)
        (proposer, guardian) = (newProposer, newGuardian);
        emit RolesChanged(newProposer, newGuardian);
    }

    /// @inheritdoc ICoreToken
    function offerAdmin(address candidate) external {
        if (msg.sender != admin) revert NotPermitted(admin, msg.sender);
        // slither-disable-next-line missing-zero-check (zero takes the offer back)
        adminCandidate = candidate;
        emit AdminOffered(msg.sender, candidate);
    }

    /// @inheritdoc ICoreToken
    function acceptAdmin() external {
        if (msg.sender != adminCandidate) revert NotPermitted(adminCandidate, msg.sender);
        emit AdminChanged(admin, msg.sender);
        admin = msg.sender;
        delete adminCandidate;
    }

    /// @inheritdoc ICoreToken
    function claimedOf(address owner) external view returns (uint128) {
        return _accounts[owner].claimed;
    }

    /// @inheritdoc ICoreToken
    function activeRoot() external view returns (uint32 epoch, bytes26 root) {
        return _ripe() ? (_pendingEpoch.epoch, _pending.root) : (_activeEpoch.epoch, _active.root);
    }

    /// @inheritdoc ICoreToken
    function pendingRoot() external view returns (uint32 epoch, bytes26 root, uint40 activeAt) {
        if (_waiting()) return (_pendingEpoch.epoch, _pending.root, _pending.activeAt);
    }

    /// @inheritdoc ICoreToken
    function emitted() external view returns (uint256 total) {
        (, total) = _claimable();
        total -= _initialSupply;
    }

    /// @dev A root in its window must end it before the next one comes; a ripe one takes its place.
    function _settlePending() private {
        // slither-disable-next-line incorrect-equality (a root, not a balance: nobody can push it off zero)
        if (_pending.root == 0) return;
        if (!_ripe()) revert RootWaiting(_pending.activeAt);
        Epoch memory ripe = _pendingEpoch;
        ripe.emission += _activeEpoch.emission;
        _active = _pending;
        _activeEpoch = ripe;
        delete _pending;
        delete _pendingEpoch;
    }

    function _ripe() private view returns (bool) {
        return _pending.root != 0 && block.timestamp >= _pending.activeAt;
    }

    function _waiting() private view returns (bool) {
        return _pending.root != 0 && block.timestamp < _pending.activeAt;
    }

    /// @dev The claimable root, and the total supply that all claims together may reach.
    function _claimable() private view returns (bytes26 root, uint256 limit) {
        limit = _initialSupply + _activeEpoch.emission;
        if (!_ripe()) return (_active.root, limit);
        return (_pending.root, limit + _pendingEpoch.emission);
    }

    function _claim(
        bytes26 root,
        uint256 limit,
        address owner,
        uint128 cumulative,
        uint32 position,
        bytes26[] calldata proof
    ) private {
        // Checks
        bytes26 leaf = bytes26(keccak256(abi.encode(keccak256(abi.encodePacked(owner, cumulative)))));
        PositionalTree.verify(root, leaf, position, proof);
        uint128 amount = cumulative - _accounts[owner].claimed;
        if (totalSupply + amount > limit) {
            revert EmissionExhausted(limit - _initialSupply, totalSupply + amount - _initialSupply);
        }

        // Effects
        _accounts[owner].claimed = cumulative;
        emit Claimed(owner, amount, cumulative);
        _mint(owner, amount);
    }

    /// @dev Marks the authorisation as used; the caller then checks that the digest was signed, or reverts all of it.
    function _spend(
        bytes32 typehash,
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce
    ) private returns (bytes32 digest) {
        if (block.timestamp <= validAfter) revert NotYetValid(validAfter);
        if (block.timestamp >= validBefore) revert Expired(validBefore);
        _useUp(from, nonce);
        emit AuthorizationUsed(from, nonce);
        return Eip712.digest(
            NAME_HASH, keccak256(abi.encode(typehash, from, to, value, validAfter, validBefore, nonce))
        );
    }

    function _cancel(address authorizer, bytes32 nonce) private returns (bytes32 digest) {
        _useUp(authorizer, nonce);
        emit AuthorizationCanceled(authorizer, nonce);
        return Eip712.digest(NAME_HASH, keccak256(abi.encode(TokenTypes.CANCEL, authorizer, nonce)));
    }

    function _useUp(address authorizer, bytes32 nonce) private {
        if (authorizationState[authorizer][nonce]) revert AuthorizationSpent(authorizer, nonce);
        authorizationState[authorizer][nonce] = true;
    }

    function _requireSigner(address signer, bytes32 digest, uint8 v, bytes32 r, bytes32 s) private pure {
        if (Signatures.recover(digest, v, r, s) != signer) revert InvalidSignature();
    }

    function _mint(address to, uint128 amount) private {
        // slither-disable-next-line costly-loop (each claim of many is checked against the supply)
        totalSupply += amount;
        _accounts[to].balance += amount;
        emit Transfer(address(0), to, amount);
    }

    function _transfer(address from, address to, uint256 amount) private {
        if (to == address(0)) revert ZeroReceiver();
        uint128 balance = _accounts[from].balance;
        if (balance < amount) revert InsufficientBalance(from, balance, amount);
        _accounts[from].balance = balance - uint128(amount);
        _accounts[to].balance += uint128(amount);
        emit Transfer(from, to, amount);
    }

    function _approve(address owner, address spender, uint256 amount) private {
        allowance[owner][spender] = amount;
        emit Approval(owner, spender, amount);
    }
}
