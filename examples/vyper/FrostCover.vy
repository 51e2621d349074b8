# pragma version ~=0.4.0
# SPDX-License-Identifier: Apache-2.0
"""
@title Frost cover: pays a grower when it froze at a place in a time
@notice One cold reading is enough, so one batch is: nothing that is left out could make it warm. Who must show a mean, a maximum that
    was not passed, or that it did not freeze needs every batch: see ProvenAnswers and HeatCover. Nobody owns this contract.
"""
from interfaces import IDataBatches

event Paid:
    receiver: indexed(address)
    amount: uint256
    batchId: uint48
    lowest: int32

AIR_TEMPERATURE: constant(uint16) = 1
SCALE: constant(int32) = 100  # hundredths of a degree Celsius

BATCHES: immutable(IDataBatches)
LANE: immutable(uint16)
DEVICE: immutable(address)
CELL: immutable(uint64)
START: immutable(uint40)
END: immutable(uint40)
CLAIM_UNTIL: immutable(uint256)
GROWER: immutable(address)
UNDERWRITER: immutable(address)

@deploy
@payable
def __init__(batches: IDataBatches, lane: uint16, device: address, cell: uint64, start: uint40, end: uint40, claim_until: uint256, grower: address):
    """
    @notice The payout is sent along. Times in seconds.
    """
    assert block.timestamp < convert(start, uint256), "InvalidTerms"
    assert start <= end, "InvalidTerms"
    assert convert(end, uint256) < claim_until, "InvalidTerms"
    BATCHES = batches
    LANE = lane
    DEVICE = device
    CELL = cell
    START = start
    END = end
    CLAIM_UNTIL = claim_until
    GROWER = grower
    UNDERWRITER = msg.sender

@external
def claim(header: IDataBatches.BatchHeader, readings_root: bytes26, first: uint32, behind: uint32, leaves: Bytes[160], nodes: Bytes[5040]):
    """
    @notice Pays the grower when the range of the device in this batch has a reading below zero. Anybody may.
    """
    assert block.timestamp <= CLAIM_UNTIL, "NotNow"
    assert convert(header.batchId, uint256) >> 32 == convert(LANE, uint256), "InvalidProof"
    self._require_final(header.batchId)
    low: IDataBatches.Key = IDataBatches.Key(metric=AIR_TEMPERATURE, cell=CELL, device=DEVICE, observedAt=START)
    high: IDataBatches.Key = IDataBatches.Key(metric=AIR_TEMPERATURE, cell=CELL, device=DEVICE, observedAt=END)
    found: IDataBatches.Statistics = staticcall BATCHES.verifyRange(header, readings_root, low, high, first, behind, leaves, nodes)
    assert found.count != 0 and found.min < 0 * SCALE, "NotCold"
    amount: uint256 = self.balance
    log Paid(receiver=GROWER, amount=amount, batchId=header.batchId, lowest=found.min)
    raw_call(GROWER, b"", value=amount)

@external
def expire():
    """
    @notice Gives the underwriter the payout back when the time to claim is over. Anybody may.
    """
    assert block.timestamp > CLAIM_UNTIL, "NotNow"
    raw_call(UNDERWRITER, b"", value=self.balance)

@view
@internal
def _require_final(batch_id: uint48):
    """
    @dev The bond that answers for the batch stands, and nobody can show a fraud any more.
    """
    commitment: bytes26 = staticcall BATCHES.commitmentOf(batch_id)
    place: IDataBatches.Place = IDataBatches.Place(anchorId=batch_id, member=0, path=[])
    committed_at: uint40 = staticcall BATCHES.requireCommitted(batch_id, commitment, place)
    bond: IDataBatches.Bond = staticcall BATCHES.bondOf(LANE)
    assert bond.amount != 0 and bond.since <= committed_at, "NoBond"
    until: uint40 = committed_at + staticcall BATCHES.challengeWindow() + staticcall BATCHES.answerWindow()
    assert block.timestamp > convert(until, uint256), "NotFinal"
