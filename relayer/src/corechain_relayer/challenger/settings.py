"""Settings of `corechain challenger`: those of the relayer, without what it does not use."""

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from corechain.service.settings import InvalidSetting, PrivateKey, listed, load
from corechain_relayer.settings import PREFIX, BusUrl, Settings

NO_BUS = "redis://127.0.0.1:6379/0"


class ChallengerSettings(Settings):
    """No bus is ever asked: whoever guards the bonds of others need not run a relayer."""

    model_config = SettingsConfigDict(env_prefix=PREFIX)

    bus_url: BusUrl = Field(SecretStr(NO_BUS), description="not used by the challenger")
    # Required here, so that they are named together with whatever else is missing.
    challenger_key: PrivateKey = Field(description="private key that challenges frauds")
    challenger_data_urls: str = Field(description="where the data files of all lanes are")

    @property
    def data_templates(self) -> list[str]:
        return listed(self.challenger_data_urls)


def load_settings() -> ChallengerSettings:
    """Raises InvalidSetting with one sentence, without any value."""
    settings = load(ChallengerSettings)
    if not settings.data_templates:
        raise InvalidSetting(f"{PREFIX}CHALLENGER_DATA_URLS is not set")
    return settings
