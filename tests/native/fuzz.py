"""The long run: random frames until both judged so many reports. The first difference ends it.

    PYTHONPATH=tests python tests/native/fuzz.py --reports 1000000 [--without-vectors]

An honest report is judged by the reference once, a forged one each time; the native verifier judges
every frame. Beside each frame stands a question for a range proof with anything in it. Prints one
JSON line.
"""

import argparse
import json
import sys
from array import array
from collections import Counter
from random import Random

from support.forging import DOMAIN, FORGERIES, ODDITIES, Sent, cancelling_pair, frame_of, sign
from support.ranging import call_with_any_range

from corechain.protocol.frame import FrameVerifier
from corechain.protocol.keys import P256Key, Secp256k1Key
from corechain.protocol.signature import P256_ORDER, SECP256K1_ORDER
from corechain.protocol.verifying import KnownKeys, NativeFrameVerifier
from corechain_native import INVALID, UNJUDGED, verify_frame
from corechain_native._native import lib

REFERENCE = FrameVerifier(DOMAIN)
SIZES = (1, 2, 3, 8, 27, 30, 60, 150, 400)
"""Around 28 the sum turns from the library's tables to buckets."""
FORGED_SHARES = (0.0, 0.0, 0.0, 0.02, 0.1, 0.5, 1.0)
FRAMES_A_POOL = 200


def new_pool(random: Random) -> list[Sent]:
    """Honest reports of new devices, a few of them with P-256 keys; the reference agrees."""
    pool = []
    for _ in range(60):
        key = Secp256k1Key(random.randrange(1, SECP256K1_ORDER).to_bytes(32, "big"))
        pool += [sign(key, sequence, random.randint(1, 9)) for sequence in range(5)]
    element = P256Key(random.randrange(1, P256_ORDER).to_bytes(32, "big"))
    pool += [sign(element, sequence) for sequence in range(3)]
    columns, identities = frame_of(pool)
    assert REFERENCE.verify_all(columns, identities) == [None] * len(pool)
    return pool


def new_frame(pool: list[Sent], random: Random, told: Counter[str]) -> list[tuple[Sent, bool]]:
    """Reports, and whether each is as it was signed."""
    share, frame = random.choice(FORGED_SHARES), []
    for _ in range(random.choice(SIZES)):
        sent, is_forged = random.choice(pool), random.random() < share
        if is_forged:
            forge = random.choice(FORGERIES + ODDITIES)
            told[forge.__name__] += 1
            sent = forge(sent, random)
        frame.append((sent, not is_forged))
    if share and random.random() < 0.1:
        key = Secp256k1Key(random.randrange(1, SECP256K1_ORDER).to_bytes(32, "big"))
        told["cancelling pair"] += 2
        frame += [(sent, False) for sent in cancelling_pair(key)]
    return frame


def judge(
    frame: list[tuple[Sent, bool]], verifier: NativeFrameVerifier, told: Counter[str]
) -> bool:
    """Whether both say the same."""
    sent = [item for item, _ in frame]
    columns, identities = frame_of(sent)
    found = verifier.verify_all(columns, identities)
    forged = [index for index, (_, is_honest) in enumerate(frame) if not is_honest]
    expected = dict.fromkeys(range(len(frame)), "None")
    reference = REFERENCE.verify_reports(
        [sent[index].signed for index in forged], [sent[index].identity for index in forged]
    )
    expected.update(zip(forged, map(repr, reference), strict=True))
    told["refused"] += sum(verdict is not None for verdict in found)
    return [repr(verdict) for verdict in found] == list(expected.values())


def call_with_anything(random: Random, told: Counter[str]) -> None:
    """Bytes, offsets, curves and keys without any sense: an answer or ValueError, nothing else."""
    count, length = random.randrange(5), random.randrange(600)
    starts = array("I", (random.randrange(700) for _ in range(count + 1)))
    if random.random() < 0.7:
        starts = array("I", range(0, 100 * count + 1, 100))
    try:
        verdicts, _ = verify_frame(
            random.randbytes(length), starts, random.randbytes(32),
            [random.randbytes(20) for _ in range(count)], bytes(random.choices((1, 2, 7), k=count)),
            bytearray(random.randbytes(64 * count)),
        )  # fmt: skip
    except ValueError:
        told["senseless calls refused"] += 1
    else:
        assert set(verdicts) <= {INVALID, UNJUDGED}
        told["senseless calls answered"] += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without-vectors", action="store_true")
    options = parser.parse_args()
    vectors = bool(lib.corechain_use_lanes(not options.without_vectors))
    told: Counter[str] = Counter()
    while told["reports"] < options.reports:
        random = Random(f"{options.seed} {told['frames']}")
        pool, verifier = new_pool(random), NativeFrameVerifier(DOMAIN, KnownKeys())
        for _ in range(FRAMES_A_POOL):
            frame = new_frame(pool, random, told)
            call_with_anything(random, told)
            told[f"ranges: {call_with_any_range(random)}"] += 1
            told["frames"] += 1
            told["reports"] += len(frame)
            if not judge(frame, verifier, told):
                print(f"they differ: seed {options.seed}, frame {told['frames']}", file=sys.stderr)
                return 1
    print(json.dumps({"seed": options.seed, "vectors": vectors, **told}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
