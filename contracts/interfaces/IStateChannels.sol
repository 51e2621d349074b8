// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4 <0.9.0;

/// @title Two-way channels: balances signed off chain, settled once
/// @notice The newest version wins. Either party gets out alone: challenge, wait, finalise. A party that sends a call stands for
/// its own signature. A party that is a contract (ERC-1271) can change its mind about what it has signed; a party with a key cannot.
interface IStateChannels {
    /// @notice The immutable terms of a channel; with chain and contract they hash to its id. Times in seconds. The channel can be opened
    /// until `openBefore` only: once that has passed, a closed channel can never be opened again, and its word can be cleared.
    struct Terms {
        address partyA;
        address partyB;
        address token;
        uint32 challengePeriod;
        uint40 openBefore;
        bytes5 salt;
    }

    /// @notice A signed state: party A holds `balanceA`, party B the rest of the deposit.
    struct SignedState {
        uint40 version;
        uint88 balanceA;
        bytes signatureA;
        bytes signatureB;
    }

    /// @notice A party's deposit by EIP-3009 (`receiveWithAuthorization`); zero for no deposit of this party.
    struct Funding {
        uint88 amount;
        uint256 validAfter;
        uint256 validBefore;
        bytes signature;
    }

    /// @notice A party's deposit by allowance. The consent is its signature of `ChannelOpening(channelId,amountA,amountB)`; the sender
    /// needs none. A party without deposit gives zero and nothing else.
    struct Share {
        uint88 amount;
        bytes consent;
        Permit permit;
    }

    /// @notice An ERC-2612 permit for this contract; `v` zero for none.
    struct Permit {
        uint256 deadline;
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    /// @notice A channel was opened and has its deposit.
    /// @param packed packed terms 74 bytes (see `respondBrief`) ‖ deposit 11 ‖ party A's part of it 11
    /// The id is not in the event (375 gas): it is the hash of chain, contract and terms.
    event ChannelOpened(bytes32[3] packed);
    /// @notice A channel's deposit grew.
    /// @param word the channel as it stands now: deposit (88 bits) ‖ balanceA (88) ‖ version (40) ‖ deadline (40)
    event ChannelToppedUp(bytes32 indexed channelId, uint256 word);
    /// @notice A state stands on chain; a newer one may replace it until the deadline (seconds).
    /// @param word the channel as it stands now, as in `ChannelToppedUp`
    event ChannelChallenged(bytes32 indexed channelId, uint256 word);
    /// @notice Party A was paid the word's balance, party B the rest of its deposit.
    /// @param word the channel as it stood last, as in `ChannelToppedUp`
    event ChannelClosed(bytes32 indexed channelId, uint256 word);
    /// @notice The token refused to pay this party when its channel closed; the amount waits for `withdrawHeld`.
    event PayoutHeld(address indexed party, address indexed token, uint256 amount);
    /// @notice What was held for this party was paid.
    event PayoutReleased(address indexed party, address indexed token, uint256 amount);

    /// @notice The channel is not open.
    error UnknownChannel(bytes32 channelId);
    /// @notice The channel is open, or was and could still be opened by its terms.
    error ChannelExists(bytes32 channelId);
    /// @notice The terms allowed opening until then (seconds).
    error OpeningOver(uint40 openBefore);
    /// @notice Parties must be two, token and challenge period not zero.
    error InvalidTerms();
    /// @notice Nothing was deposited, or more than the books can hold.
    error InvalidDeposit(uint256 amount);
    /// @notice The state is not newer than the one that stands.
    error StaleState(uint40 held, uint40 offered);
    /// @notice More is given to party A than the channel holds.
    error BalanceOverDeposit(uint88 deposit, uint88 balanceA);
    /// @notice The challenge runs until this time (seconds).
    error ChallengeRunning(uint40 deadline);
    /// @notice No challenge runs, or it is over.
    error ChallengeOver(uint40 deadline);
    /// @notice Only a party may do this.
    error NotParty(address caller);
    /// @notice Nothing waits for this party.
    error NothingHeld(address party, address token);
    /// @notice The packed bytes have another length than their layout.
    error MalformedCall(uint256 length);
    /// @notice A deposit was made in the middle of another one.
    error Reentered();

    /// @notice Opens a channel with the caller's tokens, to party A's and party B's side.
    function open(Terms calldata terms, uint88 amountA, uint88 amountB) external;

    /// @notice The same after the caller's permit (ERC-2612) for the sum: no approval before. A permit that somebody else has sent
    /// already does no harm.
    function openWithPermit(
        Terms calldata terms,
        uint88 amountA,
        uint88 amountB,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice Opens a channel with what one or both parties have allowed this contract to draw, by `approve` or by a permit that comes along.
    /// Each party that deposits is the sender or has signed `ChannelOpening(channelId,amountA,amountB)`: it consents to the terms and to
    /// both deposits, whatever else it has allowed. Anyone may send it.
    function openTogether(Terms calldata terms, Share calldata shareA, Share calldata shareB) external;

    /// @notice Opens a channel with what one or both parties have authorised (EIP-3009). Anyone may send it.
    /// @dev The nonce of each authorisation is `keccak256(abi.encode(channelId, amountA, amountB))`: a party consents to the terms and
    /// to both deposits.
    function openAuthorised(Terms calldata terms, Funding calldata fundingA, Funding calldata fundingB)
        external;

    /// @notice Adds the caller's tokens to party B's side: B holds whatever a state does not give to A, so no state changes.
    function topUp(Terms calldata terms, uint88 amount) external;

    /// @notice Adds the caller's tokens together with a newer state that accounts for them; how party A tops up. Party A's or the
    /// caller's consent and party B's signature of `ChannelTopUp(channelId,version,balanceA,deposit)` with the new deposit.
    /// @param deposit what the channel holds afterwards: the caller pays what is missing, which is less when somebody else has topped up meanwhile
    function topUpWithState(Terms calldata terms, uint88 deposit, SignedState calldata state) external;

    /// @notice Closes at once by consent of both parties to `ChannelClose(channelId,balanceA)`. A signed close does not expire:
    /// who has signed one must not go on in that channel.
    function close(
        Terms calldata terms,
        uint88 balanceA,
        bytes calldata signatureA,
        bytes calldata signatureB
    ) external;

    /// @notice Starts a challenge with a newer signed state, or as a party with the state that stands (version equal, no
    /// signatures needed).
    function challenge(Terms calldata terms, SignedState calldata state) external;

    /// @notice Answers a challenge with a newer signed state; the deadline stays. Anyone may send it (a watchtower).
    function respond(Terms calldata terms, SignedState calldata state) external;

    /// @notice Pays out by the state that stands, after the deadline. Anyone may send it.
    function finalise(Terms calldata terms) external;

    /// @notice The same for many channels; those that are not due, or were finalised meanwhile, are passed over. A token that refuses holds
    /// up nobody (its payout is held); only one that burns all the gas of its call stops the others: leave its channels out.
    /// @return paid how many were paid out
    function finaliseMany(Terms[] calldata terms) external returns (uint256 paid);

    /// @notice `respond` with a third of the calldata; what our watchtower sends. Packed bytes follow the selector, without ABI:
    /// terms as sent ‖ version 5 ‖ balanceA 11 ‖ signatures.
    /// Terms as sent: one byte, 0 before whole terms (74 bytes), 1 before terms without party A, 2 without party B, who is the sender.
    /// Packed terms: partyA 20 ‖ partyB 20 ‖ token 20 ‖ challengePeriod 4 ‖ openBefore 5 ‖ salt 5.
    /// Packed signatures: 64 bytes (EIP-2098) of the party that is not the sender, or 128, party A's first, when the sender is no party.
    function respondBrief() external;

    /// @notice Pays a party what the token refused to pay it when a channel closed. Anyone may send it.
    function withdrawHeld(address party, address token) external;

    /// @notice What waits for a party, base units.
    function heldFor(address party, address token) external view returns (uint256);

    /// @notice Id of a channel on this chain and contract.
    function channelIdOf(Terms calldata terms) external view returns (bytes32);

    /// @notice Deposit, party A's share, version and deadline (0: no challenge) as they stand.
    function channelOf(bytes32 channelId)
        external
        view
        returns (uint88 deposit, uint88 balanceA, uint40 version, uint40 deadline);
}
