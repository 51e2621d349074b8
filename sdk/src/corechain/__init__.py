"""CoreChain: signed readings, answers proven against the chain, queries paid by voucher."""

from corechain.account import account_from_key
from corechain.async_client import AsyncClient
from corechain.client import Client
from corechain.contract_answers import ContractAnswer, SpanNotClosed
from corechain.deliveries import Delivery
from corechain.deployment import Deployment, InvalidDeployment, load_deployment
from corechain.documents import MalformedAnswer, WrongAnswer
from corechain.flows import StatisticsResult
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
    "Client",
    "ContractAnswer",
    "CoreChainError",
    "CursorExpired",
    "CursorUnknown",
    "Delivery",
    "Deployment",
    "DeviceId",
    "DeviceKey",
    "EventStream",
    "ExportMismatch",
    "HistoricReading",
    "History",
    "HistoryBatch",
    "HistoryBehind",
    "HistoryGap",
    "HistoryPage",
    "HistoryProgress",
    "HistoryReorged",
    "InvalidDeployment",
    "InvalidValue",
    "KeptReceipt",
    "LocatedReading",
    "MalformedAnswer",
    "Metric",
    "MissingExtra",
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
    "SignedReport",
    "SpanNotClosed",
    "StaleAnswer",
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
