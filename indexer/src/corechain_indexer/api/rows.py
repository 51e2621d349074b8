"""Rows of the database as answers. Pure."""

from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from corechain.protocol.batch import Header
from corechain.protocol.hashing import Digest26
from corechain.protocol.provenance import provenance_of
from corechain.protocol.quality import Reason
from corechain.protocol.rewards import RewardSchedule
from corechain_indexer.api import channel_schemas, schemas
from corechain_indexer.store.coverage import Gap
from corechain_indexer.store.files import to_unsigned
from corechain_indexer.store.latest import Newest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from asyncpg import Record

    from corechain_indexer.store.page_columns import ReadingRow


def hexed(value: bytes) -> str:
    return "0x" + value.hex()


@lru_cache(maxsize=65_536)  # stations do not move: a page shows one or a few
def celled(cell: int) -> str:
    return f"{to_unsigned(cell):015x}"


def header_of(row: "Mapping[str, Any] | Record") -> Header:
    """The header of a verified batch."""
    return Header(
        row["batch_id"],
        Digest26(row["previous"]),
        Digest26(row["ancestor"]),
        Digest26(row["statistics_root"]),
        Digest26(row["reports_root"]),
        row["data_hash"],
        row["rules_hash"],
        row["reading_count"],
        row["report_count"],
        row["window_start"],
        row["window_end"],
    )


def sql_header(row: "Record") -> schemas.Header:
    return schemas.Header(
        row["batch_id"],
        hexed(row["previous"]),
        hexed(row["ancestor"]),
        hexed(row["statistics_root"]),
        hexed(row["reports_root"]),
        hexed(row["data_hash"]),
        hexed(row["rules_hash"]),
        row["reading_count"],
        row["report_count"],
        row["window_start"],
        row["window_end"],
    )


def batch(row: "Record") -> schemas.Batch:
    verified = row["state"] == "verified"
    return schemas.Batch(
        row["batch_id"],
        row["state"],
        hexed(row["commitment"]),
        row["block_number"],
        row["finality"],
        hexed(row["transaction"]),
        row["reason"],
        sql_header(row) if verified else None,
        hexed(row["readings_root"]) if verified else None,
        hexed(header_of(row).rest_hash) if verified else None,
        row["rejected_count"],
    )


def device(row: "Record") -> schemas.Device:
    return schemas.Device(
        hexed(row["device"]),
        hexed(row["owner"]),
        row["key_type"],
        row["revoked"],
        row["revoked_at"],
        row["block_number"],
        row["finality"],
        provenance_of(row["device"]),
    )


def readings(device: bytes, found: "Sequence[ReadingRow]") -> list[schemas.Reading]:
    """A page of one device's."""
    named, provenance = hexed(device), provenance_of(device)
    # One loop without a call of ours a reading: by calls a page of a hundred takes three times as
    # long, and is the dearest of the common queries.
    return [
        schemas.Reading(
            batch_id,
            position,
            metric,
            celled(cell),
            named,
            observed_at,
            value,
            flag,
            finality,
            provenance,
        )
        for metric, observed_at, batch_id, position, value, flag, cell, finality in found
    ]


def latest(device: bytes, items: bytes) -> msgspec.Raw:
    """A `schemas.Latest` of items that are JSON already."""
    tail = f',"provenance":"{provenance_of(device).value}"}}'
    return msgspec.Raw(f'{{"device":"{hexed(device)}","items":'.encode() + items + tail.encode())


def station(row: "Record", values: "Sequence[Newest]", metric: int) -> schemas.Station:
    """Of a device with one newest value at least."""
    newest = next((value for value in values if value.metric == metric), None)
    return schemas.Station(
        hexed(row["device"]),
        max(values, key=lambda value: value.observed_at).cell,
        row["revoked"],
        provenance_of(row["device"]),
        None if newest is None else schemas.Newest(*msgspec.structs.astuple(newest)),
    )


def rejection(row: "Record") -> schemas.Rejection:
    return schemas.Rejection(
        row["ordinal"],
        hexed(row["device"]),
        str(row["sequence"]),
        row["metric"],
        celled(row["cell"]),
        row["observed_at"],
        row["value"],
        [str(reason.name).lower() for reason in Reason(row["reasons"])],
        provenance_of(row["device"]),
    )


def epoch(row: "Record", schedule: RewardSchedule) -> schemas.Epoch:
    return schemas.Epoch(
        row["epoch"],
        hexed(row["root"]),
        row["through_block"],
        str(int(row["emission"])),
        row["active_at"],
        row["block_number"],
        row["finality"],
        row["state"],
        schedule.of(row["epoch"]).bridge_weight_bps,
    )


def payment_channel(row: "Record") -> channel_schemas.PaymentChannel:
    return channel_schemas.PaymentChannel(
        hexed(row["channel_id"]),
        hexed(row["payer"]),
        hexed(row["payer_authorizer"]),
        hexed(row["receiver"]),
        hexed(row["receiver_authorizer"]),
        hexed(row["token"]),
        row["withdraw_delay"],
        hexed(row["salt"]),
        str(int(row["balance"])),
        str(int(row["claimed"])),
        row["block_number"],
    )


_STATES = {"opened": "open", "topped_up": "open", "challenged": "challenged", "closed": "closed"}


def state_channel(row: "Record") -> channel_schemas.StateChannel:
    challenged = row["last_kind"] == "challenged"
    return channel_schemas.StateChannel(
        hexed(row["channel_id"]),
        hexed(row["party_a"]),
        hexed(row["party_b"]),
        hexed(row["token"]),
        row["challenge_period"],
        row["open_before"],
        hexed(row["salt"]),
        _STATES[row["last_kind"]],
        str(int(row["deposit"])),
        str(int(row["balance_a"])),
        row["version"] or 0,
        row["deadline"] if challenged else 0,
        row["block_number"],
    )


def catching_up(gap: Gap) -> schemas.CatchingUp:
    return schemas.CatchingUp(gap.contract, gap.event, gap.first, gap.last, gap.at)
