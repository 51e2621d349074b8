"""Reports with honest, mutated and adversarial signatures, for verifiers to agree on."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from coincurve import PublicKey

from corechain.protocol.eip712 import Domain, registry_domain, report_digest
from corechain.protocol.frame import Columns, columns_of
from corechain.protocol.keys import DeviceIdentity, KeyType, P256Key, Secp256k1Key, device_id
from corechain.protocol.reading import Observation, Report, SignedReport
from corechain.protocol.signature import P256_ORDER, SECP256K1_ORDER

DOMAIN = registry_domain(31337, b"\x11" * 20)
ORDER = SECP256K1_ORDER
FIELD = 2**256 - 2**32 - 977
PARITY = 1 << 255
NONCE = 7
"""Of signatures made by hand, whose maker knows the discrete logarithm of R."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A report as it came in, and the device that it claims."""

    signed: SignedReport
    identity: DeviceIdentity


def frame_of(sent: list[Sent]) -> tuple[Columns, list[DeviceIdentity]]:
    packed = b"".join(item.signed.pack() for item in sent)
    return columns_of(packed), [item.identity for item in sent]


def report(identity: DeviceIdentity, sequence: int, observations: int = 1) -> Report:
    rows = [Observation(1, sequence, 1_700_000_000, index) for index in range(observations)]
    return Report.of(identity.device, sequence, rows)


def sign(key: Secp256k1Key | P256Key, sequence: int, observations: int = 1) -> Sent:
    """An honest one."""
    made = report(key.identity, sequence, observations)
    return Sent(SignedReport(made, key.sign(report_digest(DOMAIN, made))), key.identity)


def digest_number(made: Report, domain: Domain = DOMAIN) -> int:
    return int.from_bytes(report_digest(domain, made), "big")


def with_signature(sent: Sent, r: int, rest: int) -> Sent:
    """`rest` is s with yParity in its top bit."""
    signature = r.to_bytes(32, "big") + rest.to_bytes(32, "big")
    return Sent(SignedReport(sent.signed.report, signature), sent.identity)


def parts(sent: Sent) -> tuple[int, int]:
    signature = sent.signed.signature
    return int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")


def multiple(number: int) -> tuple[int, int]:
    """(x, y) of a multiple of the generator."""
    return PublicKey.from_valid_secret((number % ORDER).to_bytes(32, "big")).point()


def made_by_hand(sent: Sent, nonce: int, s: int) -> Sent:
    """R is nonce·G, and s whatever is asked for; with −s for s, and −R for R, when s is high."""
    x, y = multiple(nonce)
    odd = y & 1
    s %= ORDER
    if s > ORDER // 2:
        s, odd = ORDER - s, 1 - odd
    return with_signature(sent, x % ORDER, s | PARITY * odd)


# What an attacker, a broken device or a broken wire makes of an honest report.


def _any_bit(sent: Sent, random: Random) -> Sent:
    packed = bytearray(sent.signed.signature)
    packed[random.randrange(64)] ^= 1 << random.randrange(8)
    return Sent(SignedReport(sent.signed.report, bytes(packed)), sent.identity)


def _other_parity(sent: Sent, random: Random) -> Sent:
    r, rest = parts(sent)
    return with_signature(sent, r, rest ^ PARITY)


def _second_encoding(sent: Sent, random: Random) -> Sent:
    """−s and −R: what ECDSA itself would accept too."""
    r, rest = parts(sent)
    s = ORDER - (rest & (PARITY - 1))
    return with_signature(sent, r, s % PARITY | (rest ^ PARITY) & PARITY)


def _r_at_the_edge(sent: Sent, random: Random) -> Sent:
    _, rest = parts(sent)
    edges = (0, 1, 2, ORDER - 1, ORDER, ORDER + 1, FIELD - ORDER, FIELD - 1, FIELD, 2**256 - 1)
    return with_signature(sent, random.choice(edges), rest)


def _s_at_the_edge(sent: Sent, random: Random) -> Sent:
    r, rest = parts(sent)
    half = ORDER // 2
    s = random.choice((0, 1, 2, half - 1, half, half + 1, half + 2, PARITY - 1))
    return with_signature(sent, r, s | rest & PARITY)


def _r_plus_order(sent: Sent, random: Random) -> Sent:
    """r + n, where it fits 32 bytes: the x that 64 bytes have no way to say."""
    _, rest = parts(sent)
    return with_signature(sent, ORDER + random.randrange(2**256 - ORDER), rest)


def _any_signature(sent: Sent, random: Random) -> Sent:
    return with_signature(sent, random.randrange(2**256), random.randrange(2**256))


def _other_report(sent: Sent, random: Random) -> Sent:
    other = report(sent.identity, random.randrange(2**32))
    return Sent(SignedReport(other, sent.signed.signature), sent.identity)


def _other_domain(sent: Sent, random: Random) -> Sent:
    made = sent.signed.report
    key = Secp256k1Key(random.randrange(1, ORDER).to_bytes(32, "big"))
    foreign = registry_domain(1, b"\x11" * 20)
    return Sent(SignedReport(made, key.sign(report_digest(foreign, made))), sent.identity)


def _other_device(sent: Sent, random: Random) -> Sent:
    """Signed well, but claimed for a device whose key did not sign it."""
    device = device_id(random.randbytes(64))
    return Sent(sent.signed, DeviceIdentity(device, KeyType.SECP256K1))


def _infinity(sent: Sent, random: Random) -> Sent:
    """s R = m G: the key that made it would be the point at infinity."""
    message = digest_number(sent.signed.report)
    return made_by_hand(sent, NONCE, message * pow(NONCE, -1, ORDER))


def _wrong_curve(sent: Sent, random: Random) -> Sent:
    """The bytes of a secp256k1 signature for a device with a P-256 key."""
    identity = P256Key(random.randrange(1, P256_ORDER).to_bytes(32, "big")).identity
    return Sent(sent.signed, identity)


def honest(sent: Sent, random: Random) -> Sent:
    return sent


FORGERIES: tuple[Callable[[Sent, Random], Sent], ...] = (
    _any_bit, _other_parity, _second_encoding, _r_at_the_edge, _s_at_the_edge, _r_plus_order,
    _any_signature, _other_report, _other_domain, _other_device, _infinity, _wrong_curve,
)  # fmt: skip


def cancelling_pair(key: Secp256k1Key) -> list[Sent]:
    """Two reports whose signatures are both wrong, by errors whose sum is zero.

    With R = kG and the key's secret d the error of a signature is (m + r d)/s − k. Any s goes for
    the first; the second's s is chosen so that its error is the opposite.
    """
    secret = int.from_bytes(key.secret, "big")
    made = [Sent(SignedReport(report(key.identity, n), bytes(64)), key.identity) for n in (1, 2)]
    rs = [multiple(nonce)[0] % ORDER for nonce in (3, 5)]
    weights = [
        digest_number(sent.signed.report) + r * secret for sent, r in zip(made, rs, strict=True)
    ]
    first_s = 12345
    error = weights[0] * pow(first_s, -1, ORDER) - 3
    second_s = weights[1] * pow(5 - error, -1, ORDER)
    return [made_by_hand(made[0], 3, first_s), made_by_hand(made[1], 5, second_s)]


# Signatures that their claimed device did make, of a kind that no honest signer makes: any r and s
# are some key's signature. Each is accepted or refused for one reason alone.


def _maker(compact: bytes, recovery: int, made: Report) -> DeviceIdentity | None:
    try:
        public = PublicKey.from_signature_and_message(
            compact + bytes([recovery]), report_digest(DOMAIN, made), hasher=None
        )
    except ValueError:
        return None
    return DeviceIdentity(device_id(public.format(compressed=False)[1:]), KeyType.SECP256K1)


def _of_its_maker(sent: Sent, r: int, s: int, recovery: int, written_r: int) -> Sent:
    """Claimed for the key that a recovery id of 0 to 3 leads to; the next r that leads to one."""
    for step in range(1_000):
        compact = (r + step).to_bytes(32, "big") + s.to_bytes(32, "big")
        identity = _maker(compact, recovery, sent.signed.report)
        if identity is not None:
            claimed = Sent(sent.signed, identity)
            return with_signature(claimed, written_r + step, s | PARITY * (recovery & 1))
    raise AssertionError("no such r")


def _edge_of_s(sent: Sent, random: Random) -> Sent:
    half = ORDER // 2
    s = random.choice((1, 2, half - 1, half, half + 1, half + 2, PARITY - 1))
    r = random.randrange(1, ORDER - 1_000)
    return _of_its_maker(sent, r, s, random.getrandbits(1), r)


def _small_r(sent: Sent, random: Random) -> Sent:
    r = random.randrange(1, 100)
    return _of_its_maker(sent, r, random.randrange(1, ORDER // 2), random.getrandbits(1), r)


def _x_above_the_order(sent: Sent, random: Random) -> Sent:
    """R.x = r + n, which only a recovery id of 2 or 3 says: the 64 bytes say R.x = r."""
    r, s = random.randrange(1, 100), random.randrange(1, ORDER // 2)
    return _of_its_maker(sent, r, s, 2 + random.getrandbits(1), r)


def _r_above_the_order(sent: Sent, random: Random) -> Sent:
    """The same with r + n written out: a second encoding of r."""
    r, s = random.randrange(1, 100), random.randrange(1, ORDER // 2)
    return _of_its_maker(sent, r, s, 2 + random.getrandbits(1), ORDER + r)


def _zero_s(sent: Sent, random: Random) -> Sent:
    """The key that (0 R − m G) / r is."""
    r, odd = multiple(NONCE)[0] % ORDER, random.getrandbits(1)
    secret = -digest_number(sent.signed.report) * pow(r, -1, ORDER) % ORDER
    identity = Secp256k1Key(secret.to_bytes(32, "big")).identity
    return with_signature(Sent(sent.signed, identity), r, PARITY * odd)


def _infinity_as_zeros(sent: Sent, random: Random) -> Sent:
    """For a device whose id is the hash of 64 zeros, as the point at infinity might be written."""
    nobody = DeviceIdentity(device_id(bytes(64)), KeyType.SECP256K1)
    return _infinity(Sent(sent.signed, nobody), random)


ODDITIES: tuple[Callable[[Sent, Random], Sent], ...] = (
    _edge_of_s, _small_r, _x_above_the_order, _r_above_the_order, _zero_s, _infinity_as_zeros,
)  # fmt: skip
