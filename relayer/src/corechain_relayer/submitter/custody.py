"""Keys that somebody else holds: a web3signer, or a key management service in the shape of AWS KMS.

The transaction's bytes are made here, and only their signature comes from outside. It is checked
before anything is journalled: what does not recover to our address is nobody's signature.
"""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from corechain.held import Held
from corechain.http import LoopClients, async_client, put_off_s, retry_after_s, shown_url
from corechain.protocol.errors import InvalidSignature, TransportError
from corechain.protocol.hashing import keccak
from corechain.protocol.keys import recover_signer
from corechain.protocol.signature import SECP256K1_ORDER
from corechain.service.named_url import now_of
from corechain_relayer.submitter.plan import Attempt, Fees, Intent
from corechain_relayer.submitter.signer import PARITY, attempt_of, fields_of, lock_of, payload_of

if TYPE_CHECKING:
    import httpx

UNAVAILABLE, MISTAKEN = "unavailable", "mistaken"
MOST_BYTES = 1 << 16
"""A server that never ends its answer must not take our memory; a list of 400 keys is as long."""
_SIGNATURE = re.compile(r"0x[0-9a-fA-F]{130}", re.ASCII)
_PUBLIC_KEY = re.compile(r"0x(?:04)?([0-9a-fA-F]{128})", re.ASCII)


class SignerFailed(TransportError):
    """Who holds our key did not sign, or not with our key. Nothing was signed, no nonce is used.

    `kind`: `unavailable` or `mistaken`.
    """

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(f"the signer is {kind}: {why}")
        self.kind = kind


class Custody(Protocol):
    """Who holds a secp256k1 key."""

    async def signature(self, payload: bytes) -> tuple[int, int]:
        """(r, s) over the payload's Keccak-256 digest. Raises SignerFailed."""


def checked(digest: bytes, r: int, s: int, address: bytes) -> bytes:
    """The 64-byte EIP-2098 form of a signature by the key of `address`. A high s is turned into the
    low one, which signs the same: services give either, chains take the low one alone (EIP-2).

    Raises SignerFailed.
    """
    if not (0 < r < SECP256K1_ORDER and 0 < s < SECP256K1_ORDER):
        raise SignerFailed(MISTAKEN, "r or s is not below the order of the curve")
    low = min(s, SECP256K1_ORDER - s)
    for parity in (0, PARITY):
        # r and s as 32 bytes each, however short the service wrote them.
        found = r.to_bytes(32, "big") + (low | parity).to_bytes(32, "big")
        try:
            if recover_signer(digest, found) == address:
                return found
        except InvalidSignature:  # no point of the curve has this r
            continue
    raise SignerFailed(MISTAKEN, f"its signature is not of the key of 0x{address.hex()}")


@dataclass(frozen=True, slots=True)
class RemoteSigner:
    """An account on one chain, whose key is elsewhere. `failed`: is called with the kind of each
    failure."""

    custody: Custody = field(repr=False)
    address: bytes
    chain_id: int
    failed: Callable[[str], None] = field(default=lambda kind: None, repr=False)

    @property
    def lock(self) -> str:
        """As of a key that lies here: it may move from one to the other."""
        return lock_of(self.address)

    async def signed(self, call: Intent, nonce: int, fees: Fees, gas: int, now: float) -> Attempt:
        """Raises SignerFailed."""
        fields = fields_of(self.chain_id, call, nonce, fees, gas)
        payload = payload_of(fields)
        try:
            r, s = await self.custody.signature(payload)
            signature = checked(keccak(payload), r, s, self.address)
        except SignerFailed as error:
            self.failed(error.kind)
            raise
        return attempt_of(fields, signature, nonce, fees, now)


# ---------------------------------------------------------------------- web3signer


@dataclass(slots=True)
class Web3Signer:
    """Its eth1 API: `POST /api/v1/eth1/sign/{public key}` signs the Keccak-256 of data. (Source:
    the REST API reference of Consensys web3signer.) Not its `eth_signTransaction`: that needs a
    node behind it, and hands back a whole transaction, which then has to be taken apart."""

    url: str = field(repr=False)
    address: bytes
    timeout_s: float
    _given: str = field(init=False, repr=False)
    _clients: "LoopClients" = field(init=False, repr=False)
    _identifier: str | None = None
    _held: Held = field(init=False, default_factory=Held)

    def __post_init__(self) -> None:
        self._given, self.url = self.url, self.url.rstrip("/")
        self._clients = LoopClients(lambda: async_client(self.url))

    async def signature(self, payload: bytes) -> tuple[int, int]:
        body = {"data": f"0x{payload.hex()}"}
        try:
            if self._identifier is None:
                self._identifier = await self._find()
            text = await self._ask("POST", f"/api/v1/eth1/sign/{self._identifier}", json=body)
        except SignerFailed:
            # Its keys may have changed, or our password there: both are asked for again.
            self._identifier, self.url = None, now_of(self._given).rstrip("/")
            raise
        if not _SIGNATURE.fullmatch(text):
            raise SignerFailed(MISTAKEN, "its answer is no signature of 65 bytes")
        return int(text[2:66], 16), int(text[66:130], 16)

    async def _find(self) -> str:
        """What it calls our key: the public key of our address."""
        try:
            keys = json.loads(await self._ask("GET", "/api/v1/eth1/publicKeys"))
        except (ValueError, RecursionError):
            raise SignerFailed(MISTAKEN, "its list of keys is no JSON") from None
        for key in keys if isinstance(keys, list) else ():
            found = _PUBLIC_KEY.fullmatch(key) if isinstance(key, str) else None
            if found and keccak(bytes.fromhex(found[1]))[12:] == self.address:
                return str(key)
        raise SignerFailed(UNAVAILABLE, f"it has no key of 0x{self.address.hex()}")

    async def _ask(self, method: str, path: str, **content: Any) -> str:
        """An answer as text, without quotes. Raises SignerFailed."""
        import httpx

        where = shown_url(self.url, path=False)
        if left_s := self._held.left_s():
            raise SignerFailed(UNAVAILABLE, f"{where} asks to be left alone for {left_s:.0f} s")
        try:
            async with asyncio.timeout(self.timeout_s):
                http = await self._clients.get()
                options = {"timeout": None, "follow_redirects": False, **content}
                async with http.stream(method, self.url + path, **options) as response:
                    status, body = response.status_code, await _read(response)
                    self._held.begin(put_off_s(status, response.headers))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError) as error:
            raise SignerFailed(UNAVAILABLE, f"{where}: {type(error).__name__}") from error
        if status != 200:
            raise SignerFailed(UNAVAILABLE, f"{where} answers {status} to {method} {path[:19]}")
        return body.decode(errors="replace").strip().strip('"')


async def _read(response: "httpx.Response") -> bytes:
    """Raises SignerFailed for what is too long."""
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > MOST_BYTES:
            raise SignerFailed(MISTAKEN, f"its answer is over {MOST_BYTES} bytes")
    return bytes(body)


# ---------------------------------------------------------------------- AWS KMS


THREADS = 4
"""Calls that may hang at a time; a later one waits for one of them to end, or for its own time."""


def _put_off_s(error: Exception) -> float:
    """What the service's answer asks for: botocore keeps its headers beside its error. It says that
    there are too many requests by status 400, not 429."""
    answer = getattr(error, "response", None)
    about = answer.get("ResponseMetadata") if isinstance(answer, dict) else None
    headers = about.get("HTTPHeaders") if isinstance(about, dict) else None
    return (retry_after_s(headers) or 0.0) if isinstance(headers, dict) else 0.0


class KmsClient(Protocol):
    """Of `boto3.client("kms")`, what is used. Blocking."""

    def sign(
        self, *, KeyId: str, Message: bytes, MessageType: str, SigningAlgorithm: str
    ) -> Mapping[str, Any]: ...


@dataclass(slots=True)
class KeyManagement:
    """A key of type ECC_SECG_P256K1. The service calls the algorithm ECDSA_SHA_256, and signs the
    digest that it is given, whatever made it; its answer is DER (RFC 3279), s high or low.

    `again`: makes a client of the credentials that there are by now; after a failure."""

    client: KmsClient = field(repr=False)
    key_id: str
    timeout_s: float
    again: Callable[[], KmsClient] | None = field(default=None, repr=False)
    _has_failed: bool = field(default=False, init=False)
    _held: Held = field(init=False, default_factory=Held)
    # Its own: a service that is silent must not take the threads that all else of a process needs.
    _threads: ThreadPoolExecutor = field(
        init=False, repr=False, default_factory=lambda: ThreadPoolExecutor(THREADS, "kms")
    )

    async def signature(self, payload: bytes) -> tuple[int, int]:
        if left_s := self._held.left_s():
            raise SignerFailed(UNAVAILABLE, f"it asks to be left alone for {left_s:.0f} s")
        signed = partial(self._sign, keccak(payload))
        try:
            async with asyncio.timeout(self.timeout_s):
                answer = await asyncio.get_running_loop().run_in_executor(self._threads, signed)
        # The client is somebody else's, and its errors (botocore's) are not ours to import.
        except Exception as error:
            self._has_failed = True
            self._held.begin(_put_off_s(error))
            raise SignerFailed(UNAVAILABLE, f"{type(error).__name__}: {error!s:.200}") from error
        try:
            return decode_dss_signature(answer["Signature"])
        except (KeyError, TypeError, ValueError):
            raise SignerFailed(MISTAKEN, "its answer is no signature in DER") from None

    def _sign(self, digest: bytes) -> Mapping[str, Any]:
        if self._has_failed and self.again is not None:
            self.client = self.again()
        self._has_failed = False
        return self.client.sign(
            KeyId=self.key_id,
            Message=digest,
            MessageType="DIGEST",
            SigningAlgorithm="ECDSA_SHA_256",
        )
