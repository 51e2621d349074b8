// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.4 <0.9.0;

import { Anchor, ICoreChainBatches, Span, Step, Tally } from "../AnswerTypes.sol";
import { Metrics } from "../Metrics.sol";
import { ProvenAnswers } from "../ProvenAnswers.sol";

/// @title Heat cover: pays when the mean air temperature of a time at a place was above a threshold
/// @notice An underwriter offers a policy and puts its payout in; somebody buys it before it starts; if the proven mean is above the
/// threshold anybody may claim for the holder, else the payout goes back to the underwriter. Nobody else can take money: there is no owner,
/// no pause, no upgrade. An example: read it, then write your own.
contract HeatCover {
    /// @notice What is covered. Times in seconds; the threshold in hundredths of a degree Celsius; money in wei.
    struct Terms {
        uint16 lane;
        address device;
        uint64 cell;
        uint40 start;
        uint40 end;
        uint40 closesAt; // readings that are committed later do not count
        uint40 claimUntil;
        int32 threshold;
        uint32 minReadings; // a mean of few readings is none
        uint96 premium;
        uint96 payout;
    }

    /// @notice A policy: offered while it has no holder, over once its payout went to one side.
    struct Policy {
        Terms terms;
        address underwriter;
        address holder;
        bool over;
        Tally tally;
    }

    /// @notice A policy is offered.
    event Offered(uint256 indexed id, address indexed underwriter, Terms terms);
    /// @notice A policy was bought.
    event Bought(uint256 indexed id, address indexed holder);
    /// @notice Readings of a policy were proven, up to this batch.
    event Proven(uint256 indexed id, uint48 batchId, uint64 count, int128 sum);
    /// @notice A policy is over: who gets its payout.
    event Ended(uint256 indexed id, address indexed winner, uint96 payout);
    /// @notice Money was taken out.
    event Withdrawn(address indexed account, uint256 amount);

    /// @notice Times are out of order, leave no time to claim after the challenge window, or the payout is nothing or not what was sent.
    error InvalidTerms();
    /// @notice The premium is another one.
    error WrongPremium(uint256 given, uint96 premium);
    /// @notice The policy is not there, sold or unsold, started or over: not in the state for this.
    error NotNow(uint256 id);
    /// @notice Only the underwriter may take an offer back.
    error NotUnderwriter(address underwriter, address caller);
    /// @notice The mean is not above the threshold, or of too few readings.
    error NotHot(uint64 count, int128 sum);
    /// @notice The receiver refused the money.
    error PaymentRefused(address account);

    /// @notice DataBatches, whose word counts.
    ICoreChainBatches public immutable batches;
    /// @notice What an account can withdraw, wei.
    mapping(address => uint256) public owed;

    Policy[] private _policies;

    constructor(ICoreChainBatches dataBatches) {
        batches = dataBatches;
    }

    /// @notice Offers a policy; the payout is sent along.
    function offer(Terms calldata terms) external payable returns (uint256 id) {
        uint256 finalAt = uint256(terms.closesAt) + batches.challengeWindow() + batches.answerWindow();
        bool ordered = block.timestamp < terms.start && terms.start <= terms.end
            && terms.end <= terms.closesAt && finalAt < terms.claimUntil;
        if (!ordered || terms.payout == 0 || msg.value != terms.payout) revert InvalidTerms();
        id = _policies.length;
        Policy storage policy = _policies.push();
        policy.terms = terms;
        policy.underwriter = msg.sender;
        emit Offered(id, msg.sender, terms);
    }

    /// @notice Buys an offer before it starts. `before` is a batch of the lane that is on chain by now: what counts comes after it.
    function buy(uint256 id, Anchor calldata before) external payable {
        Policy storage policy = _policyAt(id);
        Terms memory terms = policy.terms;
        if (policy.holder != address(0) || policy.over || block.timestamp >= terms.start) revert NotNow(id);
        if (msg.value != terms.premium) revert WrongPremium(msg.value, terms.premium);
        policy.holder = msg.sender;
        owed[policy.underwriter] += msg.value;
        policy.tally = ProvenAnswers.begin(batches, _spanOf(terms), before);
        emit Bought(id, msg.sender);
    }

    /// @notice Takes an unsold offer back.
    function cancel(uint256 id) external {
        Policy storage policy = _policyAt(id);
        if (msg.sender != policy.underwriter) revert NotUnderwriter(policy.underwriter, msg.sender);
        if (policy.holder != address(0) || policy.over) revert NotNow(id);
        _end(id, policy, policy.underwriter);
    }

    /// @notice Proves some of the batches: for a time too long for one transaction. Anybody may.
    function prove(uint256 id, Step[] calldata steps) external {
        Policy storage policy = _soldAt(id);
        Tally memory tally = policy.tally;
        ProvenAnswers.take(batches, _spanOf(policy.terms), tally, steps);
        policy.tally = tally;
        emit Proven(id, tally.batchId, tally.count, tally.sum);
    }

    /// @notice Proves the rest, and gives the holder the payout. Anybody may, once nothing of it can be challenged any more.
    function claim(uint256 id, Step[] calldata steps, Anchor calldata behind) external {
        Policy storage policy = _soldAt(id);
        Terms memory terms = policy.terms;
        if (block.timestamp > terms.claimUntil) revert NotNow(id);
        Tally memory tally = policy.tally;
        ProvenAnswers.take(batches, _spanOf(terms), tally, steps);
        ProvenAnswers.close(batches, _spanOf(terms), tally, behind);
        ProvenAnswers.requireFinal(batches, tally);
        bool hot = ProvenAnswers.isMeanAbove(tally, terms.threshold);
        if (!hot || tally.count < terms.minReadings) revert NotHot(tally.count, tally.sum);
        policy.tally = tally;
        emit Proven(id, tally.batchId, tally.count, tally.sum);
        _end(id, policy, policy.holder);
    }

    /// @notice Gives the underwriter the payout back when nobody has claimed in time. Anybody may.
    function expire(uint256 id) external {
        Policy storage policy = _soldAt(id);
        if (block.timestamp <= policy.terms.claimUntil) revert NotNow(id);
        _end(id, policy, policy.underwriter);
    }

    /// @notice Pays the caller what it is owed.
    function withdraw() external returns (uint256 amount) {
        amount = owed[msg.sender];
        owed[msg.sender] = 0;
        emit Withdrawn(msg.sender, amount);
        (bool done,) = msg.sender.call{ value: amount }("");
        if (!done) revert PaymentRefused(msg.sender);
    }

    /// @notice A policy.
    function policyOf(uint256 id) external view returns (Policy memory) {
        return _policyAt(id);
    }

    /// @notice How many policies were ever offered; ids count from 0.
    function policies() external view returns (uint256) {
        return _policies.length;
    }

    function _end(uint256 id, Policy storage policy, address winner) private {
        policy.over = true;
        owed[winner] += policy.terms.payout;
        emit Ended(id, winner, policy.terms.payout);
    }

    function _policyAt(uint256 id) private view returns (Policy storage) {
        if (id >= _policies.length) revert NotNow(id);
        return _policies[id];
    }

    function _soldAt(uint256 id) private view returns (Policy storage policy) {
        policy = _policyAt(id);
        if (policy.holder == address(0) || policy.over) revert NotNow(id);
    }

    function _spanOf(Terms memory terms) private pure returns (Span memory) {
        return Span(
            terms.lane,
            Metrics.AIR_TEMPERATURE,
            terms.cell,
            terms.device,
            terms.start,
            terms.end,
            terms.closesAt
        );
    }
}
