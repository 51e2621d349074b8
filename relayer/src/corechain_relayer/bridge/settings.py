"""Everything an operator can set: `BRIDGE_*` in the environment, validated once, at start."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from corechain.service.settings import (
    PORT_MEANING,
    HttpSettings,
    NodeUrl,
    PrivateKey,
    TraceSettings,
    listed,
    load,
)
from corechain_relayer.local import part_settings
from corechain_relayer.mqtt.settings import MqttSettings, MqttUrl, MqttVersion

PREFIX = "BRIDGE_"
FILTERS = "v3/+/devices/+/up,application/+/device/+/event/up"
"""Topics of uplinks: of The Things Stack, of ChirpStack."""


def filters_of(text: str) -> list[str]:
    """Topic filters, separated by commas. Raises ValueError."""
    found = listed(text)
    if not found:
        raise ValueError("has no topic filter")
    for item in found:
        levels = item.split("/")
        wild = [level for level in levels if set("+#") & set(level)]
        # MQTT 4.7.1: a wildcard has its level for itself, and nothing stands behind a #.
        if any(level not in ("+", "#") for level in wild) or "#" in levels[:-1] or "\0" in item:
            raise ValueError(f"{item!r:.80} is no topic filter of MQTT")
    return found


def _filters(text: str) -> str:
    filters_of(text)
    return text


TopicFilters = Annotated[str, AfterValidator(_filters)]


class Settings(MqttSettings, TraceSettings, HttpSettings):
    """Settings of the bridge and its commands. Times in seconds, sizes in bytes."""

    ENV_PREFIX: ClassVar = PREFIX

    gateway_url: NodeUrl = Field(description="URL of the relayer's gateway")
    deployment: Path = Field(description="manifest of the contracts, `deployments/<chain id>.json`")
    data_dir: Path = Field(
        description="folder of the stations, their keys and what waits for the gateway; mode 0700"
    )
    api_url: NodeUrl | None = Field(
        None,
        description="URL of the network's query API, as stations reach it: links in answers to "
        "SensorThings begin with it",
    )
    rpc_url: NodeUrl | None = Field(
        None, description="JSON-RPC URL of the chain's node; only to register stations"
    )
    registrar_key: PrivateKey | None = Field(
        None, description="private key that pays for registrations; only to register stations"
    )

    http_port: int = Field(8706, ge=0, le=65_535, description=PORT_MEANING)
    aprs_port: int | None = Field(
        None,
        ge=0,
        le=65_535,
        description="port for CWOP stations that speak APRS-IS; without it there is none. Whoever "
        "reaches it can speak for a callsign",
    )
    mqtt_url: MqttUrl | None = Field(
        None,
        description="MQTT broker of a network server of LoRaWAN (The Things Stack, ChirpStack), "
        "`mqtts://user@host:8883`, or `mqtt://` without TLS; without it none is asked",
    )
    mqtt_topics: TopicFilters = Field(
        FILTERS, description="topic filters of its uplinks, separated by commas"
    )
    # The Things Stack speaks nothing newer, and both speak this.
    mqtt_version: MqttVersion = Field("3.1.1", description="`3.1.1`, or `5`")
    mqtt_client_id: str = Field(
        "corechain-bridge",
        pattern=r"^[\w.-]{1,128}$",
        description="name of our session at the broker: another one for each bridge, and the same "
        "after a restart, for that is how messages of the time between are found again",
    )
    max_body_bytes: int = Field(
        256 << 10, ge=1 << 10, le=16 << 20, description="largest upload, and largest polled answer"
    )
    max_bodies_bytes: int = Field(
        32 << 20,
        ge=1 << 20,
        le=1 << 34,
        description="bytes of uploads in memory at a time; beyond that 503",
    )
    body_timeout_s: float = Field(
        15.0, gt=0, le=600, description="time in which an upload has to arrive"
    )
    max_connections: int = Field(
        4_096, ge=1, le=1 << 20, description="connections served at a time"
    )

    max_reports: int = Field(
        100_000,
        ge=1,
        le=10_000_000,
        description="signed reports that may wait for the gateway; beyond that uploads get 503",
    )
    station_reports: int = Field(
        20_000,
        ge=1,
        le=10_000_000,
        description="signed reports of one station that may wait; beyond that its uploads get 503, "
        "those of others do not",
    )
    station_uploads_per_minute: int = Field(
        30,
        ge=1,
        le=60_000,
        description="uploads of one station a minute, in the long run; beyond that 429",
    )
    # Ten uploads a minute of an outage of an hour and a half; consoles keep less.
    station_burst: int = Field(
        1_000,
        ge=1,
        le=1_000_000,
        description="uploads of one station at once, after it was away",
    )
    send_reports: int = Field(256, ge=1, le=4_096, description="reports in one request")
    unknown_pause_s: float = Field(
        30.0,
        ge=0.05,
        le=3_600,
        description="a station that the gateway does not know yet is asked about again after so "
        "long; its reports wait, those of others do not",
    )
    max_age_s: int = Field(
        7 * 86_400,
        ge=60,
        le=100 * 366 * 86_400,
        description="oldest observation that is taken from a station; the gateway has a limit too",
    )
    max_future_s: int = Field(
        300, ge=0, le=1_800, description="how far a station's clock may be ahead of ours"
    )
    poll_timeout_s: float = Field(
        20.0, gt=0, le=300, description="time in which a polled source has to answer"
    )
    log_level: str = Field(
        "info", pattern=r"^(debug|info|warning|error)$", description="debug, info, warning or error"
    )


def local_settings(environment: Mapping[str, str]) -> Mapping[str, str]:
    """The environment; one that says nothing of a bridge gets the settings of the one that
    `corechain up --bridge` runs in this folder, if any: so its commands need no settings. Raises
    InvalidSetting where that was killed."""
    if any(name.upper().startswith(PREFIX) for name in environment):
        return environment
    home = Path(environment.get("CORECHAIN_HOME") or ".corechain")
    # No network, or none with a bridge: load() says what is not set.
    return {**environment, **(part_settings(home, "bridge") or {})}


def load_settings() -> Settings:
    """The settings of this process. Raises InvalidSetting with one sentence, without any value."""
    return load(Settings, local_settings(os.environ))
