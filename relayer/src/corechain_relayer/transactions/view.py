"""What `corechain tx` and the admin API have in common: one intent with all there is to say."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from corechain.service.rpc import Questions
from corechain_relayer.transactions.book import Book
from corechain_relayer.transactions.explain import Explanation, Facts, explain, live_attempt
from corechain_relayer.transactions.node_facts import NodeAway, NodeFacts, ask_node
from corechain_relayer.transactions.spending import Sample, days_left

if TYPE_CHECKING:
    from corechain.service.database import Conn, Database


@dataclass(frozen=True, slots=True)
class View:
    """Raises StoreUnavailable; a node that is away is a fact here, and no failure."""

    book: Book
    rpc: Questions

    @classmethod
    def of(cls, pool: "Database | Conn", rpc: Questions) -> "View":
        return cls(Book(pool), rpc)

    async def facts(self, name: str) -> Facts:
        """Raises UnknownTransaction."""
        found = await self.book.find(name)
        look = await self.book.look(found.queue)
        sender = found.sender or (look.sender if look else None)
        node: NodeFacts | NodeAway = NodeAway("not asked: it is over")
        owner, left, attempts = None, None, await self.book.attempts(found.id)
        live = live_attempt(found, attempts)
        if found.is_open:
            sent = live is not None and live.sent_at is not None
            node = await ask_node(self.rpc, sender, live.hash if live and sent else None)
            if isinstance(node, NodeFacts) and node.count is not None and sender is not None:
                owner = await self.book.owner(sender, node.count)
                left = await self._days_left(sender, node)
        return Facts(
            found,
            attempts,
            await self.book.ahead(found) if found.is_open else None,
            look,
            node,
            time.time(),
            owner,
            left,
        )

    async def _days_left(self, sender: bytes, node: NodeFacts) -> float | None:
        now = [] if node.balance is None else [Sample(0.0, node.balance)]
        return days_left([*await self.book.balances(sender), *now])

    async def explain(self, name: str) -> tuple[Facts, Explanation]:
        """Raises UnknownTransaction."""
        facts = await self.facts(name)
        return facts, explain(facts)

    async def document(self, name: str) -> dict[str, Any]:
        """All of one intent as JSON values. Raises UnknownTransaction."""
        facts, said = await self.explain(name)
        attempts = [attempt.document() for attempt in facts.attempts]
        return facts.transaction.document() | {"attempts": attempts} | said.document()
