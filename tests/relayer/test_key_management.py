"""A key that a key management service in the shape of AWS KMS holds.

given a service that answers in DER
  whatever s is, the chain knows the sender
  what is no signature of our key is a failure by kind
given one that failed, is busy, or is silent
  it is asked with the credentials of now, when it wants to be, and at the cost of nobody else
"""

import threading
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from eth_account import Account as Accounts
from support.processes import PATIENCE_S

from corechain.protocol.hashing import keccak
from corechain.protocol.signature import SECP256K1_ORDER
from corechain_relayer.submitter.custody import (
    MISTAKEN,
    THREADS,
    UNAVAILABLE,
    KeyManagement,
    RemoteSigner,
    SignerFailed,
)
from corechain_relayer.submitter.plan import Fees, Intent
from corechain_relayer.submitter.signer import Signer
from relayer.support import SUBMITTER_KEY

CALL = Intent(1, "batch:1", b"\7" * 20, b"call")
LOCAL = Signer.of(SUBMITTER_KEY, 31337)
FIELDS = (CALL, 3, Fees(100, 1), 50_000, 1.5)


class Service:
    """AWS KMS, as boto3 shows it: a digest in, DER out, by a library that takes any s."""

    def __init__(self, high: bool | None = None) -> None:
        secret = int(SUBMITTER_KEY, 16)
        self.key, self.high = ec.derive_private_key(secret, ec.SECP256K1()), high
        self.answer: Mapping[str, Any] | Exception | None = None

    def sign(self, **asked: Any) -> Mapping[str, Any]:
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return self.answer
        assert (asked["MessageType"], asked["SigningAlgorithm"]) == ("DIGEST", "ECDSA_SHA_256")
        found = self.key.sign(asked["Message"], ec.ECDSA(Prehashed(hashes.SHA256())))
        r, s = decode_dss_signature(found)
        if self.high is not None and (s > SECP256K1_ORDER // 2) is not self.high:
            s = SECP256K1_ORDER - s
        return {"KeyId": asked["KeyId"], "Signature": encode_dss_signature(r, s)}


@pytest.mark.parametrize("high", [False, True])
async def test_a_key_management_service_signs_for_the_same_sender(high: bool) -> None:
    custody = KeyManagement(Service(high), "alias/lane-0", 20.0)
    signer = RemoteSigner(custody, LOCAL.address, 31337)
    for nonce in range(8):
        attempt = await signer.signed(CALL, nonce, Fees(100, 1), 50_000, 1.5)
        sender = Accounts.recover_transaction(attempt.raw)
        assert bytes.fromhex(sender[2:]) == LOCAL.address
        assert attempt.hash == keccak(attempt.raw)


async def test_what_a_key_management_service_does_wrong_is_a_failure_by_kind() -> None:
    service, counts = Service(), list[str]()
    custody = KeyManagement(service, "alias/lane-0", 20.0)
    signer = RemoteSigner(custody, LOCAL.address, 31337, counts.append)
    wrong: list[tuple[Any, str]] = [
        (PermissionError("AccessDenied"), UNAVAILABLE),
        ({}, MISTAKEN),
        ({"Signature": b"\x30\x00"}, MISTAKEN),
        ({"Signature": None}, MISTAKEN),
        ({"Signature": encode_dss_signature(1, 1)}, MISTAKEN),
        ({"Signature": encode_dss_signature(SECP256K1_ORDER, 1)}, MISTAKEN),
    ]
    for answer, _ in wrong:
        service.answer = answer
        with pytest.raises(SignerFailed):
            await signer.signed(*FIELDS)
    assert counts == [kind for _, kind in wrong]


async def test_a_service_that_failed_is_asked_with_the_credentials_of_now() -> None:
    expired = Service()
    expired.answer = PermissionError("ExpiredToken")
    custody = KeyManagement(expired, "alias/lane-0", 20.0, Service)
    signer = RemoteSigner(custody, LOCAL.address, 31337)
    with pytest.raises(SignerFailed):
        await signer.signed(*FIELDS)
    assert (await signer.signed(*FIELDS)).nonce == FIELDS[1]


async def test_a_service_that_asks_for_time_is_left_alone_for_as_long() -> None:
    class Throttled(Exception):
        """As botocore's ClientError: the answer's status and headers beside it."""

        response: ClassVar = {
            "Error": {"Code": "ThrottlingException"},
            "ResponseMetadata": {"HTTPStatusCode": 400, "HTTPHeaders": {"retry-after": "30"}},
        }

    service = Service()
    service.answer = Throttled("Rate exceeded")
    custody = KeyManagement(service, "alias/lane-0", 20.0)
    with pytest.raises(SignerFailed, match="Rate exceeded"):
        await custody.signature(b"payload")
    service.answer = None
    with pytest.raises(SignerFailed, match="left alone for 30 s"):
        await custody.signature(b"payload")


async def test_a_silent_service_takes_none_of_the_threads_that_others_need() -> None:
    release = threading.Event()

    class Silent:
        def sign(self, **_: Any) -> Mapping[str, Any]:
            release.wait(PATIENCE_S)
            return {}

    others = set(threading.enumerate())
    custody = KeyManagement(Silent(), "alias/lane-0", 0.01)
    for _ in range(THREADS + 2):
        with pytest.raises(SignerFailed, match="TimeoutError"):
            await custody.signature(b"payload")
    taken = [thread.name[:3] for thread in set(threading.enumerate()) - others]
    assert taken == THREADS * ["kms"]
    release.set()
