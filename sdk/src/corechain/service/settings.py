"""Settings of a service: `PREFIX_*` in the environment, validated once, at start."""

import os
from collections.abc import Mapping
from typing import Annotated, TypeVar

from pydantic import AfterValidator, SecretStr, ValidationError
from pydantic_settings import BaseSettings

from corechain.protocol.errors import CoreChainError

S = TypeVar("S", bound=BaseSettings)


class InvalidSetting(CoreChainError):
    """A setting is missing, unknown or out of its range."""


def _private_key(value: SecretStr) -> SecretStr:
    try:
        secret = bytes.fromhex(value.get_secret_value().removeprefix("0x"))
    except ValueError:
        raise ValueError("is not a private key in hexadecimal") from None
    if len(secret) != 32 or not any(secret):
        raise ValueError("is not a private key of 32 bytes")
    return value


def url_of(*schemes: str) -> AfterValidator:
    """A URL of one of these schemes. Secret: URLs carry passwords and provider tokens."""

    def check(value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"is not a URL that starts with {' or '.join(schemes)}://")
        return value

    return AfterValidator(check)


PrivateKey = Annotated[SecretStr, AfterValidator(_private_key)]
NodeUrl = Annotated[SecretStr, url_of("http", "https")]
RedisUrl = Annotated[SecretStr, url_of("redis", "rediss")]
DatabaseUrl = Annotated[SecretStr, url_of("postgresql", "postgres")]


def _sentence(prefix: str, error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    name = prefix + str(first["loc"][0]).upper() if first["loc"] else prefix
    if first["type"] == "missing":
        return f"{name} is not set"
    message = first["msg"].removeprefix("Value error, ")
    return f"{name}: {message[:1].lower()}{message[1:]}"


def _refuse_unknown(prefix: str, kind: type[BaseSettings], environment: Mapping[str, str]) -> None:
    known = {prefix + name.upper() for name in kind.model_fields}
    for name in environment:
        if name.upper().startswith(prefix) and name.upper() not in known:
            raise InvalidSetting(f"{name} is not a setting")


def load(kind: type[S]) -> S:
    """The settings of this process. Raises InvalidSetting with one sentence, without any value."""
    prefix = str(kind.model_config.get("env_prefix", ""))
    _refuse_unknown(prefix, kind, os.environ)
    try:
        return kind()
    except ValidationError as error:
        raise InvalidSetting(_sentence(prefix, error)) from None
