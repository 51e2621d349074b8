"""What users give: every usual form of a value is taken, and what is wrong is named.

given a device, owner, cell, metric, time, number in another form
  ├── hex, degrees, names, datetimes, other libraries' integers become the protocol's own
  └── a naive datetime, a fraction, NaN, a bool are refused with what is right
given any public function of the SDK and any odd value for any of its parameters
  └── it ends in a value or in a CoreChainError: never in TypeError, AttributeError, struct.error
"""

import asyncio
import inspect
import math
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.batches import CELL, KEYS, START
from support.http import Script, answers

import corechain
from corechain import (
    METRICS,
    AsyncClient,
    Client,
    InvalidDeployment,
    InvalidValue,
    Observation,
    P256Key,
    Reading,
    Report,
    Secp256k1Key,
    SignedReport,
    account_from_key,
    cell_of,
    load_deployment,
    metric,
)
from corechain.chain import Chain
from corechain.devnet.settings import ADMIN_KEY
from corechain.flows import Question
from corechain.protocol.channel import ChannelConfig
from corechain.protocol.errors import (
    CoreChainError,
    InvalidCell,
    UnknownMetric,
    ValueOutOfRange,
)
from corechain.protocol.fleet import Fleet
from corechain.protocol.keys import KeyType
from corechain.protocol.rewards import Owner, RewardClaim
from corechain.protocol.values import address, number, octets, seconds, whole
from corechain.readings import ReadingsQuestion

DEVICE = KEYS[0].identity.device
HEX = "0x" + DEVICE.hex()
NOON = datetime(2013, 2, 1, 12, tzinfo=UTC)
NOON_S, EAST = 1_359_720_000, timezone(timedelta(hours=5))


class Int64:
    """An integer of another library: numpy's can be an index and a float."""

    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value

    def __float__(self):
        return float(self.value)


class Float64(float):
    """numpy's is a float, too."""


class Timestamp(datetime):
    """pandas' is a datetime, too."""


class Datetime64:
    """What is seen of numpy's."""

    class dtype:
        kind = "M"

    def astype(self, _):
        return 0

    def __index__(self):
        raise TypeError


# ---------------------------------------------------------------------- forms that are taken


@given(st.binary(min_size=20, max_size=20))
def test_bytes_and_hex_are_the_same_octets(raw):
    forms = (
        raw,
        bytearray(raw),
        memoryview(raw),
        raw.hex(),
        "0x" + raw.hex(),
        "0X" + raw.hex().upper(),
    )
    assert {address("device", form) for form in forms} == {raw}


@given(st.integers(-(2**200), 2**200))
def test_whole_numbers_of_any_library_are_the_same(value):
    forms = (value, Int64(value), str(value))
    assert {whole("n", form, -(2**200), 2**200) for form in forms} == {value}


@given(st.integers(-(2**53), 2**53))
def test_a_float_without_a_fraction_is_a_whole_number(value):
    """As pandas makes of integers when one is missing."""
    for form in (float(value), Float64(value), Decimal(value), Fraction(value)):
        assert whole("n", form, -(2**53), 2**53) == value


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2500, 1, 1)),
    st.integers(-23, 23).map(lambda hours: timezone(timedelta(hours=hours))),
)
def test_an_aware_datetime_is_its_second(moment, zone):
    aware = moment.replace(tzinfo=zone)
    assert seconds("start", aware) == math.floor(aware.timestamp())
    assert seconds("start", Timestamp.fromtimestamp(aware.timestamp(), zone)) == seconds("s", aware)


def test_every_form_of_an_observation_is_the_same_observation():
    plain = Observation(1, CELL, NOON_S, 2150)
    for kind in (1, "1", "air_temperature", metric("air_temperature"), Int64(1)):
        for place in (CELL, f"{CELL:x}", f"0x{CELL:X}", Int64(CELL)):
            for moment in (
                NOON_S,
                NOON,
                NOON.astimezone(timezone(timedelta(hours=5))),
                str(NOON_S),
            ):
                for value in (2150, "2150", 2150.0, Int64(2150)):
                    assert Observation(kind, place, moment, value) == plain
    assert Observation.in_unit("air_temperature", CELL, NOON, 21.5) == plain
    assert Observation.in_unit("air_temperature", CELL, NOON, Decimal("21.5")) == plain


def test_degrees_are_the_cell_around_them():
    place = (40.6413, -73.7781)
    found = cell_of(*place)
    assert f"{found:x}".startswith("87"), "resolution 7"
    assert cell_of(*place, resolution=9) != found
    assert Observation.in_unit("pressure", place, NOON, 1013.25).cell == found
    assert Question("pressure", HEX, place, NOON, NOON).cell == found
    assert Observation(4, place, NOON, 1).cell == found


def test_every_form_of_a_question_is_the_same_question():
    plain = Question(metric(1), DEVICE, CELL, NOON_S, NOON_S + 60)
    given_ = Question("air_temperature", HEX, f"{CELL:x}", NOON, NOON + timedelta(minutes=1))
    assert given_ == plain
    assert given_.params() == plain.params()
    bulk = ReadingsQuestion(HEX, "air_temperature", NOON, None)
    assert bulk == ReadingsQuestion(DEVICE, metric(1), NOON_S, None)


def test_a_report_takes_its_device_in_hex():
    observations = (item for item in [Observation(1, CELL, NOON_S, 5)])
    assert Report.of(HEX, "7", observations) == Report.of(
        DEVICE, 7, [Observation(1, CELL, NOON_S, 5)]
    )


def test_keys_and_accounts_take_hex_and_never_show_it():
    secret = "0x" + "61" * 32
    assert Secp256k1Key(secret) == Secp256k1Key(bytes.fromhex("61" * 32))
    assert P256Key(secret).identity == P256Key(bytes.fromhex("61" * 32)).identity
    assert account_from_key(secret).address == account_from_key("61" * 32).address
    for kind in (Secp256k1Key, P256Key, account_from_key):
        for wrong in (
            secret[:-2],
            secret + "61",
            bytes(32),
            b"\xff" * 32,
            None,
            7,
            "61" * 31 + "zz",
        ):
            with pytest.raises(InvalidValue, match="secret: takes 32 bytes") as caught:
                kind(wrong)
            assert "6161" not in str(caught.value)
            assert "ffff" not in repr(caught.value.value)


# ---------------------------------------------------------------------- forms that are refused


@pytest.mark.parametrize(
    ("ask", "right"),
    [
        (lambda: seconds("start", NOON.replace(tzinfo=None)), "start: a datetime without a time"),
        (lambda: seconds("start", date(2013, 2, 1)), "start: takes whole seconds"),
        (lambda: seconds("start", Datetime64()), "numpy.datetime64 has no time zone"),
        (lambda: seconds("start", 1.5), "start: takes whole seconds"),
        (lambda: seconds("end", True), "end: takes whole seconds"),
        (lambda: seconds("end", math.nan), "end: takes whole seconds"),
        (lambda: seconds("end", -1), "end does not fit"),
        (lambda: seconds("end", datetime(1900, 1, 1, tzinfo=UTC)), "end does not fit"),
        (lambda: address("device", "0x12"), "device: takes 20 bytes, or 0x and 40 hex digits"),
        (lambda: address("device", HEX + " "), "device: takes 20 bytes"),
        (lambda: address("device", DEVICE.decode("latin-1")), "device: takes 20 bytes"),
        (lambda: octets("id", 5, 32), "id: takes 32 bytes.*; given was 5"),
        (lambda: whole("limit", 10**30, 1, 9), "limit does not fit .* from 1 to 9"),
        (lambda: whole("limit", 10**5000, 1, 9), "a number of 16610 bits"),
        (lambda: whole("limit", 1.5, 1, 9), "limit: takes a whole number from 1 to 9"),
        (lambda: whole("limit", "٣", 1, 9), "limit: takes a whole number"),
        (lambda: number("value", "1.5"), "value: takes a finite number"),
        (lambda: Observation(1, CELL, NOON, 21.5), "Observation.in_unit takes the metric's unit"),
        (lambda: Observation.in_unit(1, CELL, NOON, "21.5"), "air_temperature: takes a finite"),
        (lambda: Observation.in_unit(1, CELL, NOON, None), "air_temperature: takes a finite"),
        (lambda: Observation.in_unit(1, CELL, NOON, True), "air_temperature: takes a finite"),
        (lambda: Observation.in_unit(1, (91, 0), NOON, 1.0), "latitude: takes degrees"),
        (lambda: Observation.in_unit(1, (1, 2, 3), NOON, 1.0), "cell: takes a pair"),
        (lambda: Question(1, HEX, CELL, 5, 4), "start: is not after the end, 4"),
        (lambda: ReadingsQuestion(HEX, None, NOON_S, 4), "start: is not after the end, 4"),
        (lambda: Report.of(DEVICE, 1, [1]), r"observations\[0\]: takes Observations"),
        (lambda: Report.of(DEVICE, 1, None), "observations: takes Observations"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_right(ask, right):
    with pytest.raises((InvalidValue, ValueOutOfRange), match=right):
        ask()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
def test_a_value_that_no_reading_holds_is_out_of_range(value):
    with pytest.raises(ValueOutOfRange):
        metric("pressure").to_wire(value)


def test_a_metric_that_is_none_is_told_what_is_close():
    for wrong, hint in (
        ("temperature ", "air_temperature"),
        ("presure", "pressure"),
        (None, "co2"),
    ):
        with pytest.raises(UnknownMetric, match=hint):
            metric(wrong)
    for wrong in (True, 0, -1, 99, 1.5, [], "", "²", b"pressure"):
        with pytest.raises(UnknownMetric):
            metric(wrong)


def test_a_number_that_is_no_cell_is_refused_where_degrees_would_be_taken():
    for wrong in (5, "ffffffffffffffff", 2**64 - 1):
        with pytest.raises(InvalidCell):
            Question(1, HEX, wrong, 0, 1)


# ---------------------------------------------------------------------- every public function

ODD = st.sampled_from(
    [
        None, "", "0x", "0x12", " ", "temperature ", True, False, math.nan, math.inf, -1, 0, 1.5,
        10**30, -(10**30), 10**5000, b"", b"\x00", bytes(20), [], (), [None], {}, object(),
        "0x" + "zz" * 20, "٣", "http://", "\x00", datetime(2013, 1, 1), date(2013, 1, 1),
    ]
) | st.integers() | st.text(max_size=4) | st.binary(max_size=4)  # fmt: skip
ADMIN = account_from_key(ADMIN_KEY)
KEY = KEYS[0]
SIGNED = SignedReport(Report.of(DEVICE, 1, [Observation(1, CELL, START, 5)]), bytes(64))
CONFIG = ChannelConfig(DEVICE, DEVICE, DEVICE, DEVICE, DEVICE, 900, bytes(32))
FLEET = Fleet.of(DEVICE, KeyType.SECP256K1, [DEVICE])
CLAIM = RewardClaim(Owner(DEVICE), 1, 0, ())
WINDOW = {"metric": 1, "device": DEVICE, "start": START, "end": START + 1}
CLIENT = {
    "register_device": {"key": KEY, "owner": DEVICE},
    "send_reports": {"reports": [SIGNED]},
    "next_sequence": {"device": DEVICE},
    "status": {},
    "batch": {"batch_id": 1},
    "batches": {"limit": 1},
    "devices": {"limit": 1},
    "latest": {"device": DEVICE},
    "rejections": {"batch_id": 1, "limit": 1},
    "reading": {"batch_id": 1, "position": 0},
    "readings": WINDOW | {"limit": 1},
    "statistics": WINDOW | {"cell": CELL},
    "reward_claim": {"owner": DEVICE},
    "rewards_claimable": {"owner": DEVICE},
    "claim_rewards": {"owner": DEVICE},
    "open_channel": {"receiver": DEVICE, "amount": 1, "withdraw_delay_s": 900, "max_price": 1},
    "resume_channel": {"channel_id": bytes(32), "max_price": 1},
    "sign_report": {"key": KEY, "sequence": 1, "observations": [Observation(1, CELL, START, 5)]},
    "question": WINDOW | {"cell": CELL},
    "readings_question": WINDOW,
}
CHAIN = {
    "call": {"contract": "CoreToken", "function": "balanceOf", "arguments": DEVICE},
    "send": {"account": ADMIN, "contract": "CoreToken", "function": "renounce"},
    "send_packed": {
        "account": ADMIN, "contract": "PaymentChannels", "function": "redeemGroupsBrief",
        "packed": b"",
    },
    "contract": {"name": "CoreToken"},
    "commitment_of": {"batch_id": 1},
    "commitments_of": {"batches": {1: None}},
    "committed_batches": {},
    "owner_and_key_type": {"device": DEVICE},
    "register_device": {
        "account": ADMIN, "identity": KEY.identity, "owner": DEVICE, "activation": bytes(64),
    },
    "enrol_fleet": {"account": ADMIN, "fleet": FLEET},
    "materialise": {"account": ADMIN, "fleet": FLEET, "device": DEVICE},
    "publish_keys": {"account": ADMIN, "keys": [bytes(64)]},
    "claim_rewards": {"account": ADMIN, "claim": CLAIM},
    "active_root": {},
    "balance_of": {"holder": DEVICE},
    "rewards_claimed": {"owner": DEVICE},
    "open_channel": {"account": ADMIN, "config": CONFIG, "amount": 1},
    "channel_balance": {"channel_id": bytes(32)},
    "channel_balances": {"channel_ids": [bytes(32)]},
    "takes_packed_redemptions": {},
    "redeem": {"account": ADMIN, "vouchers": [(CONFIG, 1, bytes(64))]},
    "redeem_packed": {"account": ADMIN, "rows": []},
    "claim_and_settle": {"account": ADMIN, "rows": []},
    "initiate_withdraw": {"account": ADMIN, "config": CONFIG, "amount": 1},
    "finalize_withdraw": {"account": ADMIN, "config": CONFIG},
    "prove_reading": {"proven": None},
    "prove_range": {"part": None},
}  # fmt: skip
MADE = {
    "Observation": (Observation, {"metric": 1, "cell": CELL, "observed_at": START, "value": 5}),
    "in_unit": (
        Observation.in_unit, {"metric": 1, "cell": CELL, "observed_at": START, "value": 5.0},
    ),
    "Report": (Report, {"device": DEVICE, "sequence": 1, "packed": SIGNED.report.packed}),
    "Report.of": (Report.of, {"device": DEVICE, "sequence": 1, "observations": []}),
    "SignedReport": (SignedReport, {"report": SIGNED.report, "signature": bytes(64)}),
    "Question": (Question, WINDOW | {"cell": CELL}),
    "ReadingsQuestion": (ReadingsQuestion, WINDOW),
    "cell_of": (cell_of, {"latitude": 1, "longitude": 2, "resolution": 7}),
    "metric": (metric, {"key": 1}),
    "to_wire": (METRICS[0].to_wire, {"value": 1.0}),
    "Secp256k1Key": (Secp256k1Key, {"secret": KEY.secret}),
    "P256Key": (P256Key, {"secret": KEY.secret}),
    "account_from_key": (account_from_key, {"secret": KEY.secret}),
    "load_deployment": (load_deployment, {"path": "none.json"}),
}  # fmt: skip
NOT_OF_VALUES = {"run", "close", "node", "web3", "contracts", "chain"}
"""Public names that take no value of a user's."""


def functions_of(kind):
    return {
        name
        for name in dir(kind)
        if not name.startswith("_") and inspect.isroutine(inspect.getattr_static(kind, name))
    } | {
        name
        for name in dir(kind)
        if isinstance(inspect.getattr_static(kind, name), staticmethod) and name[0] != "_"
    }


def test_every_public_function_is_in_the_tables():
    assert functions_of(Client) - NOT_OF_VALUES == CLIENT.keys()
    assert functions_of(AsyncClient) - NOT_OF_VALUES == CLIENT.keys()
    assert functions_of(Chain) - NOT_OF_VALUES == CHAIN.keys()
    assert {"Observation", "Report", "SignedReport", "Secp256k1Key"} <= set(corechain.__all__)
    for table, kind in ((CLIENT, Client), (CHAIN, Chain)):
        for name, good in table.items():
            assert set(good) <= set(inspect.signature(getattr(kind, name)).parameters)


@pytest.fixture(scope="module")
def url():
    """A server that knows nothing: what matters is that odd values do not come so far."""
    with answers(Script(404, b'{"type":"urn:corechain:error:NotFound"}')) as running:
        yield running


@pytest.fixture(scope="module")
def client(url, deployment):
    with Client(url, url, url, deployment, ADMIN) as made:
        yield made


def called(function, good, name, odd):
    values = good | {name: odd}
    arguments = values.pop("arguments", None)
    if "arguments" in good:
        return function(*values.values(), arguments)
    return function(**values)


@pytest.mark.parametrize("name", [name for name, good in CLIENT.items() if good])
@settings(deadline=None)
@given(data=st.data())
def test_any_value_given_to_a_client_is_taken_or_refused_by_type(client, name, data):
    good = CLIENT[name]
    parameter, odd = data.draw(st.sampled_from(sorted(good))), data.draw(ODD)
    with suppress(CoreChainError):
        called(getattr(client, name), good, parameter, odd)


@pytest.mark.parametrize(
    "name", ["readings", "statistics", "open_channel", "send_reports", "latest"]
)
@settings(deadline=None)
@given(data=st.data())
def test_any_value_given_to_an_async_client_is_too(url, client, name, data):
    good = CLIENT[name]
    parameter, odd = data.draw(st.sampled_from(sorted(good))), data.draw(ODD)

    async def ask():
        other = AsyncClient(url, url, url, client.deployment, ADMIN)
        with suppress(CoreChainError):
            await called(getattr(other, name), good, parameter, odd)

    asyncio.run(ask())


@pytest.mark.parametrize("name", [name for name, good in CHAIN.items() if good])
@settings(deadline=None)
@given(data=st.data())
def test_any_value_given_to_the_chain_is_taken_or_refused_by_type(client, name, data):
    good = CHAIN[name]
    parameter, odd = data.draw(st.sampled_from(sorted(good))), data.draw(ODD)
    with suppress(CoreChainError):
        called(getattr(client.chain, name), good, parameter, odd)


@pytest.mark.parametrize("name", MADE)
@settings(deadline=None)
@given(data=st.data())
def test_any_value_given_to_a_constructor_is_taken_or_refused_by_type(name, data):
    made, good = MADE[name]
    parameter, odd = data.draw(st.sampled_from(sorted(good))), data.draw(ODD)
    with suppress(CoreChainError):
        made(**(good | {parameter: odd}))


@settings(deadline=None)
@given(data=st.data())
def test_any_value_given_to_make_a_client_is_taken_or_refused_by_type(url, client, data):
    good = {
        "api_url": url,
        "gateway_url": url,
        "rpc_url": url,
        "deployment": client.deployment,
        "account": ADMIN,
        "verify": True,
        "channel": None,
        "max_price": None,
    }
    parameter, odd = data.draw(st.sampled_from(sorted(good))), data.draw(ODD)
    with suppress(CoreChainError):
        Client(**(good | {parameter: odd})).status()


@pytest.mark.parametrize("parameter", ["api_url", "gateway_url", "rpc_url"])
def test_a_url_that_is_none_is_named(url, deployment, parameter):
    good = {"api_url": url, "gateway_url": url, "rpc_url": url, "deployment": deployment}
    for wrong in ("", "localhost:8545", "ws://x", "http://", None, "http://a b", 5, "http://[::1"):
        with pytest.raises(InvalidValue, match=f"{parameter}: takes a URL"):
            Client(**(good | {parameter: wrong}))


def test_a_manifest_that_is_no_path_is_named(tmp_path):
    with pytest.raises(InvalidValue, match="path: takes the path"):
        load_deployment(None)
    for text in ("[" * 100_000, "\x00"):
        (tmp_path / "1.json").write_text(text)
        with pytest.raises(InvalidDeployment, match="cannot be read"):
            load_deployment(tmp_path / "1.json")


def test_what_the_api_answers_is_taken_back(client):
    """A reading's row, as JSON gives it, asks the next question."""
    row = {"device": HEX, "metric": 1, "cell": f"{CELL:015x}", "observed_at": START}
    question = client.question(row["metric"], row["device"], row["cell"], START, row["observed_at"])
    assert question == Question(metric(1), DEVICE, CELL, START, START)
    assert Reading(1, CELL, DEVICE, START, 5).device == question.device
