"""The floor of every ingest figure: libsecp256k1 on this CPU, with everything parsed.

python bench/floor.py
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from coincurve import PrivateKey, PublicKey
from coincurve._libsecp256k1 import ffi, lib
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

RESULTS = Path(__file__).parent / "results"
CALLS, ROUNDS = 1_000, 9
DIGEST = bytes(range(32))
# Signing is in coincurve's static context; to recover takes one that can verify, which all can.
CONTEXT = PublicKey.from_valid_secret(b"\x01" * 32).context.ctx


def recovery() -> Callable[[], object]:
    raw = PrivateKey(b"\x07" * 32).sign_recoverable(DIGEST, hasher=None)
    signature = ffi.new("secp256k1_ecdsa_recoverable_signature *")
    assert lib.secp256k1_ecdsa_recoverable_signature_parse_compact(
        CONTEXT, signature, raw[:64], raw[64]
    )
    key = ffi.new("secp256k1_pubkey *")
    return lambda: lib.secp256k1_ecdsa_recover(CONTEXT, key, signature, DIGEST)


def _verify() -> Callable[[], object]:
    private = PrivateKey(b"\x07" * 32)
    signature = ffi.new("secp256k1_ecdsa_signature *")
    raw = private.sign_recoverable(DIGEST, hasher=None)
    assert lib.secp256k1_ecdsa_signature_parse_compact(CONTEXT, signature, raw[:64])
    key = private.public_key.public_key
    return lambda: lib.secp256k1_ecdsa_verify(CONTEXT, signature, DIGEST, key)


def p256_check() -> Callable[[], object]:
    """OpenSSL alone, all parsed: what P-256 is measured against."""
    private = ec.derive_private_key(7, ec.SECP256R1())
    scheme = ec.ECDSA(Prehashed(SHA256()))
    signature, key = private.sign(bytes(32), scheme), private.public_key()
    return lambda: key.verify(signature, bytes(32), scheme) is None


def microseconds(call: Callable[[], object]) -> float:
    """Median CPU time of one call."""
    assert call() == 1, "the library refuses the bench's own signature"
    rounds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(CALLS):
            call()
        rounds.append((time.process_time() - started) / CALLS)
    return round(1e6 * statistics.median(rounds), 1)


def floor() -> dict[str, float]:
    return {"recover_us": microseconds(recovery()), "verify_us": microseconds(_verify())}


def main() -> None:
    line = json.dumps({"bench": "floor", **floor()})
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "floor.jsonl").write_text(line + "\n")
    print(line)


if __name__ == "__main__":
    main()
