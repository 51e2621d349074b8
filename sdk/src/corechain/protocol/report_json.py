"""The JSON form of reports. Strict: what two decoders could read differently is refused."""

import re
from dataclasses import dataclass

import msgspec

from corechain.protocol.cells import require_cell
from corechain.protocol.errors import MalformedReport, ProtocolError, ValueOutOfRange
from corechain.protocol.reading import DeviceId, Observation, Report, SignedReport
from corechain.protocol.signature import compact_signature
from corechain.protocol.vocabulary import metric

ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
CELL = re.compile(r"[0-9a-f]{15,16}", re.ASCII)
SIGNATURE = re.compile(r"0x(?:[0-9a-fA-F]{128}|[0-9a-fA-F]{130})", re.ASCII)
_NOT_A_NUMBER = re.compile(rb"[:\[,]\s*-?(NaN|Infinity)\b")
KEYS = (b'"device"', b'"sequence"', b'"observations"', b'"signature"')
ITEM_KEYS = (b'"metric"', b'"cell"', b'"observed_at"', b'"value"')

FEW_ITEMS = 1_000
"""Each of so many is judged for itself, whatever it is."""
LEAST_ITEM_BYTES = 100
"""Of more of them, on average; the shortest report has 280 bytes. A bad item costs 50 µs and an
answer of 130 bytes: 3 MB of `[],` would cost 50 s and 134 MB."""


class JsonObservation(msgspec.Struct, forbid_unknown_fields=True):
    metric: int | str
    cell: str
    observed_at: int | float
    value: int | float


class JsonReport(msgspec.Struct, forbid_unknown_fields=True):
    device: str
    sequence: int | float
    observations: list[JsonObservation]
    signature: str
    chain_id: int | None = None
    registry: str | None = None


@dataclass(frozen=True, slots=True)
class DeclaredReport:
    """A report with the chain it says it was made for (None: it does not say)."""

    signed: SignedReport
    chain_id: int | None
    registry: bytes | None


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_raw_list = msgspec.json.Decoder(list[msgspec.Raw])
_report = msgspec.json.Decoder(JsonReport)


def _hex(field: str, text: str, pattern: re.Pattern[str]) -> bytes:
    if not pattern.fullmatch(text):
        raise MalformedReport(f"{field} is not hexadecimal of the right length: {text!r:.80}")
    return bytes.fromhex(text.removeprefix("0x"))


def _integer(field: str, value: int | float) -> int:
    if not isinstance(value, int):
        raise ValueOutOfRange(field, value)
    return value


def _observation(item: JsonObservation) -> Observation:
    if not CELL.fullmatch(item.cell):
        raise MalformedReport(f"cell is not an H3 index: {item.cell!r:.80}")
    cell = int(item.cell, 16)
    require_cell(cell)
    return Observation(
        metric(item.metric).code,
        cell,
        _integer("observed_at", item.observed_at),
        _integer("value", item.value),
    )


def _refuse_repeated_keys(raw: bytes, observations: int) -> None:
    """JSON decoders disagree about repeated keys; the count of each key shows them.

    Sound because escapes are refused: no other bytes can spell a key.
    """
    repeated = any(raw.count(key) != 1 for key in KEYS) or any(
        raw.count(key) != observations for key in ITEM_KEYS
    )
    if repeated or raw.count(b'"chain_id"') > 1 or raw.count(b'"registry"') > 1:
        raise MalformedReport("a key is repeated")


def _not_decoded(raw: bytes, error: Exception) -> ProtocolError:
    if isinstance(error, RecursionError):
        return MalformedReport("nested too deeply")
    if _NOT_A_NUMBER.search(raw):
        return ValueOutOfRange("value", "NaN or infinity")
    if "out of range" in str(error):
        return ValueOutOfRange("value", str(error))
    return MalformedReport(f"not a report: {error}")


def report_from_json(raw: bytes) -> DeclaredReport:
    """One report.

    Raises MalformedReport, ValueOutOfRange, UnknownMetric, InvalidCell, HighS, InvalidSignature.
    """
    if b"\\" in raw:
        raise MalformedReport("no field of a report needs an escape sequence")
    try:
        item = _report.decode(raw)
    except UNREADABLE as error:
        raise _not_decoded(raw, error) from None
    _refuse_repeated_keys(raw, len(item.observations))
    report = Report.of(
        DeviceId(_hex("device", item.device, ADDRESS)),
        _integer("sequence", item.sequence),
        [_observation(entry) for entry in item.observations],
    )
    signature = compact_signature(_hex("signature", item.signature, SIGNATURE))
    registry = None if item.registry is None else _hex("registry", item.registry, ADDRESS)
    return DeclaredReport(SignedReport(report, signature), item.chain_id, registry)


def report_or_error(raw: bytes) -> DeclaredReport | ProtocolError:
    try:
        return report_from_json(raw)
    except ProtocolError as error:
        return error


def items_of(body: bytes) -> list[bytes]:
    """The reports of a request body, each still JSON; one that is no list is a report.

    Raises MalformedReport or ValueOutOfRange when the body as a whole is not JSON.
    """
    if not body.lstrip().startswith(b"["):
        return [body]
    try:
        items = _raw_list.decode(body)
    except UNREADABLE as error:
        raise _not_decoded(body, error) from None
    if not items:
        raise MalformedReport("no report in the request")
    if len(items) > max(FEW_ITEMS, len(body) // LEAST_ITEM_BYTES):
        raise MalformedReport(
            f"{len(items)} items in {len(body)} bytes: few of them can be reports"
        )
    return list(map(bytes, items))


def reports_from_json(body: bytes) -> list[DeclaredReport | ProtocolError]:
    """A request body: one report or a list. A bad report stands as its error; the others live.

    Raises MalformedReport or ValueOutOfRange when the body as a whole is not JSON.
    """
    return list(map(report_or_error, items_of(body)))


def report_to_json(signed: SignedReport) -> dict[str, object]:
    """The JSON form of a report, as the gateway takes it."""
    report = signed.report
    return {
        "device": "0x" + report.device.hex(),
        "sequence": report.sequence,
        "observations": [
            {
                "metric": item.metric,
                "cell": f"{item.cell:015x}",
                "observed_at": item.observed_at,
                "value": item.value,
            }
            for item in report.observations()
        ],
        "signature": "0x" + signed.signature.hex(),
    }
