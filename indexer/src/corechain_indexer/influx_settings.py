"""What an operator can set about InfluxDB: a part of `INDEXER_*`."""

import math
from typing import ClassVar

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from corechain.service.settings import NodeUrls, ServiceSettings, listed, load, urls_in

SHORTEST_KEPT_DAYS = 3
"""A day in InfluxDB is made of its hours when it has ended, and the hours of readings; one more day
for what was away meanwhile."""


class InfluxLayout(ServiceSettings):
    """Where readings are copied to, how they are made coarser there, how long they are kept."""

    influx_url: NodeUrls | None = Field(
        None,
        description="InfluxDB 2 that verified readings are copied to; several, each of which gets "
        "all, comma separated",
    )
    influx_org: str = Field("corechain", description="organisation in InfluxDB")
    influx_bucket: str = Field("corechain", description="bucket in InfluxDB")
    influx_keep_days: str = Field(
        "0,0,0,0",
        pattern=r"^\d{1,5}(\s*,\s*\d{1,5}){3}$",
        description="days that `corechain indexer influx setup` has InfluxDB keep readings, "
        "minutes, hours and days, as 30,90,730,0; 0: for ever",
    )
    influx_downsamples: bool = Field(
        False,
        description="whether InfluxDB has downsampled buckets that the mirror keeps exact; "
        "`corechain indexer influx setup` makes them",
    )

    @field_validator("influx_keep_days")
    @classmethod
    def _coarser_longer(cls, value: str) -> str:
        kept = [int(days) or math.inf for days in listed(value)]
        if any(days < SHORTEST_KEPT_DAYS for days in kept):
            raise ValueError("less than 3 days are too few to make a day of")
        if kept != sorted(kept):
            raise ValueError("what is coarser is kept as long, or longer: 30,90,730,0")
        return value

    @property
    def influx_urls(self) -> list[str]:
        return [] if self.influx_url is None else urls_in(self.influx_url)

    @property
    def influx_kept_s(self) -> list[int]:
        """How long readings, minutes, hours and days are kept, in seconds; 0 for ever."""
        return [86_400 * int(days) for days in listed(self.influx_keep_days)]


class InfluxSettings(InfluxLayout):
    """And by what right."""

    influx_token: SecretStr = Field(
        SecretStr(""),
        description="token of InfluxDB; of several, one each in the order of INFLUX_URL, comma "
        "separated, or one that all of them know",
    )
    influx_reads: bool = Field(
        False, description="whether `/v1/series` reads from InfluxDB; Postgres is faster"
    )

    @field_validator("influx_token")
    @classmethod
    def _a_token_each(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        urls = urls_in(info.data.get("influx_url") or SecretStr(""))
        tokens = _tokens_in(value)
        if len(tokens) not in (0, 1, len(urls)):
            raise ValueError("takes one token, or one for each URL of INFLUX_URL")
        # As `setup` leaves them when it was refused by a server: each place is a server's.
        for number, token in enumerate(tokens, 1):
            if not token:
                raise ValueError(
                    f"has no token of InfluxDB {number}: `corechain indexer influx setup` makes it"
                )
        return value

    @property
    def influx_tokens(self) -> list[str]:
        """One a URL."""
        found = _tokens_in(self.influx_token) or [""]
        return found if len(found) > 1 else found * len(self.influx_urls)

    def influx_token_now(self, number: int) -> str:
        """As its file has it by now: `setup` makes a new one for a bucket that was made anew."""
        now = _tokens_in(SecretStr(self.read_again("influx_token"))) or [""]
        return now[number] if number < len(now) else now[0]


def _tokens_in(value: SecretStr) -> list[str]:
    """By their places, blank ones too; none of a text that is blank."""
    text = value.get_secret_value().strip()
    return [token.strip() for token in text.split(",")] if text else []


class SetupSettings(InfluxLayout):
    """What `corechain indexer influx setup` reads. Not the tokens: it makes them."""

    ENV_PREFIX: ClassVar = "INDEXER_"

    log_level: str = Field(
        "info", pattern=r"^(debug|info|warning|error)$", description="debug, info, warning or error"
    )


def load_setup_settings(all_of_them: type[ServiceSettings]) -> SetupSettings:
    """Of an environment that may have any of the indexer's settings. Raises InvalidSetting."""
    return load(SetupSettings, among=all_of_them)
