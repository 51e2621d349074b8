"""Signed messages between servers: how they are signed, and how a receiver checks them. No I/O.

Alerts of the services and the events of `corechain stream --webhook` are signed alike:
`corechain-signature: t=<seconds>,v1=<hex>`, HMAC-SHA256 with the shared secret over the time, a
point and the body. `corechain-delivery` is the same for each attempt at one message.
"""

import hmac
import re
import time
from collections.abc import Callable
from hashlib import sha256

from corechain.protocol.errors import InvalidValue, ProtocolError, ValueOutOfRange
from corechain.protocol.values import number, one_of

SIGNATURE, DELIVERY = "corechain-signature", "corechain-delivery"
TOLERANCE_S = 300.0
MIN_SECRET_BYTES = 16
_SIGNATURE = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})", re.ASCII)


class InvalidWebhook(ProtocolError):
    """A message that is not signed with the secret, or is too old: answer 4xx, take nothing."""


def signature_of(secret: bytes, at: int, body: bytes) -> str:
    """`t=<seconds>,v1=<hex>`, so that neither time nor body can be changed, or sent again later."""
    signed = hmac.new(secret, b"%d." % at + body, sha256).hexdigest()
    return f"t={at},v1={signed}"


def check_webhook(
    secret: bytes,
    signature: str | bytes | None,
    body: bytes,
    *,
    tolerance_s: float = TOLERANCE_S,
    clock: Callable[[], float] = time.time,
) -> None:
    """For receivers: the body, as it came, was signed with the secret at most `tolerance_s` ago.
    `signature` is the header `corechain-signature`. Raises InvalidWebhook; InvalidValue where the
    receiver is set up wrongly."""
    one_of("secret", secret, bytes, "takes bytes: text.encode()")
    if len(secret) < MIN_SECRET_BYTES:
        # An empty one, of a variable that is not set, anybody could sign with.
        raise InvalidValue("secret", "…", f"has {MIN_SECRET_BYTES} bytes at least")
    one_of("body", body, bytes, "takes the bytes of the body, as they came")
    if number("tolerance_s", tolerance_s) < 0:
        raise ValueOutOfRange("tolerance_s", tolerance_s, "it is a number of seconds")
    if isinstance(signature, bytes):
        signature = signature.decode("latin-1")  # as servers hand on header fields
    found = _SIGNATURE.fullmatch(signature) if isinstance(signature, str) else None
    if found is None:
        raise InvalidWebhook("the header corechain-signature is missing, or is none")
    at = int(found[1])
    if not hmac.compare_digest(signature_of(secret, at, body), found[0]):
        raise InvalidWebhook("the signature is of another secret, time or body")
    if abs(clock() - at) > tolerance_s:
        raise InvalidWebhook(f"signed at {at}, which is more than {tolerance_s:g} s away")
