"""Why a contract that uses an answer refuses it, by the names of
contracts/consumer/ProvenAnswers.sol. `InvalidProof` and `RangeIncomplete` are in errors.py."""

from corechain.protocol.errors import ProtocolError


class NoBond(ProtocolError):
    """The bond that answers for the batch is gone, or came after it. It is for good."""

    status = 409

    def __init__(self, batch_id: int) -> None:
        super().__init__(f"no bond answers for batch {batch_id}: ask of another lane")
        self.batch_id = batch_id


class NotFinal(ProtocolError):
    """The batches of the answer can still be challenged, up to `until` (seconds)."""

    status = 409

    def __init__(self, until: int) -> None:
        super().__init__(f"the batches can be challenged until second {until}: settle after it")
        self.until = until


class StaleAnswer(ProtocolError):
    """The newest batch of the answer was committed too long ago for this contract."""

    status = 410

    def __init__(self, committed_at: int) -> None:
        super().__init__(
            f"the newest batch was committed at second {committed_at}, too long ago:"
            " ask for a newer answer"
        )
        self.committed_at = committed_at
