"""The settings of a connection to an MQTT broker, for every role that subscribes to one."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from corechain.service.settings import ServiceSettings, url_of
from corechain_relayer.mqtt.broker import Broker, broker_of
from corechain_relayer.mqtt.packets import Opening, Version


def _mqtt_url(value: SecretStr) -> SecretStr:
    broker_of(value.get_secret_value(), "")
    return value


MqttUrl = Annotated[SecretStr, url_of("mqtt", "mqtts"), AfterValidator(_mqtt_url)]
MqttVersion = Literal["5", "3.1.1"]
VERSIONS = {"3.1.1": Version.V3_1_1, "5": Version.V5}


class MqttSettings(ServiceSettings):
    """Where the broker is, how we show ourselves, how much it may hand us at a time."""

    mqtt_url: MqttUrl | None = Field(
        None,
        description="MQTT broker that role mqtt takes reports from, `mqtts://user@host:8883`, or "
        "`mqtt://` without TLS; without it there is no such role",
    )
    mqtt_password: SecretStr | None = Field(None, description="password of the user in that URL")
    mqtt_ca: Path | None = Field(
        None,
        description="PEM file of the certificates that are trusted; those of the system when "
        "not set",
    )
    mqtt_certificate: Path | None = Field(
        None, description="PEM file with a certificate of ours and its key, for brokers that ask"
    )
    mqtt_version: MqttVersion = Field(
        "5",
        description="`5`, or `3.1.1` for older brokers: without shared subscriptions, so one "
        "process takes all",
    )
    mqtt_client_id: str = Field(
        "corechain-relayer",
        pattern=r"^[\w.-]{1,128}$",
        description="name of our session at the broker: another one for each process, and the same "
        "after a restart, for that is how messages of the time between are found again",
    )
    mqtt_receive_maximum: int = Field(
        1_000,
        ge=1,
        le=65_535,
        description="messages that the broker may have sent and not seen acknowledged (MQTT 5); "
        "so many are in memory at most while they cannot be made durable",
    )
    mqtt_session_s: int = Field(
        7 * 86_400,
        ge=60,
        le=0xFFFFFFFF,
        description="so long the broker keeps messages for us while we are away (MQTT 5)",
    )
    mqtt_keep_alive_s: int = Field(
        60, ge=2, le=65_535, description="a broker that says nothing for half again as long is away"
    )

    @model_validator(mode="after")
    def _has_a_user(self) -> Self:
        # MQTT 3.1.1 has no password without a user; brokers of 5 take it for a mistake, too.
        if self.mqtt_password is not None and (self.mqtt_url is None or not self.broker.user):
            prefix = self.ENV_PREFIX
            raise ValueError(f"{prefix}MQTT_PASSWORD needs a user in {prefix}MQTT_URL")
        return self

    @property
    def broker(self) -> Broker:
        """Where we connect, as the files of URL and password have it by now. Only where the URL is
        set."""
        assert self.mqtt_url is not None
        password = "" if self.mqtt_password is None else self.read_again("mqtt_password")
        places = (self.mqtt_ca, self.mqtt_certificate)
        try:
            found = broker_of(self.read_again("mqtt_url"), password, *places)
        except ValueError:  # half written
            found = self._broker_at_start(password)
        is_whole = password == "" or found.user != ""
        return found if is_whole else self._broker_at_start(password)

    def _broker_at_start(self, password: str) -> Broker:
        assert self.mqtt_url is not None
        places = (self.mqtt_ca, self.mqtt_certificate)
        return broker_of(self.mqtt_url.get_secret_value(), password, *places)

    @property
    def opening(self) -> Opening:
        """What we say when we connect. Only where the URL is set."""
        broker = self.broker
        return Opening(
            VERSIONS[self.mqtt_version],
            self.mqtt_client_id,
            self.mqtt_keep_alive_s,
            self.mqtt_session_s,
            self.mqtt_receive_maximum,
            broker.user,
            broker.password,
        )
