"""API keys: a file with what each may do, by the SHA-256 of the key.

    [[key]]
    name = "weather-desk"
    sha256 = "<64 hexadecimal digits>"
    per_second = 50
    per_day = 100000

A key has 256 random bits, so its hash says nothing about it, and needs no salt.
"""

import hashlib
import re
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from corechain.service.settings import InvalidSetting

PREFIX = "cck_"
MAX_KEY_CHARS = 200
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


class ApiKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of 0 are none."""

    name: str
    sha256: str
    per_second: int = 0
    per_day: int = 0

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError("a name is up to 64 of A-Z a-z 0-9 . _ -")
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError("sha256 is 64 hexadecimal digits in lower case")
        if self.per_second < 0 or self.per_day < 0:
            raise ValueError("limits are not negative")


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: list[ApiKey] = []


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Keys by the hash of their secret."""

    by_digest: Mapping[str, ApiKey]

    def find(self, secret: str) -> ApiKey | None:
        """None for one that is not ours. Takes as long for a near miss as for any other: hashes
        are looked up, not the secrets."""
        if len(secret) > MAX_KEY_CHARS:
            return None
        return self.by_digest.get(digest_of(secret))


def key_ring(path: Path) -> KeyRing:
    """Raises InvalidSetting, without any key or hash."""
    try:
        found = msgspec.convert(tomllib.loads(path.read_text()), _File).key
    except OSError as error:
        raise InvalidSetting(f"INDEXER_API_KEYS_FILE: {error.strerror}") from None
    except (ValueError, tomllib.TOMLDecodeError) as error:
        raise InvalidSetting(f"INDEXER_API_KEYS_FILE: {error}") from None
    names = [key.name for key in found]
    if len(set(names)) < len(names) or len({key.sha256 for key in found}) < len(found):
        raise InvalidSetting("INDEXER_API_KEYS_FILE: a name or a hash occurs twice")
    return KeyRing({key.sha256: key for key in found})


def new_key(name: str, per_second: int, per_day: int) -> tuple[str, str]:
    """(a new secret, its entry for the file). Raises ValueError."""
    secret = PREFIX + secrets.token_urlsafe(32)
    key = ApiKey(name, digest_of(secret), per_second, per_day)
    lines = [f"{field} = {_toml(getattr(key, field))}" for field in key.__struct_fields__]
    return secret, "\n".join(["[[key]]", *lines]) + "\n"


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
