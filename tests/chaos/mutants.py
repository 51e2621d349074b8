"""Does the simulator notice when the submitter is wrong? Each mutant is a mistake that people make.

A mutant is the real function with one piece of its text replaced. `python -m chaos.mutants`.
"""

import sys

from chaos.mistakes import MOST_SEEDS, OF_RESTS_AND_DISPUTES, OF_REWARDS, Mutant
from chaos.run import ready
from corechain_relayer.aggregator import batcher
from corechain_relayer.aggregator.batcher import Batcher
from corechain_relayer.aggregator.sealing import Sealer
from corechain_relayer.aggregator.service import Aggregator
from corechain_relayer.guard.service import Guard
from corechain_relayer.guard.store import Answer as GuardAnswer
from corechain_relayer.submitter import decide as decide_module
from corechain_relayer.submitter import outgoing as outgoing_module
from corechain_relayer.submitter import plan as plan_module
from corechain_relayer.submitter import service as service_module
from corechain_relayer.submitter import urgency
from corechain_relayer.submitter.budget import Purse
from corechain_relayer.submitter.look import Watch
from corechain_relayer.submitter.node import Node
from corechain_relayer.submitter.outgoing import Outgoing
from corechain_relayer.submitter.service import Submitter
from corechain_relayer.submitter.turn import Turn
from corechain_relayer.watchtower import standing as tower_standing
from corechain_relayer.watchtower.fleet import Fleet
from corechain_relayer.watchtower.service import Watchtower

RECORD = "await self.journal.record([(a.intent, attempt) for a, attempt in signed], sender)"
FREE = "await self.journal.free_nonces(self.signer.address, chain.count, number)"
ASKED = "await self._found([action.intent for action in actions])"
CAPPED = """    if lowest.max_fee > cap:
        return None
    max_fee = min(cap, max(lowest.max_fee, suggested.max_fee))"""
PACED = "newest.hash in urgent or age(newest.signed_at, now) >= policy.bump_after_s"
WISHED = "memory.urgent | {wished for i in look.intents if (wished := i.wished) is not None}"
plan = plan_module
MUTANTS = (
    Mutant(
        "gives all the same nonce",
        Turn,
        "nonce",
        ", self.free[0]\n    return self.free.pop(0)",
        ", self.free[0]\n    return self.free[0]",
    ),
    Mutant(
        "uses nonces that it has signed for",
        Submitter,
        "_act",
        FREE,
        "list(range(chain.count, chain.count + number))",
    ),
    Mutant("signs above the window", Turn, "nonce", "self.pending >= self.in_flight or ", ""),
    Mutant(
        "bumps by less than a tenth",
        plan,
        "bumped",
        "old.max_fee * 9 // 8",
        "old.max_fee * 21 // 20",
    ),
    Mutant(
        "bumps above the cap",
        plan,
        "bumped",
        CAPPED,
        "    max_fee = max(lowest.max_fee, suggested.max_fee)",
    ),
    Mutant("never replaces", plan, "_chase", "if may_sign and (", "if not may_sign and ("),
    Mutant("replaces in every round", plan, "_chase", PACED, "True"),
    Mutant(
        "takes another nonce when underpriced",
        plan,
        "_chase",
        "Sign(intent, intent.nonce, fees)",
        "Sign(intent, intent.nonce + (newest.hash in urgent), fees)",
    ),
    Mutant(
        "forgets all attempts but the newest",
        plan,
        "_receipt",
        "for tx in intent.hashes",
        "for tx in intent.hashes[-1:]",
    ),
    Mutant(
        "renews a foreign nonce before it is final",
        plan,
        "_foreign",
        "if seen or counted:",
        "if True:",
    ),
    Mutant(
        "renews a revert before it is final",
        plan,
        "_reverted",
        "if receipt.block_number > view.final_block:",
        "if False:",
    ),
    Mutant("fills no gap", plan, "_behind_a_gap", "return next(long, None)", "return None"),
    Mutant("sends what is not in the journal", Outgoing, "sign", "if signed:", "if not signed:"),
    Mutant(
        "goes on when the journal is lost",
        Outgoing,
        "sign",
        RECORD,
        f"""try:
            {RECORD}
        except Exception:
            pass""",
    ),
    Mutant("does not ask whether it is done", Submitter, "_undone", ASKED, "[None] * len(actions)"),
    Mutant("never takes a confirmation back", Watch, "_unconfirm", "if not blocks:", "if True:"),
    Mutant(
        "believes a node on another fork",
        Node,
        "standing",
        "found if found.get(here) else {}",
        "found",
    ),
    Mutant(
        "calls final what a reorg can take",
        Watch,
        "_finalize",
        "confirmed_blocks_through(final_block,",
        "confirmed_blocks_through(head.number,",
    ),
    Mutant(
        "keeps silent about reorgs",
        Watch,
        "_unconfirm",
        "self.metrics.transactions_unconfirmed.inc()",
        "pass",
    ),
    Mutant(
        "leaves in the pool what another has done",
        decide_module,
        "_judged",
        "memory.done(look.policy, now)",
        "{}",
    ),
    Mutant("ignores operators' wishes", service_module, "decide", WISHED, "memory.urgent"),
    Mutant("sends in a paused queue", service_module, "decide", "if look.is_paused:", "if False:"),
    Mutant(
        "signs for what is cancelled",
        outgoing_module,
        "_payload",
        "if intent.cancel is None:",
        "if True:",
    ),
    Mutant("spends more than the budget", Purse, "pays", "if more > self.left:", "if False:"),
    *OF_RESTS_AND_DISPUTES,
    *OF_REWARDS,
    Mutant(
        "asks for an answer once only",
        Watchtower,
        "round",
        "self._told[_key(close)] <= before",
        "False",
        "watchtower",
    ),
    Mutant(
        "answers with what it has, newer or not",
        tower_standing,
        "moot",
        "if held >= version:",
        "if held > 0:",
        "watchtower",
    ),
    Mutant(
        "leaves closes to others",
        Fleet,
        "ours",
        "is_late(c, head) or not _is_answered(c, pending)",
        "not _is_answered(c, {c.channel_id: 1 << 40})",
        "watchtower",
    ),
    Mutant(
        "is as patient in the last minute",
        urgency,
        "hurried",
        "if late else",
        "if False else",
        "watchtower",
    ),
    Mutant(
        "takes an earlier answer for one to this demand",
        GuardAnswer,
        "covers",
        "self.block >= demand.block and not view.was_closed_by(demand.id, self.transaction)",
        "True",
        "guard",
    ),
    Mutant(
        "answers what is being answered",
        GuardAnswer,
        "covers",
        "return not self.cancelled",
        "return False",
        "guard",
    ),
    Mutant(
        "gives a demand up for good",
        Guard,
        "_is_due",
        "if self._not_before.get(demand.id, 0.0) > now:",
        "if demand.id in self._not_before:",
        "guard",
    ),
    Mutant(
        "acknowledges before it is kept",
        Sealer,
        "_keep",
        "size = await self.journal.keep(",
        "await self.consumer.ack(window.frames); size = await self.journal.keep(",
        "aggregator",
    ),
    Mutant(
        "asks nobody about what is out of order",
        Aggregator,
        "_take",
        "await self.devices.sequences(placed.devices) if placed.devices else {}",
        "{}",
        "aggregator",
    ),
    Mutant(
        "drops a window that has no leaf yet",
        Aggregator,
        "_finish",
        "if made:",
        "if True:",
        "aggregator",
    ),
    Mutant(
        "takes all of a frame for new",
        Batcher,
        "_in_order",
        "return ~np.isin(rows, odd)",
        "return np.ones(len(rows), bool)",
        "aggregator",
    ),
    Mutant(
        "does not look into the open window",
        batcher._Judge,
        "outcome",
        "if held is not None:",
        "if False:",
        "aggregator",
    ),
)


def main() -> int:
    """`python -m chaos.mutants [WORD]`: those whose sentence has the word, or of a role."""
    missed = 0
    ready()
    word = sys.argv[1] if sys.argv[1:] else ""
    for mutant in (m for m in MUTANTS if word in m.says or word == m.role):
        found = mutant.seeds_until_noticed()
        missed += found is None
        seeds, name = found or (MOST_SEEDS, "NOT NOTICED")
        print(f"{seeds:>6} seeds  {name:<12} {mutant.says}")
    return missed


if __name__ == "__main__":
    sys.exit(main())
