"""The demo's last words: one table."""

from collections.abc import Iterator

from corechain.cli_output import console, table
from corechain.devnet.cover import Settled
from corechain.devnet.findings import Findings
from corechain.devnet.settings import Ports

CORE = 10**18


def _mean(findings: Findings) -> str:
    result = findings.mean
    if result is None:
        return "–"
    return f"{result.mean:.2f} °C of {result.count} readings in {len(result.answer.parts)} batches"


def _cover(settled: Settled) -> str:
    proven = f"mean {settled.mean:.2f} °C of {settled.count} readings in {settled.batches} batches"
    return f"{settled.payout / CORE:g} ether: {proven}, {settled.gas['claim']:,} gas"


def lines(findings: Findings) -> Iterator[tuple[str, str]]:
    """Rows of the summary: what, and how much."""
    reasons = ", ".join(f"{name} {count}" for name, count in findings.reasons().most_common())
    rejected = len(findings.rejections)
    yield "hourly rows sent as reports", f"{findings.reports:,} ({findings.refused} refused)"
    yield "observations in them", f"{findings.observations:,}"
    yield "accepted as readings", f"{findings.accepted:,}"
    yield "rejected", f"{rejected:,} ({reasons})"
    for fault in findings.faults:
        yield "known fault of the data", fault
    yield "batches on chain", f"{findings.batches}"
    yield "gas per reading", f"{findings.commit_gas / max(1, findings.accepted):.1f}"
    yield "replay", f"{findings.observations / findings.replay_s:,.0f} observations a second"
    yield "indexing lag (median)", f"{findings.lag_s:.2f} s from commitment to verified data"
    yield "EWR mean temperature, May", _mean(findings)
    yield "proofs verified", f"{findings.proofs:,}, by the contract {findings.proofs_by_contract}"
    yield "rewards claimed", f"{findings.rewards / CORE:,.2f} CORE"
    yield "queries paid by voucher", f"{findings.queries}"
    redeemed = findings.redeemed
    amount = int(redeemed["amount"]) / CORE
    text = (
        f"{redeemed['queries']} in one transaction: {amount:g} CORE, {redeemed['gas_used']:,} gas"
    )
    yield "vouchers redeemed", text
    if findings.cover is not None:
        yield "heat cover paid out", _cover(findings.cover)
    yield "time", f"{findings.wall_s:.0f} s"
    yield "to look around", f"make up, then http://127.0.0.1:{Ports().indexer}/explorer/"


def show(findings: Findings) -> None:
    rows = table("what", "how much", title="CoreChain demo")
    for name, value in lines(findings):
        rows.add_row(name, value)
    console().print(rows)
