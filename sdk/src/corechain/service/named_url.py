"""URLs that know where they are from: an error names the setting, and never what it holds."""


class NamedUrl(str):
    """The value of a setting, or a part of it. In all else a string."""

    __slots__ = ("setting",)
    setting: str

    def __new__(cls, url: str, setting: str) -> "NamedUrl":
        made = super().__new__(cls, url)
        made.setting = setting
        return made


def setting_of(url: str, otherwise: str) -> str:
    """The name of the setting that a URL is from, where it knows it."""
    return url.setting if isinstance(url, NamedUrl) else otherwise
