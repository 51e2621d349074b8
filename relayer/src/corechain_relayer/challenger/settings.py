"""Settings of `corechain challenger`: those of the relayer, without what it does not use."""

from pydantic import Field, SecretStr

from corechain.service.settings import InvalidSetting, listed, load
from corechain_relayer.accounts import CHALLENGER, has_key
from corechain_relayer.settings import PREFIX, BusUrl, Settings

NO_BUS = "redis://127.0.0.1:6379/0"


class ChallengerSettings(Settings):
    """No bus is ever asked: whoever guards the bonds of others need not run a relayer."""

    bus_url: BusUrl = Field(SecretStr(NO_BUS), description="not used by the challenger")
    challenger_data_urls: str = Field("", description="where the data files of all lanes are")

    @property
    def data_templates(self) -> list[str]:
        return listed(self.challenger_data_urls)


def load_settings() -> ChallengerSettings:
    """Raises InvalidSetting with one sentence, without any value."""
    settings = load(ChallengerSettings)
    missing = [] if has_key(settings, CHALLENGER) else [f"{PREFIX}CHALLENGER_KEY"]
    missing += [] if settings.data_templates else [f"{PREFIX}CHALLENGER_DATA_URLS"]
    if missing:
        is_not = "is not set" if len(missing) == 1 else "are not set"
        raise InvalidSetting(f"{' and '.join(missing)} {is_not}")
    return settings
