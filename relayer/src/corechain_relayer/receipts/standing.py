"""What the chain says of a lane's bond and of our receipt signer, and when that is final. Pure."""

from dataclasses import dataclass, replace

NEVER_ENDS = (1 << 40) - 1
"""`receiptSignerUntil` of a signer that nobody has dismissed."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A lane as of one block. `until`: chain second up to which the signer's receipts are good;
    0: it was never named for this bond."""

    since: int
    bonded: bool
    closing: bool
    until: int

    @property
    def fault(self) -> str:
        """Why nothing may be signed for it; empty where nothing is in the way."""
        if not self.bonded:
            return "LaneNotBonded"
        if self.closing:
            return "LaneClosing"
        # Who was dismissed signs no more, though receipts would be good for a while: it is how an
        # operator ends a lane.
        return "" if self.until == NEVER_ENDS else "SignerNotNamed"


@dataclass(frozen=True, slots=True)
class Sighting:
    """A standing, and the first of the blocks in which it was seen without a break."""

    standing: Standing
    block: int
    hash: bytes
    final: bool = False

    def seen_again(self, standing: Standing, block: int, hash_: bytes) -> "Sighting":
        """What is known after another look. What is final stays so as long as it is the same."""
        return self if standing == self.standing else Sighting(standing, block, hash_)

    def settled(self) -> "Sighting":
        return replace(self, final=True)

    @property
    def fault(self) -> str:
        if self.standing.fault:
            return self.standing.fault
        return "" if self.final else "BondNotFinal"
