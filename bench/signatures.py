"""What checking a signature costs, by the size of the frame, beside libsecp256k1's recovery alone.

python bench/signatures.py
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from floor import microseconds, p256_check, recovery

from corechain.protocol.eip712 import registry_domain, report_digest
from corechain.protocol.frame import FrameVerifier, columns_of
from corechain.protocol.keys import DeviceIdentity, P256Key, Secp256k1Key
from corechain.protocol.reading import Observation, Report, SignedReport
from corechain.protocol.verifying import NativeFrameVerifier, frame_verifier

RESULTS = Path(__file__).parent / "results" / "signatures.jsonl"
DOMAIN = registry_domain(31337, b"\x11" * 20)
ROUNDS, LEAST_S = 5, 0.3
MOST = 16_000
Frame = tuple[list[SignedReport], list[DeviceIdentity]]


def signed(keys: list[Secp256k1Key] | list[P256Key], reports: int) -> Frame:
    """So many reports of one observation, by turns of the keys."""
    found: Frame = ([], [])
    who = [(key, key.identity) for key in keys]
    for number in range(reports):
        key, identity = who[number % len(who)]
        report = Report.of(identity.device, number, [Observation(1, number + 1, 1, number)])
        found[0].append(SignedReport(report, key.sign(report_digest(DOMAIN, report))))
        found[1].append(identity)
    return found


def cpu_us(work: Callable[[], object], items: int) -> float:
    """Median CPU time of one item."""
    rounds = []
    for _ in range(ROUNDS):
        started, calls = time.process_time(), 0
        while time.process_time() < started + LEAST_S:
            work()
            calls += 1
        rounds.append((time.process_time() - started) / calls / items)
    return 1e6 * statistics.median(rounds)


def measured(
    name: str, verifier: FrameVerifier, frame: Frame, alone: Callable[[], object]
) -> dict[str, object]:
    reports, identities = frame
    columns = columns_of(b"".join(report.pack() for report in reports))
    assert not any(verifier.verify_all(columns, identities))
    before = microseconds(alone)
    spent = cpu_us(lambda: verifier.verify_all(columns, identities), len(reports))
    floor = (before + microseconds(alone)) / 2
    return {
        "bench": "signatures",
        "case": name,
        "reports": len(reports),
        "native": isinstance(verifier, NativeFrameVerifier),
        "us": round(spent, 1),
        "floor_us": round(floor, 1),
        "of_floor": round(spent / floor, 2),
    }


def main() -> None:
    keys = [Secp256k1Key((index + 1).to_bytes(32, "big")) for index in range(MOST)]
    reports, identities = signed(keys, MOST)
    verifier, recovered = frame_verifier(DOMAIN), recovery()
    lines = []

    def tell(
        name: str, verifier: FrameVerifier, frame: Frame, alone: Callable[[], object] = recovered
    ) -> None:
        lines.append(json.dumps(measured(name, verifier, frame, alone)))
        print(lines[-1], flush=True)

    for count in (1, 8, 32, 128, 500, 2_000, MOST):
        tell("each of another device", verifier, (reports[:count], identities[:count]))
    tell("20 of each device", verifier, signed(keys[:25], 500))
    tell("P-256", verifier, signed([P256Key(key.secret) for key in keys[:500]], 500), p256_check())
    tell("reference", FrameVerifier(DOMAIN), (reports[:500], identities[:500]))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
