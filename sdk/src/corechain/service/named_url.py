"""URLs that know where they are from: an error names the setting, and never what it holds; a file
that has another password since is read again."""

from collections.abc import Callable


class NamedUrl(str):
    """The value of a setting, or a part of it. In all else a string. `again`: what it is now."""

    __slots__ = ("again", "setting")
    setting: str
    again: Callable[[], str]

    def __new__(cls, url: str, setting: str, again: Callable[[], str] | None = None) -> "NamedUrl":
        made = super().__new__(cls, url)
        made.setting, made.again = setting, again or (lambda: url)
        return made


def now_of(url: str) -> str:
    """What it is by now, where it is from a setting."""
    return url.again() if isinstance(url, NamedUrl) else url


def setting_of(url: str, otherwise: str) -> str:
    """The name of the setting that a URL is from, where it knows it."""
    return url.setting if isinstance(url, NamedUrl) else otherwise
