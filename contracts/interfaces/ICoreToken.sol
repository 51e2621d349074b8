// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4 <0.9.0;

import { IPaymentChannels } from "./IPaymentChannels.sol";
import { ISignedToken } from "./ISignedToken.sol";

/// @title CORE: an ERC-20 that pays rewards by itself
/// @notice Rewards are cumulative amounts in a Merkle tree. A proposed root becomes claimable after a window in which the guardian may
/// veto it; until then the previous one stays claimable. Whatever roots say, after n epochs no more than n times the cap was minted.
interface ICoreToken is ISignedToken {
    /// @notice Who may do what. The admin can replace each of them, nobody without the new one's consent.
    enum Role {
        Admin, // offers every role
        Proposer, // proposes roots
        Guardian // vetoes roots
    }

    /// @notice One claim of a batch of claims.
    struct Claim {
        address owner;
        uint128 cumulative;
        uint32 position;
        bytes26[] proof;
    }

    /// @notice A root over all batches up to a block. Word: root (208 bits) ‖ second from which it is claimable (32) ‖ whether the first
    /// proposer has handed its role over (1) ‖ epoch (15). One word and no topic: 631 gas less than its fields.
    event RootProposed(uint256 word, uint64 throughBlock, uint128 emission);
    /// @notice The guardian stopped a root in its window.
    event RootVetoed(uint32 indexed epoch);
    /// @notice An owner received the difference to what it had claimed before, less the relayer's fee if there was one.
    event Claimed(address indexed owner, uint128 amount, uint128 cumulative);
    /// @notice A role was offered; the other account must accept it (zero: the offer was taken back).
    event RoleOffered(Role indexed role, address indexed candidate);
    /// @notice A role went over.
    event RoleChanged(Role indexed role, address indexed before, address indexed holder);

    /// @notice The caller does not hold the role.
    error NotPermitted(address holder, address caller);
    /// @notice Epochs follow each other, up to 32,767.
    error WrongEpoch(uint32 expected, uint32 given);
    /// @notice More than an epoch may emit.
    error EmissionOverCap(uint128 cap, uint128 given);
    /// @notice The root before is still in its window until this time (seconds).
    error RootWaiting(uint40 activeAt);
    /// @notice There is no root in its window.
    error NothingToVeto();
    /// @notice The owner has claimed this much already.
    error NothingToClaim(uint128 claimed, uint128 cumulative);
    /// @notice The root promises more than its epochs may emit.
    error EmissionExhausted(uint256 limit, uint256 needed);
    /// @notice A root is the hash of something.
    error ZeroRoot();
    /// @notice The packed bytes are no claim, or no proposal.
    error MalformedProposal(uint256 length);
    /// @notice A relayer's fee is at most 100 hundredths of a percent.
    error FeeOverLimit(uint16 bps);
    /// @notice The dispute window is one second at least and 365 days at most.
    error WindowOutOfRange(uint40 given);

    /// @notice Proposes the rewards of the next epoch. Proposer only, when the root before has left its window.
    /// @param epoch one more than the last
    /// @param root over the cumulative amounts of all owners
    /// @param throughBlock last block whose batches count
    /// @param emission base units that this epoch means to add, for those who check the root; the contract holds claims to the cap
    function proposeRoot(uint32 epoch, bytes26 root, uint64 throughBlock, uint128 emission) external;

    /// @notice `proposeRoot` for less gas. Packed bytes follow the selector, without ABI: epoch 2 ‖ root 26 ‖ throughBlock 8 ‖ emission 16.
    function proposeInBrief() external;

    /// @notice Stops the root that is in its window. Guardian only.
    function veto(uint32 epoch) external;

    /// @notice Pays an owner what it has earned and not yet claimed. Anyone may send it; no fee.
    function claim(address owner, uint128 cumulative, uint32 position, bytes26[] calldata proof) external;

    /// @notice Pays many owners. The sender gets `relayFeeBps` of each amount; rows that are not worth it (below `minimum`), that have
    /// nothing to claim or that prove nothing are passed over.
    /// @return paid how many were paid
    function claimMany(Claim[] calldata claims, uint128 minimum) external returns (uint256 paid);

    /// @notice Pays the payer of a payment channel by depositing what it has earned into that channel. The payer sends it, or anybody
    /// with the payer's signature of `ClaimIntoChannel(address owner,uint128 cumulative,address channels,bytes32 configHash)`, where
    /// configHash is `keccak256(abi.encode(config))`. Of this token only.
    function claimIntoChannel(
        uint128 cumulative,
        uint32 position,
        bytes26[] calldata proof,
        address channels,
        IPaymentChannels.ChannelConfig calldata config,
        bytes calldata signature
    ) external;

    /// @notice Offers a role; zero takes the offer back. The admin, or the role's holder as long as no offer of the admin stands.
    function offerRole(Role role, address candidate) external;

    /// @notice Takes a role that was offered to the caller.
    function acceptRole(Role role) external;

    /// @notice Who holds a role; zero for nobody.
    function holderOf(Role role) external view returns (address);

    /// @notice To whom a role is offered.
    function candidateOf(Role role) external view returns (address);

    /// @notice What an owner has claimed so far, base units.
    function claimedOf(address owner) external view returns (uint128);

    /// @notice The root that is claimable now.
    function activeRoot() external view returns (uint32 epoch, bytes26 root);

    /// @notice The root in its window; zero when there is none.
    function pendingRoot() external view returns (uint32 epoch, bytes26 root, uint40 activeAt);

    /// @notice What was minted for rewards, base units.
    function emitted() external view returns (uint256);
}
