"""Computes the next epoch and proposes it, through the same journal as every other transaction."""

import asyncio
from dataclasses import dataclass

import structlog

from corechain.chain import RevertDecoder
from corechain.deployment import Deployment, load_abi
from corechain.protocol.errors import CoreChainError
from corechain.protocol.events import RootProposed
from corechain.protocol.hashing import Digest26
from corechain.protocol.logs import decode_log, topic_of
from corechain.service.database import migrate, writer
from corechain.service.errors import NodeBehind, NodeRefused
from corechain.service.rpc import Questions, logs_in_ranges, to_hex
from corechain_relayer.calldata import PROPOSE
from corechain_relayer.chain_settings import on_chain
from corechain_relayer.following import all_told
from corechain_relayer.journal.sql import migrations
from corechain_relayer.journal_settings import ProposerSettings
from corechain_relayer.metrics import Metrics
from corechain_relayer.rewards.epochs import Ledger, Proposal, RootDiffers
from corechain_relayer.rewards.history import History
from corechain_relayer.rewards.kept import KeptReading
from corechain_relayer.rewards.left_out import LeftOut
from corechain_relayer.rewards.proven import Proven
from corechain_relayer.submitter.journal import IntentJournal
from corechain_relayer.submitter.node import Node
from corechain_relayer.submitter.plan import Intent, Receipt
from corechain_relayer.submitter.service import Submitter
from corechain_relayer.submitter.settled import one_by_one
from corechain_relayer.submitter.signer import Account
from corechain_relayer.wiring import check_chain, node_of, policy_of, pool_of, rpc_of

log = structlog.get_logger(__name__)

QUEUE = "rewards"
PATIENCE_S = 300.0


class ProposalRefused(CoreChainError):
    """The token contract would not take the root, or nobody could check it. Nothing was signed."""


class NotConfirmedYet(CoreChainError):
    """The proposal is on its way; running the command again goes on with it."""


@dataclass(frozen=True, slots=True)
class Proposed:
    """What was proposed, and by which transaction."""

    proposal: Proposal
    transaction: bytes

    def summary(self) -> dict[str, object]:
        """For people and scripts; amounts as decimal strings, they pass 2^53."""
        proposal = self.proposal
        return {
            "epoch": proposal.epoch,
            "root": "0x" + proposal.root.hex(),
            "through_block": proposal.through_block,
            "emission": str(proposal.emission),
            "bridge_weight_bps": proposal.rules.bridge_weight_bps,
            "rules_hash": "0x" + proposal.rules.hash.hex(),
            "cumulative": {"0x" + o.hex(): str(amount) for o, amount in proposal.amounts.items()},
            "transaction": "0x" + self.transaction.hex(),
        }


def propose_call(proposal: Proposal) -> bytes:
    """`proposeInBrief`: epoch 2 ‖ root 26 ‖ throughBlock 8 ‖ emission 16."""
    return (
        PROPOSE
        + proposal.epoch.to_bytes(2, "big")
        + proposal.root
        + proposal.through_block.to_bytes(8, "big")
        + proposal.emission.to_bytes(16, "big")
    )


def through_block_of(calldata: bytes) -> int:
    """The block up to which the data of a `propose_call` counts."""
    return int.from_bytes(calldata[32:40], "big")


def intent_key(proposal: Proposal) -> str:
    # The block is part of it: after a veto the same epoch comes again with a later block.
    return f"rewards:{proposal.epoch}:{proposal.through_block}:{proposal.root.hex()}"


@dataclass(frozen=True, slots=True)
class ProposedRoots:
    """Finds the transaction that proposed the root of an intent."""

    node: Node
    deployment: Deployment
    range_blocks: int

    async def __call__(self, intent: Intent) -> Receipt | None:
        contract = self.deployment.contracts["CoreToken"]
        head = await self.node.rpc.head()
        # A root that counts the data of a block cannot have been proposed before that block.
        first = max(contract.block, through_block_of(intent.calldata))
        topics = [to_hex(topic_of(RootProposed))]
        logs = await logs_in_ranges(
            self.node.rpc, [contract.address], topics, first, head.number, self.range_blocks
        )
        for entry in logs:
            with all_told():
                event = decode_log(list(entry.topics), entry.data)
            assert isinstance(event, RootProposed)  # it was asked for by its topic
            # The call names everything that the event does, in the same words.
            root = Digest26(event.root)
            same = Proposal(event.epoch, root, event.through_block, event.emission, {})
            if propose_call(same) == intent.calldata:
                return await self._receipt(entry.transaction)
        return None

    async def _receipt(self, transaction: bytes) -> Receipt:
        receipts = await self.node.receipts([transaction])
        if not receipts:
            raise NodeBehind("the receipt of a transaction in the logs is missing")
        return receipts[transaction]


@dataclass(slots=True)
class Proposer:
    """One run of the command."""

    settings: ProposerSettings
    deployment: Deployment
    rpc: Questions
    signer: Account
    journal: IntentJournal
    submitter: Submitter
    kept: KeptReading | None = None

    async def run(self, pool: int, through: int | None) -> Proposed:
        """Raises NothingToReward, RewardsNotReproducible, ProposalRefused, NotConfirmedYet."""
        await self._finish_what_was_begun()
        proposal = await self._compute(pool, through)
        call = propose_call(proposal)
        target = self.deployment.address("CoreToken")
        await self._rehearse(Intent(0, intent_key(proposal), target, call))
        await self.journal.want(intent_key(proposal), target, call)
        await self._drive()
        return Proposed(proposal, await self.journal.transaction(intent_key(proposal)))

    async def _finish_what_was_begun(self) -> None:
        """What a stopped run has signed goes on; what it only wanted is void."""
        await self.journal.drop_queued()
        await self._drive()

    async def _compute(self, pool: int, through: int | None) -> Proposal:
        head = (await self.rpc.head()).number
        if through is not None and through > head:
            # The contract would take it, and no root reproduce it once those blocks have data.
            raise ProposalRefused(f"block {through} is not there yet: the newest one is {head}")
        asked = (self.rpc, self.deployment, self.settings.log_range_blocks)
        history = History(*asked, head, self.kept)
        epochs = await history.epochs(head)
        # No root on chain says yet whether they are all there: they are asked for twice.
        await history.reread_data(epochs[-1].through_block + 1 if epochs else 0, through or head)
        while True:
            try:
                return await self._proposal(history, epochs, through or head, pool)
            except RootDiffers as error:
                if not await history.reread_data(error.first, error.last):
                    raise

    async def _proposal(
        self, history: History, epochs: list[RootProposed], through: int, pool: int
    ) -> Proposal:
        batches, schedule = await history.batches(history.newest), self.deployment.rewards
        await LeftOut(self.rpc, self.deployment.address("DataBatches")).check(
            batches, epochs[-1].through_block if epochs else 0, through
        )
        folder = self.settings.data_dir
        proven = await asyncio.to_thread(Proven.read, folder)
        ledger = Ledger(batches, folder, history.owners, schedule, proven)
        return await ledger.propose(epochs, through, pool)

    async def _rehearse(self, intent: Intent) -> None:
        try:
            await self.submitter.node.estimate(self.signer.address, intent)
        except NodeRefused as error:
            if error.data is None:
                raise ProposalRefused(error.message) from error
            decoder = RevertDecoder.of([load_abi("CoreToken")])
            raise ProposalRefused(str(decoder.error(error.data))) from error

    async def _drive(self) -> None:
        """Raises LaneHalted, NotConfirmedYet."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while await self.journal.unfinished():
                    for halt in await self.journal.halts():
                        raise halt
                    if not await self.submitter.step():
                        await asyncio.sleep(self.settings.poll_s)
        except TimeoutError:
            raise NotConfirmedYet(f"not confirmed within {PATIENCE_S:g} s") from None


async def propose_rewards(
    settings: ProposerSettings,
    deployment: Deployment,
    signer: Account,
    pool: int,
    through: int | None,
) -> Proposed:
    """Opens what a proposal needs, runs it, closes everything."""
    settings = on_chain(settings, deployment.chain_id)
    rpc = rpc_of(settings, deployment.chain_id)
    node = node_of(rpc, settings)
    settled = one_by_one(ProposedRoots(node, deployment, settings.log_range_blocks))
    database, metrics = pool_of(settings), Metrics()
    parts = (settings.log_range_blocks, settings.confirmations, metrics, database)
    kept = KeptReading(rpc, deployment, *parts)
    try:
        await database  # asyncpg's way to open it; connects to nothing yet
        await check_chain(rpc, deployment.chain_id)
        url = settings.session_url
        await migrate(url, migrations())
        async with writer(url, signer.lock) as connection:
            journal = IntentJournal(connection, QUEUE)
            submitter = Submitter(journal, node, signer, settled, policy_of(settings), metrics)
            proposer = Proposer(settings, deployment, rpc, signer, journal, submitter, kept)
            return await proposer.run(pool, through)
    finally:
        await rpc.close()
        await database.close()
