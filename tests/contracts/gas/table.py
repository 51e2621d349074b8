# ruff: noqa: E501 (a table reads in lines)
"""What is measured: every operation with its bar and the best peer (docs/gas.md says who that is)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Operation:
    """A row of the table. Gas of a receipt; `each` rows are gas divided by their number."""

    name: str
    what: str
    bar: int | None = None
    peer: int | None = None
    peer_name: str = ""


OPERATIONS = (
    Operation("commit_one", "commit one batch, authorised and bonded", 31_000, 45_869, "EAS timestamp (no authorisation)"),
    Operation("commit_ten", "commit 10 batches in one transaction", 50_000, 267_557, "EAS multiTimestamp"),
    Operation("prove_reading", "prove 1 of 16,384 readings, as a transaction", 41_000, 41_000, "Solady, OpenZeppelin"),
    Operation("prove_range_month", "prove count, sum, min, max of 744 of 16,384 readings"),
    Operation("challenge_bad_signature", "take the bond for a report that its device has not signed"),
    Operation("challenge_duplicate", "take the bond for a report that is in two batches"),
    Operation("receipt_signer_name", "name who signs receipts of a lane"),
    Operation("receipt_demand", "demand a report by a receipt of 1,024"),
    Operation("receipt_answer", "answer that by a batch of 64 reports, and earn the fee"),
    Operation("publish_root", "publish a reward root with its dispute window", 31_000, 30_349, "1inch, without a window"),
    Operation("claim_first", "first claim of an account, 50,000 accounts", 57_000, 89_048, "1inch CMD128"),
    Operation("claim_repeat", "repeat claim", 39_500, 54_892, "1inch CMD128"),
    Operation("claim_ten", "claim for 10 fresh accounts, relayed", 400_000, 1_075_255, "Merkl"),
    Operation("channel_open", "two-way channel: open and deposit", 65_400, 65_536, "go-nitro"),
    Operation("channel_top_up", "two-way channel: top up", 48_400, 48_520, "go-nitro"),
    Operation("channel_close", "two-way channel: cooperative close, both paid", 56_000, 99_176, "go-nitro"),
    Operation("channel_challenge", "two-way channel: challenge", 36_500, 112_015, "Keychain X402StateChannel"),
    Operation("channel_respond", "two-way channel: respond", 36_500, 58_143, "Keychain X402StateChannel"),
    Operation("channel_finalise", "two-way channel: finalise, both paid", 51_000, 69_711, "go-nitro"),
    Operation("redeem_one", "redeem 1 voucher with payout", 55_000, 61_587, "Tempo StreamChannel"),
    Operation("redeem_ten_each", "redeem 10 vouchers of 10 channels, each", 14_500, 28_558, "x402 BatchSettlement"),
    Operation("redeem_hundred_each", "redeem 100 vouchers of 100 channels, each", 11_000),
    Operation("register_one", "register 1 device in its own slot", 46_500, 51_234, "Solady ERC721 mint"),
    Operation("register_hundred", "register 100 devices by root, list in the log", 130_000, 2_483_355, "Solady ERC721 mint loop"),
)  # fmt: skip
BY_NAME = {operation.name: operation for operation in OPERATIONS}
CONTRACTS = (
    "DeviceRegistry", "DataBatches", "BatchChallenges", "CoreToken", "PaymentChannels",
    "StateChannels", "Erc3009Collector", "Permit2Collector",
)  # fmt: skip
