"""What the clients ask an index for that no proof comes with, step by step, without I/O."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from corechain.documents import LatestJson, WrongAnswer, parse
from corechain.insisting import page_of_many
from corechain.listing import API, PAGE, Order, Page, Row, batch_path, document, limit_of, pages
from corechain.protocol.channel import payment_domain
from corechain.protocol.errors import InvalidValue
from corechain.protocol.values import (
    U40_MAX,
    U48_MAX,
    OctetsLike,
    address,
    octets,
    one_of,
    whole,
)
from corechain.protocol.vocabulary import MetricLike
from corechain.protocol.vocabulary import metric as metric_of
from corechain.readings import ReadingsQuestion
from corechain.steps import Flow, Request
from corechain.views import Fresh, View, view_params

if TYPE_CHECKING:
    from corechain.indexed import (
        Epoch,
        IndexedDevice,
        IndexedNetwork,
        IndexedPaymentChannel,
        IndexedStateChannel,
        PaymentChannelJson,
        Series,
        StateChannelJson,
        Station,
    )

# `corechain.indexed` is loaded by who asks for such things: making its types is an eighth of
# loading a client.
STATES = ("pending", "withheld", "mismatch", "verified")
T = TypeVar("T")
Of = tuple[int, bytes]
"""The chain, and the contract that channels are of."""


def _hex(value: bytes) -> str:
    return "0x" + value.hex()


def _typed(page: Page[Row], kind: type[T], made: Callable[[T], Any], what: str) -> Page[Any]:
    return Page([made(parse(row, kind, what)) for row in page], page.next_cursor)


def status(fresh: Fresh) -> Flow[Row]:
    """How far the chain is mirrored."""
    return (yield from document("/v1/status", **view_params(fresh, Fresh)))


def network(fresh: Fresh) -> "Flow[IndexedNetwork]":
    """The chain and the contracts that are followed."""
    from corechain.indexed import NetworkJson

    answer = yield Request(API, "GET", "/v1/network", view_params(fresh, Fresh))
    return parse(answer, NetworkJson, "a network").made()


def batch(batch_id: int, fresh: Fresh) -> Flow[Row]:
    """One batch."""
    wanted = whole("batch_id", batch_id, 1, U48_MAX)
    found = yield from document(batch_path(batch_id), **view_params(fresh, Fresh))
    if parse(found.get("batch_id"), int, "a batch's id") != wanted:
        raise WrongAnswer(f"batch {found['batch_id']} in the place of {wanted}")
    return found


def batches(
    limit: int,
    view: View,
    after: int | None = None,
    cursor: str | None = None,
    state: str | None = None,
    newest_first: bool = False,
) -> Flow[Page[Row]]:
    """Batches by id, or the newest first; with `after` those with greater ids only."""
    params = view_params(view)
    if after is not None:
        params["after"] = whole("after", after, 0, U48_MAX)
    if state is not None:
        params["state"] = _state(state)
    if one_of("newest_first", newest_first, bool, "takes True or False"):
        params["order"] = "newest"
        return (yield from pages("/v1/batches", params, limit, cursor))
    order = Order("batch_id", int(params.get("after", 0)))
    return (yield from pages("/v1/batches", params, limit, cursor, order=order))


def _state(state: object) -> str:
    if not isinstance(state, str) or state not in STATES:
        raise InvalidValue("state", state, f"takes one of {', '.join(STATES)}")
    return state


def devices(limit: int, fresh: Fresh, cursor: str | None = None) -> Flow[Page[Row]]:
    """Devices by id."""
    params, order = view_params(fresh, Fresh), Order("device", "")
    return (yield from pages("/v1/devices", params, limit, cursor, order=order))


def device(wanted: OctetsLike, fresh: Fresh) -> "Flow[IndexedDevice]":
    """One device."""
    from corechain.indexed import DeviceJson

    path = f"/v1/devices/{_hex(address('device', wanted))}"
    answer = yield Request(API, "GET", path, view_params(fresh, Fresh))
    found = parse(answer, DeviceJson, "a device").made()
    if found.device != address("device", wanted):
        raise WrongAnswer(f"the device {_hex(found.device)} in the place of another")
    return found


def latest(device: OctetsLike, view: View) -> Flow[Row]:
    """Newest value per metric."""
    wanted = _hex(address("device", device))
    found = yield from document("/v1/latest", **{"device": wanted, **view_params(view)})
    said = parse(found, LatestJson, "the newest values of a device").device
    if said.lower() != wanted:
        raise WrongAnswer(f"the newest values of {said} in the place of {wanted}")
    return found


def rejections(
    batch_id: int, limit: int, fresh: Fresh, cursor: str | None = None
) -> Flow[Page[Row]]:
    """Observations of a batch that failed."""
    params, order = view_params(fresh, Fresh), Order("ordinal", -1)
    path = f"{batch_path(batch_id)}/rejections"
    return (yield from pages(path, params, limit, cursor, order=order))


def stations(
    metric: MetricLike, limit: int, fresh: Fresh, cursor: str | None = None
) -> "Flow[Page[Station]]":
    """Devices that have readings, by id, with the newest value of a metric."""
    from corechain.indexed import StationJson

    known = metric_of(metric)
    params = {"metric": known.name} | view_params(fresh, Fresh)
    order = Order("device", "")
    page = yield from pages(
        "/v1/stations", params, limit, cursor, order=order, has_empty_pages=True
    )
    return _typed(page, StationJson, lambda row: row.made(known), "a station")


def series(
    metric: MetricLike, question: ReadingsQuestion, bucket_s: int, limit: int, view: View
) -> "Flow[Series]":
    """Buckets of a device's readings, up to `limit`, a request for each 1,000."""
    from corechain.indexed import Series, SeriesJson, series_of

    known, found, limit = metric_of(metric), Series(), limit_of(limit)
    params = question.params() | {"bucket": whole("bucket_s", bucket_s, 60, U40_MAX)}
    params |= view_params(view)
    while len(found) < limit:
        wanted = min(PAGE, limit - len(found))
        asked = Request(API, "GET", "/v1/series", params | {"limit": wanted})
        answer = yield from page_of_many(asked)
        page = parse(answer, SeriesJson, "a series")
        last = found[-1:]
        found.extend(series_of(page, known))
        starts = [bucket.start for bucket in found[-len(page.items) - len(last) :]]
        if len(page.items) > wanted or starts != sorted(set(starts)):
            raise WrongAnswer("buckets that repeat, are out of order, or more than asked for")
        found.next_start = page.next_from
        if page.next_from is None or not page.items:
            break
        params["from"] = page.next_from
    return found


def epochs(limit: int, fresh: Fresh, cursor: str | None = None) -> "Flow[Page[Epoch]]":
    """Reward roots by epoch."""
    from corechain.indexed import EpochJson

    params, order = view_params(fresh, Fresh), Order("epoch", -1)
    page = yield from pages("/v1/epochs", params, limit, cursor, order=order)
    return _typed(page, EpochJson, EpochJson.made, "an epoch")


def _payment_channel(of: Of, row: "PaymentChannelJson") -> "IndexedPaymentChannel":
    from corechain.indexed import check_terms

    made = row.made()
    check_terms(made.channel_id, made.config.channel_id(payment_domain(*of)))
    return made


def _state_channel(of: Of, row: "StateChannelJson") -> "IndexedStateChannel":
    from corechain.indexed import check_terms

    made = row.made()
    check_terms(made.channel_id, made.terms.channel_id(*of))
    return made


def payment_channels(
    of: Of, payer: OctetsLike | None, limit: int, fresh: Fresh, cursor: str | None = None
) -> "Flow[Page[IndexedPaymentChannel]]":
    """Payment channels by id, of everybody or of a payer. Raises MalformedAnswer when the terms of
    one are not those whose hash is its id."""
    from corechain.indexed import PaymentChannelJson

    params = view_params(fresh, Fresh)
    if payer is not None:
        params["payer"] = _hex(address("payer", payer))
    order = Order("channel_id", "")
    page = yield from pages("/v1/channels", params, limit, cursor, order=order)
    return _typed(page, PaymentChannelJson, partial(_payment_channel, of), "a payment channel")


def state_channels(
    of: Of, party: OctetsLike | None, limit: int, fresh: Fresh, cursor: str | None = None
) -> "Flow[Page[IndexedStateChannel]]":
    """Two-way channels by id, of everybody or of a party. Raises as `payment_channels`."""
    from corechain.indexed import StateChannelJson

    params = view_params(fresh, Fresh)
    if party is not None:
        params["party"] = _hex(address("party", party))
    order = Order("channel_id", "")
    page = yield from pages("/v1/state-channels", params, limit, cursor, order=order)
    return _typed(page, StateChannelJson, partial(_state_channel, of), "a state channel")


def channel(
    payments: Of, states: Of, channel_id: OctetsLike, fresh: Fresh
) -> "Flow[IndexedPaymentChannel | IndexedStateChannel]":
    """A channel of either kind. Raises as `payment_channels`, WrongAnswer."""
    from corechain.indexed import ChannelJson, StateChannelJson

    wanted = octets("channel_id", channel_id, 32)
    answer = yield Request(API, "GET", f"/v1/channels/{_hex(wanted)}", view_params(fresh, Fresh))
    row: PaymentChannelJson | StateChannelJson = parse(answer, ChannelJson, "a channel")
    if isinstance(row, StateChannelJson):
        found: IndexedPaymentChannel | IndexedStateChannel = _state_channel(states, row)
    else:
        found = _payment_channel(payments, row)
    if found.channel_id != wanted:
        raise WrongAnswer(f"the channel {_hex(found.channel_id)} in the place of another")
    return found
