"""Everything an operator can set: `RELAYER_*` in the environment, validated once, at start."""

import os
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from corechain.service.settings import (
    PORT_MEANING,
    AlertSettings,
    HttpSettings,
    PrivateKey,
    TraceSettings,
    load,
    load_part,
    url_of,
)
from corechain_relayer import local
from corechain_relayer.answer_settings import AnswerSettings
from corechain_relayer.bus.frame import KEY_BYTES, FrameKeys
from corechain_relayer.bus.kafka.address import SCHEME, parse_address, parse_options
from corechain_relayer.challenging_settings import ChallengingSettings
from corechain_relayer.journal_settings import (
    DemandsSettings,
    FilesSettings,
    JournalSettings,
    OperatorSettings,
    ProposerSettings,
    StoredSettings,
)
from corechain_relayer.mqtt.settings import MqttSettings
from corechain_relayer.submitter.settings import CENTURY_S
from corechain_relayer.transactions.settings import TransactionSettings

PREFIX = local.PREFIX
MAX_PROMISE_S = 182 * 86_400
"""Half of the longest challenge window that the contract takes."""
MAX_FUTURE_S = 1_800
"""An observation an hour after its device's revocation costs the bond: a device that dates ahead
and is then revoked must not get there, also when the relayer sees the revocation late."""


def _keys(text: str) -> list[bytes]:
    """Raises ValueError for what is not hexadecimal."""
    return [bytes.fromhex(part.strip().removeprefix("0x")) for part in text.split(",")]


def _frame_keys(value: SecretStr) -> SecretStr:
    try:
        keys = _keys(value.get_secret_value())
    except ValueError:
        raise ValueError("is not a list of keys in hexadecimal") from None
    if any(len(key) != KEY_BYTES or not any(key) for key in keys):
        raise ValueError(f"is not a list of keys of {KEY_BYTES} bytes")
    return value


FrameKeyList = Annotated[SecretStr, AfterValidator(_frame_keys)]


def _bus_url(value: SecretStr) -> SecretStr:
    if value.get_secret_value().startswith(SCHEME):
        parse_address(value.get_secret_value())
    return value


def _kafka_options(value: SecretStr) -> SecretStr:
    parse_options(value.get_secret_value())
    return value


BusUrl = Annotated[SecretStr, url_of("redis", "rediss", "unix", "kafka"), AfterValidator(_bus_url)]
KafkaOptions = Annotated[SecretStr, AfterValidator(_kafka_options)]


class Settings(
    AnswerSettings,
    ChallengingSettings,
    MqttSettings,
    TransactionSettings,
    AlertSettings,
    TraceSettings,
    HttpSettings,
    OperatorSettings,
    ProposerSettings,
):
    """Settings of every role. Times in seconds, sizes in bytes, fees in wei per gas."""

    ENV_PREFIX: ClassVar = PREFIX
    REMOVED: ClassVar = {
        "more_rpc_urls": "name all nodes in RELAYER_RPC_URL, comma separated, for every role",
        "trust_bus": "set RELAYER_FRAME_KEY, and the signatures of a frame are verified once",
    }

    bus_url: BusUrl = Field(
        description="the bus between gateway and aggregator: redis://HOST:PORT/N (Valkey), on the "
        "same machine unix:///SOCKET?db=N, or kafka://BROKER,BROKER/PREFIX"
    )
    first_lane: int = Field(
        0,
        ge=0,
        le=0xFFFF,
        description="the lowest lane that is ours on chain: lanes below may be another relayer's",
    )
    lanes: int = Field(
        1,
        ge=1,
        le=1024,
        description="how many lanes, from the first on, devices are divided into; the same in "
        "every process of a relayer",
    )
    share_lanes: bool = Field(
        False,
        description="the aggregator takes its share of all lanes, whatever LANE says, and leaves "
        "the rest to other such processes, however many there are: for autoscalers",
    )

    submitter_key: PrivateKey | None = Field(
        None, description="private key of the lane's submitter; needed by role submitter"
    )
    receipt_key: PrivateKey | None = Field(
        None,
        description="private key that signs completeness receipts for clients that ask; it sends "
        "nothing and needs no money; without it there are no receipts",
    )
    receipt_promise_s: int = Field(
        3_600,
        ge=60,
        le=MAX_PROMISE_S,
        description="a receipt promises that its reports are in a batch on chain so many seconds "
        "from now; less than half of the contract's challenge window, or nothing is signed",
    )

    max_readings: int | None = Field(
        None,
        ge=1,
        le=1 << 20,
        description="readings at which a batch is sealed; by default as many as can be challenged "
        "level by level in a challenge window, at most 262,144",
    )
    max_age_s: float | None = Field(
        None,
        gt=0,
        le=86_400,
        description="age of the oldest report at which a batch is sealed; by default 10 s, or "
        "longer where blocks are slow or the contract's ring of 8,192 batches would not last for a "
        "challenge window",
    )
    fold_bytes: int = Field(
        32 << 20,
        ge=1 << 16,
        le=1 << 30,
        description="size at which what batches change for their devices is folded into the "
        "journal's tables; every reader of a device may hold twice as much a lane",
    )
    fold_age_s: float = Field(
        60.0, gt=0, le=3_600, description="age at which it is folded, however little it is"
    )
    known_devices: int = Field(
        200_000,
        ge=1,
        le=100_000_000,
        description="devices that the aggregator keeps in memory, 0.2 to 0.7 kB each; those idle "
        "longest are forgotten and read again when they come back",
    )
    unknown_device_s: float = Field(
        60.0,
        ge=0,
        le=3_600,
        description="so long a report waits for the registration of its device to be seen by our "
        "node, before it becomes a dead letter",
    )
    max_report_age_s: int = Field(
        7 * 86_400, ge=1, le=CENTURY_S, description="oldest observation that the gateway accepts"
    )
    max_report_future_s: int = Field(
        300,
        ge=0,
        le=MAX_FUTURE_S,
        description="how far an observation may lie ahead of the gateway's clock",
    )

    http_port: int = Field(8701, ge=0, le=65_535, description=PORT_MEANING)
    max_body_bytes: int = Field(
        4 << 20, ge=1 << 10, le=64 << 20, description="largest request body"
    )
    body_timeout_s: float = Field(
        30.0, gt=0, le=600, description="time in which a request body has to arrive"
    )

    gather_ms: float = Field(
        4.0,
        ge=0,
        le=50,
        description="milliseconds in which requests gather for a frame that they share while "
        "another frame is under way; one that comes alone never waits",
    )
    max_wait_s: float = Field(
        10.0,
        ge=0.1,
        le=600,
        description="estimated seconds that a request would wait for its frame at which the "
        "gateway answers 503; less than clients wait for an answer",
    )
    bus_max_frames: int = Field(
        100_000,
        ge=1,
        le=10_000_000,
        description="frames on a lane of the bus at which the gateway answers 503",
    )
    bus_max_bytes: int = Field(
        1 << 30,
        ge=1 << 16,
        le=1 << 40,
        description="bytes of frames on a lane of the bus at which the gateway answers 503",
    )
    bus_max_drain_s: float = Field(
        300.0,
        ge=1,
        le=86_400,
        description="estimated seconds until an aggregator has read all that is on a lane, at the "
        "rate that was measured, at which the gateway answers 503",
    )
    max_bodies_bytes: int = Field(
        128 << 20,
        ge=1 << 20,
        le=1 << 40,
        description="bytes of request bodies in memory at a time; beyond that 503",
    )
    frame_key: FrameKeyList | None = Field(
        None,
        description="32 bytes in hexadecimal, the same for gateways and aggregators: with it the "
        "signatures of a frame are checked once, without it by both. Several keys, separated by "
        "commas, to change it without a stop: the first seals, all are accepted",
    )
    bus_stream: str = Field(
        "corechain:frames",
        pattern=r"^[\w:.{}-]{1,100}$",
        description="name of the streams on Valkey, one a lane",
    )
    bus_vouched: bool = Field(
        False,
        description="the operator answers for the durability of the bus: only where its server "
        "forbids CONFIG GET (on Kafka DescribeConfigs)",
    )
    kafka_options: KafkaOptions | None = Field(
        None,
        description="options of librdkafka, such as those of SASL and TLS: lines of NAME=VALUE, or "
        "a JSON object; best in a file (RELAYER_KAFKA_OPTIONS_FILE)",
    )
    kafka_copies: int = Field(
        2,
        ge=1,
        le=9,
        description="on how many of Kafka's brokers a frame has to be before it is acknowledged; "
        "1 is for development with one broker",
    )

    mqtt_group: str = Field(
        # Not shared unless asked for: Mosquitto 2.0 keeps no shared subscription over its restart.
        "",
        pattern=r"^[\w.-]{0,100}$",
        description="processes of one group share the messages among them (MQTT 5); without it "
        "every process gets all of them. With another one, take another client id",
    )
    mqtt_prefix: str = Field(
        "corechain/v1",
        pattern=r"^[\w.-]+(/[\w.-]+){0,9}$",
        max_length=200,
        description="topics begin with this: `<prefix>/reports/<device>`, `<prefix>/gateways/<name>"
        "`, `<prefix>/answers/<device or name>`",
    )

    @field_validator("lanes")
    @classmethod
    def _has_the_lane(cls, lanes: int, info: ValidationInfo) -> int:
        lane, first = info.data.get("lane", 0), info.data.get("first_lane", 0)
        if not first <= lane < first + lanes:
            raise ValueError(f"lane {lane} is none of the {lanes} from lane {first} on")
        return lanes

    @property
    def frame_keys(self) -> FrameKeys:
        keys = self.frame_key
        return FrameKeys(() if keys is None else tuple(_keys(keys.get_secret_value())))

    @property
    def place(self) -> int:
        """Where our lane stands among the relayer's: its number on the bus."""
        return self.lane - self.first_lane


def load_settings() -> Settings:
    """The settings of this process. Raises InvalidSetting with one sentence, without any value."""
    return load(Settings)


def load_journal(home: Path | None = None) -> JournalSettings:
    """Of a command that asks the journal alone. `home`: as `operator_environment`'s. Raises
    InvalidSetting."""
    return load(JournalSettings, local.operator_environment(os.environ, home), Settings)


def load_operator(home: Path | None = None) -> OperatorSettings:
    """Of a command that asks journal and node. Raises InvalidSetting."""
    return load(OperatorSettings, local.operator_environment(os.environ, home), Settings)


def load_demands() -> DemandsSettings:
    """Of a command that asks what is demanded of a lane. Raises InvalidSetting."""
    return load(DemandsSettings, among=Settings)


def load_proposer() -> ProposerSettings:
    """Of a command that proposes rewards. Raises InvalidSetting."""
    return load(ProposerSettings, among=Settings)


def load_stored() -> StoredSettings:
    """Raises InvalidSetting."""
    return load_part(StoredSettings)


def load_files() -> FilesSettings:
    """Raises InvalidSetting."""
    return load_part(FilesSettings)
