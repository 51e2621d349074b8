// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4 <0.9.0;

import { Place, Receipt, Revealed } from "./BatchTypes.sol";

/// @notice What can be wrong with a batch and shown in one step.
enum Fraud {
    BadSignature, // a report that its device has not signed
    RevokedDevice, // an observation made, and committed, after its device was revoked
    DuplicateReport, // one (device, sequence) twice
    MalformedReport, // a leaf of the reports' tree that is no report, one behind the last that is counted, or none
    MalformedReading, // a leaf of the readings' tree that is no reading, one behind the last that is counted, or none
    UnsortedReadings, // two neighbours that do not ascend
    UnsortedReports, // two neighbours that do not ascend
    OutsideWindow, // a reading outside the header's window
    WrongParent, // a node whose statistics are not those of its children
    WrongLeaf, // the two trees over the readings differ
    BrokenChain, // a header that does not name itself, its predecessor or its ancestor, or that newer ones name otherwise
    Equivocation // two commitments for one batch
}

/// @notice What a submitter must show when it is asked for it.
enum Demand {
    Report, // the report at a position
    Reading, // the reading at a position
    Source, // the report that a reading comes from
    Registration, // that a report's device was registered when the batch was committed, and its key on P-256
    Statistics, // the way down the statistics tree to the reading at a position
    Receipt // a report that a receipt promises to be in a batch: only by `demandReceipt`
}

/// @notice A leaf with its place in a tree.
struct Shown {
    uint32 position;
    bytes content;
    bytes26[] proof;
}

/// @notice Another batch that the evidence needs.
struct Witness {
    uint48 batchId;
    Revealed batch;
    Place place;
}

/// @notice Evidence. Which parts a kind needs is said at `requireFraud`.
struct Evidence {
    Shown[] shown;
    Witness[] witnesses;
    bytes extra;
}

/// @notice The batch in question. Batches before `since` are not this bond's; devices are judged by what was registered at
/// `committedAt`.
struct Accused {
    uint48 batchId;
    uint40 since;
    uint40 committedAt;
    Revealed batch;
}

/// @title The judge: what counts as fraud, what counts as an answer
/// @notice Without state, owner or money. DataBatches holds commitments and bonds and asks it.
interface IBatchChallenges {
    /// @notice The evidence shows nothing wrong.
    error NotFraud(Fraud kind);
    /// @notice The evidence lacks a part that its kind needs, or has a malformed one.
    error MalformedEvidence();
    /// @notice The other batch is of another lane, another bond, or not the one that is needed.
    error WrongWitness(uint48 batchId);
    /// @notice The key does not hash to the device's id.
    error KeyMismatch(address device, address ofKey);
    /// @notice Neither the device's slot nor a fleet that was shown says that it was registered when the batch was committed: show
    /// its fleet, or demand its registration.
    error UnknownDevice(address device);
    /// @notice This chain cannot verify P-256 signatures, so nobody can be judged by one.
    error MissingPrecompile();
    /// @notice The chain has taken another id since the judge was made: what was signed for the old one can no longer be checked.
    error OtherChain(uint256 chainId);
    /// @notice The device was registered in time, on a curve on which a signature tells the key: nothing to demand.
    error Registered(address device, uint40 registeredAt);
    /// @notice An observation of a promised report is later than now and the grace of a revocation: committing it could become a fraud.
    error FutureTimestamp(uint40 observedAt, uint256 latest);
    /// @notice The evidence does not answer the demand.
    error NotAnAnswer();

    /// @notice Reverts unless the evidence shows this fraud. The batch's commitment is the caller's business; the caller must
    /// be a DataBatches, which is asked about witnesses.
    /// @dev `shown`, `witnesses`, `extra` by kind:
    /// BadSignature: report; –; *who*. RevokedDevice: report; –; index of the observation (2 bytes).
    /// DuplicateReport: two reports; – or the batch of the second one; –. MalformedReport, MalformedReading, OutsideWindow: the
    /// leaf; –; –. UnsortedReadings, UnsortedReports: two neighbours; –; –. WrongParent: –; –; index (4) ‖ top (42) ‖ pairs of children (84 each)
    /// from the top down, the last one of the node in question. WrongLeaf: the reading; –; the same down to the leaf. BrokenChain: –; – or the
    /// batch before; 0 id, 1 previous, 2 ancestor (1 byte); or –; a newer batch and those on the way back as for `requireArchived` (of which
    /// only the first one's place counts); 3 ‖ what they name (26). Equivocation: –; the other batch of this id; –.
    /// *who* is x ‖ y (on secp256k1 64 zeros, or nothing when nothing follows), then, unless the device has a slot of no later date than the
    /// batch, a fleet of no later date that lists it: fleet (26) ‖ position (2) ‖ proof as for `materialise`.
    function requireFraud(Fraud kind, Accused calldata accused, Evidence calldata evidence) external view;

    /// @notice What a demand is about, as one word. Reverts when there is nothing to demand.
    /// @param evidence Report, Reading, Statistics: `extra` is the position (4 bytes). Source: the reading, its batch as witness. Registration: the
    /// report, its batch as witness.
    function subjectOf(Demand kind, bytes26 commitment, uint40 committedAt, Evidence calldata evidence)
        external
        view
        returns (bytes32 subject);

    /// @notice Who signed a receipt, and what a demand for its report is about: device (20 bytes) ‖ sequence (8), the low 28 bytes.
    /// Reverts unless the report is under the receipt's root, signed by its device, of no future, and the device registered and not revoked now.
    /// @dev The receipt is for the calling DataBatches, on this chain.
    /// @param signature 64 bytes (EIP-2098, low-s)
    /// @param evidence the report; –; *who* as at `requireFraud`
    function requireReceipt(Receipt calldata receipt, bytes calldata signature, Evidence calldata evidence)
        external
        view
        returns (address signer, bytes32 subject);

    /// @notice Reverts unless the evidence answers the demand.
    /// @param evidence Report, Reading: the leaf, well formed, or nothing when the batch ends before the position. Statistics: the same, and
    /// `extra` is the path as for WrongLeaf. Source: the report, then the reading; `extra` is the index of the observation (2 bytes). All with
    /// the batch as witness. Registration: `extra` is *who* as at `requireFraud`, with the key if it is one on P-256. Receipt (`commitment` is lane 2 ‖
    /// since 5 ‖ zeros): a report of this device and sequence that the device has signed, its batch, of a bond that still stands, with its place, as witness, and x ‖ y as
    /// `extra` on P-256; or nothing at all, when the device is revoked now, or the admin has closed the lane.
    function requireAnswer(Demand kind, bytes26 commitment, bytes32 subject, Evidence calldata evidence)
        external
        view;
}
