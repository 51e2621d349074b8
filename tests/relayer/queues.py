"""A queue of intents that operators may cancel, on a chain that mines when it is told to."""

from collections.abc import Sequence
from dataclasses import dataclass

from corechain.protocol.hashing import keccak
from corechain_relayer.calldata import commit_call
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.journal import IntentJournal
from corechain_relayer.submitter.plan import Intent, State
from corechain_relayer.submitter.service import Submitter
from corechain_relayer.submitter.settled import Found
from corechain_relayer.transactions.book import Book
from relayer.lane import Lane
from relayer.support import Chain

QUEUE = "rewards"
KEY = "rewards:1"
HOUR_S = 3_600.0


async def nobody_did(intents: Sequence[Intent]) -> list[Found]:
    return [None for _ in intents]


@dataclass
class Queue:
    """A queue in which intents may be cancelled, on a chain that mines when it is told to."""

    lane: Lane
    journal: IntentJournal
    book: Book
    submitter: Submitter

    @property
    def chain(self) -> Chain:
        return self.lane.chain

    def restart(self) -> None:
        """What a new process knows after a kill: the journal."""
        lane = self.lane
        parts = (lane.submitter.node, lane.submitter.signer, nobody_did, lane.submitter.policy)
        self.submitter = Submitter(self.journal, *parts, Metrics())

    async def want(self, number: int = 1) -> str:
        target = self.chain.deployment.address("DataBatches")
        key = f"rewards:{number}"
        await self.journal.want(key, target, commit_call(number, keccak(b"%d" % number)[:26]))
        return key

    async def rounds(self, number: int = 4) -> None:
        """More than anything here needs: what is there after them stays."""
        for _ in range(number):
            await self.submitter.step()

    async def until(self, key: str, state: State) -> None:
        self.lane.submitter = self.submitter

        async def there() -> bool:
            return (await self.book.find(key)).state == state

        await self.lane.until(there)

    def pool(self) -> list[dict[str, str]]:
        content = self.chain.rpc("txpool_content")["pending"]
        return [tx for by_nonce in content.values() for tx in by_nonce.values()]
