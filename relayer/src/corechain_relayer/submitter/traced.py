"""The span of a batch's way to the chain."""

import time

from corechain.service.tracing import Span, Traces, batch_context
from corechain_relayer.calldata import commitment_in, committed_id
from corechain_relayer.submitter.plan import Intent, Receipt


def trace_commit(traces: Traces, intent: Intent, receipt: Receipt) -> None:
    """From the first signature to a confirmed block. Other intents than commitments have none."""
    commitment = commitment_in(intent.calldata) if traces.on else None
    if commitment is None:
        return
    ended, batch = time.time(), batch_context(commitment)
    began = intent.attempts[0].signed_at if intent.attempts else ended
    facts: dict[str, str | int] = {
        "corechain.batch": committed_id(intent.calldata),
        "corechain.block": receipt.block_number,
        "corechain.transaction": receipt.hash.hex(),
        "corechain.gas": receipt.gas_used,
        "corechain.attempts": len(intent.attempts),
    }
    name = "commit on chain"
    traces.emit(Span("submitter", name, batch.child(), began, ended, batch.span, (), facts))
