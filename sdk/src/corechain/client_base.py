"""What both clients, the blocking one and the asynchronous one, have in common."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from corechain import flows
from corechain.account import check_key
from corechain.answers import CommitmentsOf
from corechain.deployment import Deployment, load_deployment
from corechain.flows import Question
from corechain.http import service_url
from corechain.listing import GATEWAY
from corechain.protocol.eip712 import activation_digest, registry_domain, report_digest
from corechain.protocol.errors import InvalidValue
from corechain.protocol.keys import DeviceKey
from corechain.protocol.reading import Observation, Report, SignedReport
from corechain.protocol.rewards import Owner, RewardClaim
from corechain.protocol.values import (
    U128_MAX,
    CellLike,
    OctetsLike,
    TimeLike,
    address,
    one_of,
    whole,
)
from corechain.protocol.vocabulary import MetricLike
from corechain.readings import ReadingsQuestion
from corechain.steps import HTTP_PAYMENT_REQUIRED, Request, Send

if TYPE_CHECKING:
    import httpx
    from eth_account.signers.local import LocalAccount

    from corechain.chain import Chain
    from corechain.deposits import Deposits
    from corechain.held_channels import HeldChannel, Refilling
    from corechain.histories import Progress, Stand
    from corechain.history import Gaps
    from corechain.history_question import HistoryQuestion
    from corechain.opening import Opening
    from corechain.paying import Paying
    from corechain.payments import PaymentChannel
    from corechain.receipt_check import ReceiptChecks
    from corechain.receipts import Check

S = TypeVar("S")
TIMEOUT_S = 30.0
# Not shown in errors: it is a secret.
_API_KEY = re.compile(r"[\x21-\x7e]{1,200}", re.ASCII)


def _check_kinds(account: object, verify: object, channel: object) -> None:
    if account is not None and not hasattr(account, "sign_transaction"):
        raise InvalidValue("account", account, "takes an account; account_from_key makes one")
    one_of("verify", verify, bool, "takes True or False")
    if channel is not None:
        from corechain.payments import PaymentChannel

        one_of("channel", channel, PaymentChannel, "takes a PaymentChannel; see open_channel")


@dataclass
class ClientBase:
    """What both clients know: where the services are, the contracts, and who pays.

    `max_price` is the most that a query may cost, in base units of the token; None: what the
    channel agreed to when it was opened. A 402 that asks more raises PriceTooHigh, unpaid.
    `api_key` is sent to the query API, and to nobody else.
    """

    api_url: str
    gateway_url: str
    rpc_url: str
    deployment: Deployment | Path | str
    account: "LocalAccount | None" = None
    verify: bool = True
    channel: "PaymentChannel | None" = field(default=None, repr=False)
    max_price: int | None = None
    api_key: str | None = field(default=None, repr=False)
    _refilling: "tuple[PaymentChannel, Refilling] | None" = field(
        default=None, init=False, repr=False
    )
    """The channel that `pay_with` may fill again: another one that pays later may not be filled."""
    _leaving: "PaymentChannel | None" = field(default=None, init=False, repr=False)
    """The channel whose withdrawal was started, and is to be ended."""

    def __post_init__(self) -> None:
        for name in ("api_url", "gateway_url", "rpc_url"):
            service_url(name, getattr(self, name))
        if not isinstance(self.deployment, Deployment):
            self.deployment = load_deployment(self.deployment)
        if self.max_price is not None:
            self.max_price = whole("max_price", self.max_price, 0, U128_MAX)
        _check_kinds(self.account, self.verify, self.channel)
        key: object = self.api_key
        if key is not None and not (isinstance(key, str) and _API_KEY.fullmatch(key)):
            raise InvalidValue("api_key", "…", "takes printable characters without a space")

    @property
    def contracts(self) -> Deployment:
        assert isinstance(self.deployment, Deployment)
        return self.deployment

    @cached_property
    def chain(self) -> "Chain":
        """The contracts. Imported on first use: who only sends reports never pays for it."""
        from corechain.chain import Chain

        return Chain(self.rpc_url, self.contracts)

    def _account(self) -> "LocalAccount":
        if self.account is None:
            right = "this needs an account: pass account=account_from_key(...) to the client"
            raise InvalidValue("account", None, right)
        return self.account

    def _commitments(self) -> "CommitmentsOf | None":
        return self.chain.commitments_of if self.verify else None

    @cached_property
    def _receipt_checks(self) -> "ReceiptChecks":
        """Made for the first receipt: who asks for none never pays for it."""
        from corechain.receipt_check import ReceiptChecks

        return ReceiptChecks(self.chain)

    @property
    def _deposits(self) -> "Deposits":
        """All that this client makes: it remembers those of which it does not know what became."""
        from corechain.deposits import Deposits

        # Not a cached property: of two threads each would keep its own, from Python 3.12 on.
        made: Deposits = self.__dict__.setdefault("_made_deposits", Deposits())
        return made

    def _receipt_check(self) -> "Check | None":
        return (lambda signed: self._receipt_checks.check(signed)) if self.verify else None

    def _active_root(self) -> "flows.ActiveRoot | None":
        return self.chain.active_root if self.verify else None

    def _reward_books(self) -> "tuple[flows.ActiveRoot, Callable[[Owner], int]]":
        return self.chain.active_root, self.chain.rewards_claimed

    def _url(self, request: Request) -> str:
        base = self.gateway_url if request.service == GATEWAY else self.api_url
        return base.rstrip("/") + request.path

    def _call(self, request: Request, payment: Mapping[str, str]) -> dict[str, Any]:
        """The arguments of `exchange`."""
        own = {"content-type": request.content_type} if request.content_type else {}
        if request.prefer is not None:
            own["prefer"] = request.prefer
        if self.api_key is not None and request.service != GATEWAY:
            own["authorization"] = f"Bearer {self.api_key}"
        return {
            "method": request.method,
            "url": self._url(request),
            "timeout_s": TIMEOUT_S,
            "params": dict(request.params),
            "content": request.content,
            "headers": own | dict(payment),
        }

    def _close_chain(self) -> None:
        # Looked up without making it: a client that never asked the chain has none.
        chain = self.__dict__.get("chain")
        if chain is not None:
            chain.close()

    def _payer(self, response: "httpx.Response") -> "PaymentChannel | None":
        """The channel that pays for a 402; None for other answers and when there is none."""
        return self.channel if response.status_code == HTTP_PAYMENT_REQUIRED else None

    def _paying(
        self, channel: "PaymentChannel", request: Request, refusal: "httpx.Response"
    ) -> "Paying[httpx.Response]":
        from corechain.paying import pay  # here: a client that pays nothing loads nothing of it

        def claimed() -> int:
            return self.chain.channel_balance(channel.channel_id)[1]

        filled, refill = self._refilling or (None, None)
        may_fill = refill if filled is channel else None
        return pay(channel, request, refusal, self.max_price, claimed, may_fill)

    @staticmethod
    def _payment(step: Send) -> Mapping[str, str]:
        """The header of a query that is paid."""
        from corechain.payments import PAYMENT_SIGNATURE

        return {PAYMENT_SIGNATURE: step.header}

    def sign_report(
        self, key: DeviceKey, sequence: int, observations: Iterable[Observation]
    ) -> SignedReport:
        """A report signed by its device for this deployment. No I/O."""
        check_key(key)
        report = Report.of(key.identity.device, sequence, observations)
        domain = self._registry_domain()
        return SignedReport(report, key.sign(report_digest(domain, report)))

    def _registry_domain(self) -> Any:
        registry = self.contracts.address("DeviceRegistry")
        return registry_domain(self.contracts.chain_id, registry)

    def _register(self, key: DeviceKey, owner: OctetsLike | None) -> Any:
        account = self._account()
        check_key(key)
        paid = address("owner", account.address if owner is None else owner)
        digest = activation_digest(self._registry_domain(), key.identity.device, paid)
        return self.chain.register_device(account, key.identity, paid, key.sign(digest))

    def _claim(self, claim: RewardClaim) -> Any:
        return self.chain.claim_rewards(self._account(), claim)

    def _opening(self, max_price: int | None) -> "Opening":
        from corechain.opening import Opening

        given = None if max_price is None else whole("max_price", max_price, 0, U128_MAX)
        limit = self.max_price if given is None else given
        return Opening(self._account(), self.contracts, lambda: self.chain, limit, self._deposits)

    def _history_stand(
        self,
        question: "HistoryQuestion",
        cursor: str | None,
        gaps: "Gaps",
        progress: "Progress | None",
    ) -> "Stand":
        """What both kinds of histories are made of."""
        return question, cursor, gaps, progress, lambda: self.chain if self.verify else None

    def _paid_channel(self) -> "PaymentChannel":
        """Or the one that this client leaves already."""
        found = self.channel or self._leaving
        if found is None:
            raise InvalidValue("channel", None, "this needs a channel: pay_with opens one")
        return found

    @staticmethod
    def _most(deposit: int, most: int | None) -> int | None:
        """Before anything is deposited. Raises InvalidValue, ValueOutOfRange."""
        least = whole("deposit", deposit, 1, U128_MAX)
        return None if most is None else whole("most", most, least, U128_MAX)

    def _refills(
        self, opened: "PaymentChannel", deposit: int, most: int | None
    ) -> "PaymentChannel":
        """Pays with this channel from now on; it is filled again up to `most` in all."""
        self.channel, self._refilling = opened, None
        if most is not None:
            from corechain.held_channels import Refilling

            refill = Refilling(self.chain, self._account(), deposit, most, deposits=self._deposits)
            self._refilling = opened, refill
        return opened

    def _leave(self, channel: "PaymentChannel") -> "HeldChannel":
        """Starts or ends the withdrawal of what is left in a channel. Blocking."""
        from corechain.held_channels import end_withdrawal, held_channel, start_withdrawal

        held = held_channel(self.chain, channel.channel_id, channel.config)
        step = end_withdrawal if held.is_mature(self.chain.time()) else start_withdrawal
        left = step(self.chain, self._account(), held)
        if channel is self.channel:
            self.channel = None
        self._leaving = channel if left.withdrawing else None
        return left

    @staticmethod
    def question(
        metric: MetricLike, device: OctetsLike, cell: CellLike, start: TimeLike, end: TimeLike
    ) -> Question:
        """Raises UnknownMetric."""
        return Question.of(metric, device, cell, start, end)

    @staticmethod
    def readings_question(
        metric: MetricLike | None, device: OctetsLike, start: TimeLike | None, end: TimeLike | None
    ) -> ReadingsQuestion:
        """Raises UnknownMetric."""
        return ReadingsQuestion.of(device, metric, start, end)
