"""What a completeness receipt costs the gateway: CPU a report, beside what the report costs anyway.

python bench/receipts.py            make bench-receipts

In one process, without a socket: a frame of real signed reports is parsed, verified and answered,
with receipts and without. The chain's word is assumed, as the gateway has it ready in memory.
"""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corechain.implementation import is_native
from corechain.protocol.eip712 import Domain, report_digest
from corechain.protocol.frame import Columns, columns_of
from corechain.protocol.hashing import keccak
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.reading import Observation, Report, SignedReport
from corechain.protocol.roots import hash_slices, merkle_root
from corechain.protocol.verifying import frame_verifier
from corechain.service.workers import Workers
from corechain_relayer.gateway.intake import Intake
from corechain_relayer.gateway.problem import answer
from corechain_relayer.metrics import Metrics
from corechain_relayer.receipts.desk import Asking, ReceiptDesk
from corechain_relayer.receipts.keeper import Terms
from corechain_relayer.receipts.signer import ReceiptSigner
from corechain_relayer.receipts.wish import Wish

RESULTS = Path(__file__).parent / "results" / "receipts.jsonl"
DOMAIN = Domain("CoreChain", "1", 31_337, bytes([7]) * 20)
KEYS, FRAME, ROUNDS, CELL = 100, 1_000, 15, 0x872A1072BFFFFFF
GOAL_US = 0.3
SIZES = {"requests of 500": 500, "requests of 20": 20, "single reports": 1}


@dataclass(frozen=True, slots=True)
class Ready:
    """Stands where the gateway's look at the chain does: its word is there before a frame is."""

    def terms(self, place: int) -> Terms:
        return Terms(0, 1_000, 2_000)


def signed_reports() -> list[SignedReport]:
    keys = [Secp256k1Key(keccak(b"bench device %d" % number)) for number in range(KEYS)]
    found = []
    for number in range(FRAME):
        sequence, place = divmod(number, KEYS)
        device = keys[place].identity.device
        report = Report.of(device, sequence, [Observation(1, CELL, 1_800_000_000, number)])
        found.append(SignedReport(report, keys[place].sign(report_digest(DOMAIN, report))))
    return found


def cpu_us(step: Callable[[], Any]) -> float:
    """Median CPU microseconds a report of a step over one frame, all threads."""
    step()
    times = []
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        step()
        times.append((time.process_time_ns() - began) / 1_000 / FRAME)
    return statistics.median(times)


@dataclass(frozen=True, slots=True)
class Frame:
    """A full frame as the gateway has it when its reports are durable."""

    columns: Columns
    desk: ReceiptDesk

    def intakes(self, size: int) -> list[Intake]:
        spans = (range(at, at + size) for at in range(0, FRAME, size))
        return [Intake(self.columns.select(span), range(size), size) for span in spans]

    def receipted(self, size: int) -> list[Wish]:
        wishes = [Wish() for _ in range(FRAME // size)]
        asking = [Asking(wish, size * at, size * at + size) for at, wish in enumerate(wishes)]
        faults = [None] * FRAME
        serving = self.desk.serve(self.columns, faults, asking, lambda columns, at: {0: at})
        # A frame's task awaits it: here as there no step of the event loop lies between.
        with suppress(StopIteration):
            serving.send(None)
        return wishes

    def answers(self, intakes: Sequence[Intake], wishes: Sequence[Wish | None]) -> int:
        """Bytes of all answers."""
        pairs = zip(intakes, wishes, strict=True)
        return sum(len(answer(one, [None] * one.count, wish).body) for one, wish in pairs)


def measured(frame: Frame, size: int) -> dict[str, float]:
    intakes = frame.intakes(size)
    wishes, nobody = frame.receipted(size), [None] * len(intakes)
    plain = cpu_us(lambda: frame.answers(intakes, nobody))
    signing = cpu_us(lambda: frame.receipted(size))
    telling = cpu_us(lambda: frame.answers(intakes, wishes)) - plain
    more = frame.answers(intakes, wishes) - frame.answers(intakes, nobody)
    return {
        "sign_us": round(signing, 3),
        "answer_us": round(telling, 3),
        "bytes": round(more / FRAME, 1),
    }


def without_us(columns: Columns) -> float:
    """What a report costs before its receipt: parsed and verified, no socket, no bus."""
    verifier, packed = frame_verifier(DOMAIN), columns.packed
    ids = columns.device_ids()
    known = {r.report.device: r for r in columns.reports()}
    keys = {Secp256k1Key(keccak(b"bench device %d" % n)).identity for n in range(KEYS)}
    identities = {key.device: key for key in keys}
    assert known.keys() == identities.keys()
    senders = [identities[device] for device in ids]
    assert not any(verifier.verify_all(columns, senders))
    return cpu_us(lambda: verifier.verify_all(columns_of(packed), senders))


def main() -> None:
    columns = columns_of(b"".join(report.pack() for report in signed_reports()))
    signer = ReceiptSigner(Secp256k1Key(keccak(b"bench receipts")), DOMAIN)
    keeper: Any = Ready()
    workers = Workers("bench", 1)
    desk = ReceiptDesk(keeper, lambda devices: set(), signer, workers, Metrics())
    frame = Frame(columns, desk)
    without = without_us(columns)
    sizes = {name: measured(frame, size) for name, size in SIZES.items()}
    signing = sizes["requests of 500"]["sign_us"] + sizes["requests of 500"]["answer_us"]
    result = {
        "at": int(time.time()),
        "native": is_native(),
        "frame": FRAME,
        "receipt_us": round(signing, 3),
        "goal_us": GOAL_US,
        "floor_us": {
            "hash each report and the tree": round(cpu_us(lambda: hashed(columns)), 3),
            "one signature": round(cpu_us(lambda: signer.key.sign(bytes(32))), 3),
        },
        "without_us": round(without, 3),
        "ratio": round((without + signing) / without, 4),
        "sizes": sizes,
    }
    with RESULTS.open("a") as file:
        file.write(json.dumps(result) + "\n")
    print(json.dumps(result, indent=2))
    workers.close()


def hashed(columns: Columns) -> bytes:
    return merkle_root(hash_slices(columns.packed, columns.starts))


if __name__ == "__main__":
    main()
