"""CoreChain: signed readings, answers proven against the chain, queries paid by voucher.

A name loads its module when it is first used: a command, a probe or a device that needs one of them
does not pay for all. Type checkers and editors see plain imports.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corechain.account import account_from_key
    from corechain.async_client import AsyncClient
    from corechain.client import Client
    from corechain.contract_answers import ContractAnswer, SpanNotClosed
    from corechain.deliveries import Delivery
    from corechain.deployment import Deployment, InvalidDeployment, load_deployment
    from corechain.documents import MalformedAnswer, WrongAnswer
    from corechain.flows import StatisticsResult
    from corechain.held_files import FileInUse
    from corechain.histories import AsyncHistory, History, HistoryProgress
    from corechain.history import HistoryPage
    from corechain.history_answers import HistoricReading, HistoryBatch
    from corechain.history_errors import (
        ExportMismatch,
        HistoryBehind,
        HistoryGap,
        HistoryReorged,
        MissingExtra,
    )
    from corechain.indexed import (
        Bucket,
        Epoch,
        IndexedDevice,
        IndexedNetwork,
        IndexedPaymentChannel,
        IndexedStateChannel,
        NewestReading,
        Series,
        Station,
    )
    from corechain.listing import Page
    from corechain.payments import PaymentChannel
    from corechain.protocol.consumer_errors import NoBond, NotFinal, StaleAnswer
    from corechain.protocol.errors import (
        CoreChainError,
        CursorExpired,
        CursorUnknown,
        InvalidValue,
        ProtocolError,
        TransportError,
    )
    from corechain.protocol.keys import DeviceKey, P256Key, Secp256k1Key
    from corechain.protocol.places import cell_of, cells_in
    from corechain.protocol.provenance import Provenance
    from corechain.protocol.reading import DeviceId, Observation, Reading, Report, SignedReport
    from corechain.protocol.rewards import Owner, RewardClaim
    from corechain.protocol.statistics import Statistics
    from corechain.protocol.vocabulary import METRICS, Metric, metric
    from corechain.readings import LocatedReading
    from corechain.receipts import KeptReceipt
    from corechain.steps import ApiUnavailable
    from corechain.streaming import AsyncEventStream, BatchEvent, EventStream

__all__ = [
    "METRICS",
    "ApiUnavailable",
    "AsyncClient",
    "AsyncEventStream",
    "AsyncHistory",
    "BatchEvent",
    "Bucket",
    "Client",
    "ContractAnswer",
    "CoreChainError",
    "CursorExpired",
    "CursorUnknown",
    "Delivery",
    "Deployment",
    "DeviceId",
    "DeviceKey",
    "Epoch",
    "EventStream",
    "ExportMismatch",
    "FileInUse",
    "HistoricReading",
    "History",
    "HistoryBatch",
    "HistoryBehind",
    "HistoryGap",
    "HistoryPage",
    "HistoryProgress",
    "HistoryReorged",
    "IndexedDevice",
    "IndexedNetwork",
    "IndexedPaymentChannel",
    "IndexedStateChannel",
    "InvalidDeployment",
    "InvalidValue",
    "KeptReceipt",
    "LocatedReading",
    "MalformedAnswer",
    "Metric",
    "MissingExtra",
    "NewestReading",
    "NoBond",
    "NotFinal",
    "Observation",
    "Owner",
    "P256Key",
    "Page",
    "PaymentChannel",
    "ProtocolError",
    "Provenance",
    "Reading",
    "Report",
    "RewardClaim",
    "Secp256k1Key",
    "Series",
    "SignedReport",
    "SpanNotClosed",
    "StaleAnswer",
    "Station",
    "Statistics",
    "StatisticsResult",
    "TransportError",
    "WrongAnswer",
    "account_from_key",
    "cell_of",
    "cells_in",
    "load_deployment",
    "metric",
]

_NAMES = {
    "account": "account_from_key",
    "async_client": "AsyncClient",
    "client": "Client",
    "contract_answers": "ContractAnswer SpanNotClosed",
    "deliveries": "Delivery",
    "deployment": "Deployment InvalidDeployment load_deployment",
    "documents": "MalformedAnswer WrongAnswer",
    "flows": "StatisticsResult",
    "histories": "AsyncHistory History HistoryProgress",
    "history": "HistoryPage",
    "history_answers": "HistoricReading HistoryBatch",
    "held_files": "FileInUse",
    "history_errors": "ExportMismatch HistoryBehind HistoryGap HistoryReorged MissingExtra",
    "indexed": (
        "Bucket Epoch IndexedDevice IndexedNetwork IndexedPaymentChannel IndexedStateChannel "
        "NewestReading Series Station"
    ),
    "listing": "Page",
    "payments": "PaymentChannel",
    "protocol.consumer_errors": "NoBond NotFinal StaleAnswer",
    "protocol.errors": (
        "CoreChainError CursorExpired CursorUnknown InvalidValue ProtocolError TransportError"
    ),
    "protocol.keys": "DeviceKey P256Key Secp256k1Key",
    "protocol.places": "cell_of cells_in",
    "protocol.provenance": "Provenance",
    "protocol.reading": "DeviceId Observation Reading Report SignedReport",
    "protocol.rewards": "Owner RewardClaim",
    "protocol.statistics": "Statistics",
    "protocol.vocabulary": "METRICS Metric metric",
    "readings": "LocatedReading",
    "receipts": "KeptReceipt",
    "steps": "ApiUnavailable",
    "streaming": "AsyncEventStream BatchEvent EventStream",
}
"""The public names of each module; the same as above, which a test holds."""
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
