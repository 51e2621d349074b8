"""Settings of a service: `PREFIX_*` in the environment, validated once, at start."""

import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    TypeAdapter,
    ValidationError,
)

from corechain.keystore import FIELD as KEYSTORE_PASSWORD
from corechain.keystore import WrongKeystore, is_keystore, open_keystore
from corechain.protocol.errors import CoreChainError
from corechain.protocol.signature import SECP256K1_ORDER
from corechain.service.injected import is_injected
from corechain.service.named_url import NamedUrl
from corechain.service.setting_words import sentence_of
from corechain.service.tracing import NO_TRACES, Traces

if TYPE_CHECKING:
    pass

S = TypeVar("S", bound="ServiceSettings")


class InvalidSetting(CoreChainError):
    """A setting is missing, unknown or out of its range."""


def _private_key(value: SecretStr) -> SecretStr:
    digits = value.get_secret_value().removeprefix("0x")
    if not _HEXADECIMAL.fullmatch(digits):
        raise ValueError("is not a private key in hexadecimal")
    if len(digits) != 64:
        raise ValueError("is not a private key of 32 bytes")
    # Libraries refuse it too, but only where they sign: long after the start, or in another role.
    if not 0 < int(digits, 16) < SECP256K1_ORDER:
        raise ValueError("is not a private key of secp256k1: it is 0, or not below the order")
    return value


def url_of(*schemes: str) -> AfterValidator:
    """A URL of one of these schemes. Secret: URLs carry passwords and provider tokens."""

    def check(value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if not url.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"is not a URL that starts with {' or '.join(schemes)}://")
        # Stores may be at a socket or at their usual place on this host; a page of HTTP is nowhere.
        if url.startswith(("http://", "https://")) and not has_place(url):
            raise ValueError("is a URL without a host, or with a port that is none")
        if _SECOND_URL.search(url):
            raise ValueError("names more than one URL")
        return value

    return AfterValidator(check)


def urls_of(*schemes: str) -> AfterValidator:
    """URLs of these schemes, comma separated. Secret, as `url_of`."""

    def check(value: SecretStr) -> SecretStr:
        found = urls_in(value)
        if not found:
            raise ValueError("names no URL")
        if not all(url.startswith(tuple(f"{scheme}://" for scheme in schemes)) for url in found):
            raise ValueError(f"is not a URL that starts with {' or '.join(schemes)}://")
        if len(set(found)) < len(found):
            raise ValueError("names a URL twice")
        if not all(map(has_place, found)):
            raise ValueError("has a URL without a host, or with a port that is none")
        return value

    return AfterValidator(check)


_HEXADECIMAL = re.compile(r"[0-9a-fA-F]+")
# As in a list of URLs; one of several hosts has no second scheme.
_SECOND_URL = re.compile(r"[,;\s]\s*[a-z][a-z0-9+]*://")


def has_place(url: str) -> bool:
    """Whether there is a host in it, and no port that is none."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def listed(text: str) -> list[str]:
    """The elements of a comma separated list, in order, without those that are blank."""
    return [element.strip() for element in text.split(",") if element.strip()]


def listed_or_unset(text: str) -> list[str]:
    """As `listed`. Raises ValueError for commas with nothing between them: whoever wrote them meant
    something, and nothing at all means that the setting is not used."""
    found = listed(text)
    if text.strip() and not found:
        raise ValueError("is a list of nothing")
    return found


def urls_in(value: SecretStr) -> list[str]:
    """The URLs of a comma separated list, in order."""
    return listed(value.get_secret_value())


def _scheme(url: str) -> str:
    return url.partition("://")[0]


PORT_MEANING = "port to listen on; 0 takes a free one"
PrivateKey = Annotated[SecretStr, AfterValidator(_private_key)]
NodeUrl = Annotated[SecretStr, url_of("http", "https")]
NodeUrls = Annotated[SecretStr, urls_of("http", "https")]
SocketUrls = Annotated[SecretStr, urls_of("ws", "wss")]
CacheUrl = Annotated[
    SecretStr, url_of("redis", "rediss", "unix", "redis+cluster", "rediss+cluster")
]
DatabaseUrl = Annotated[SecretStr, url_of("postgresql", "postgres")]


FILE_SUFFIX, KEY_SUFFIX = "_FILE", "_key"


OTHERS_READ = stat.S_IROTH


def _from_file(name: str, path: str, secret: bool) -> str:
    """What the file of a setting holds: so secrets are mounted. Raises InvalidSetting, also for a
    secret that every user of the machine can read."""
    try:
        with Path(path).open() as file:
            mode = os.fstat(file.fileno()).st_mode
            if secret and mode & OTHERS_READ:
                raise InvalidSetting(
                    f"{name}: every user can read {path} (mode {stat.S_IMODE(mode):o}): "
                    "chmod 600, or 440 with a group of its own"
                )
            return file.read().strip()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "is not text"
        raise InvalidSetting(f"{name}: {path} cannot be read: {why}") from None


def _is_secret(kind: type["ServiceSettings"], field: str) -> bool:
    return "SecretStr" in repr(kind.model_fields[field].annotation)


def _values(
    kind: type["ServiceSettings"],
    prefix: str,
    environment: Mapping[str, str],
    among: type["ServiceSettings"],
) -> dict[str, str]:
    """The values of the settings by field name, without those that only `among` has. Raises
    InvalidSetting for a name that is none."""
    found: dict[str, str] = {}
    for variable, value in environment.items():
        if not variable.upper().startswith(prefix):
            continue
        name = variable.upper().removeprefix(prefix)
        field = name.removesuffix(FILE_SUFFIX).lower()
        if is_injected(name, value):
            continue
        if name.lower() in kind.model_fields:
            found[name.lower()] = value
        elif name.endswith(FILE_SUFFIX) and field in kind.model_fields:
            if prefix + field.upper() in environment:
                raise InvalidSetting(f"{variable} and {prefix}{field.upper()} are both set")
            found[field] = _from_file(variable, value, _is_secret(kind, field))
        elif {name.lower(), field}.isdisjoint(among.model_fields):
            raise InvalidSetting(_unknown(among, variable, field))
    return found | _opened(found, prefix)


def _files(
    kind: type["ServiceSettings"], prefix: str, environment: Mapping[str, str]
) -> dict[str, tuple[str, str]]:
    found = {}
    for variable, path in environment.items():
        field = variable.upper().removeprefix(prefix).removesuffix(FILE_SUFFIX).lower()
        if (
            variable.upper() == f"{prefix}{field.upper()}{FILE_SUFFIX}"
            and field in kind.model_fields
        ):
            found[field] = (variable, path)
    return found


def _opened(values: Mapping[str, str], prefix: str) -> dict[str, str]:
    """The keys among some values that are keystores. Raises InvalidSetting."""
    opened = {}
    for name, value in values.items():
        if name.endswith(KEY_SUFFIX) and is_keystore(value):
            try:
                opened[name] = open_keystore(value, values.get(KEYSTORE_PASSWORD))
            except WrongKeystore as error:
                help_ = f" ({prefix}{KEYSTORE_PASSWORD.upper()})"
                raise InvalidSetting(f"{prefix}{name.upper()} {error}{help_}") from None
    return opened


def _unknown(kind: type["ServiceSettings"], variable: str, field: str) -> str:
    if field in kind.REMOVED:
        return f"{variable} was removed: {kind.REMOVED[field]}"
    return f"{variable} is not a setting"


class ServiceSettings(BaseModel):
    """Base of a service's settings: frozen, from what `load` found in the environment alone.

    Not of pydantic-settings: that imports readers of a dozen sources, and `load` is ours anyway.
    """

    # Deferred: a process that starts builds the validators of its own settings only (0.1 s of CPU).
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        defer_build=True,
        validate_default=True,
    )

    ENV_PREFIX: ClassVar[str] = ""
    """What the name of each begins with in the environment."""

    keystore_password: SecretStr | None = Field(
        None,
        description="password of the private keys that are keystores (Web3 Secret Storage, as geth "
        "and `cast wallet` write them) instead of hexadecimal",
    )

    _files: Mapping[str, tuple[str, str]] = PrivateAttr(default_factory=dict)
    """Variable and path of those that were read from files."""

    def read_again(self, field: str) -> str:
        """The value of a secret that is set, as its file has it now: mounted secrets are changed in
        place. What it was, where it is from no file, or that cannot be read."""
        held: str = getattr(self, field).get_secret_value()
        with suppress(KeyError, InvalidSetting, ValidationError):  # a KeyError: it is from no file
            now = _from_file(*self._files[field], secret=True)
            if now != held:  # what the field asks of it at the start, half of a new one may lack
                info = type(self).model_fields[field]
                rule: Any = Annotated[info.annotation, info]
                TypeAdapter(rule).validate_python(now)
            return now or held
        return held

    def named_urls(self, field: str) -> list[str]:
        """The URLs of a setting that is a list of them, each as `named_url`."""
        held = urls_in(getattr(self, field))
        name = f"{self.ENV_PREFIX}{field.upper()}"
        return [
            NamedUrl(url, name, partial(self._one_again, field, number))
            for number, url in enumerate(held)
        ]

    def _one_again(self, field: str, number: int) -> str:
        """As it was, where the list has another length, as one that is half written may."""
        held, now = urls_in(getattr(self, field)), listed(self.read_again(field))
        one = now[number] if len(now) == len(held) else held[number]
        return one if _scheme(one) == _scheme(held[number]) else held[number]

    def named_url(self, *fields: str) -> NamedUrl:
        """The first of these settings, URLs all of them, that is set."""
        name = next(field for field in fields if getattr(self, field) is not None)
        held = getattr(self, name).get_secret_value()
        again = partial(self.read_again, name)
        return NamedUrl(held, f"{self.ENV_PREFIX}{name.upper()}", again)

    REMOVED: ClassVar[Mapping[str, str]] = {}
    """Fields of earlier versions, and what to do instead: who still sets one is told at start."""


class HttpSettings(ServiceSettings):
    """What every service with an HTTP server has. Each names its own `http_port` for a default."""

    # Nobody from outside by accident: a server is opened to a network on purpose.
    http_host: str = Field("127.0.0.1", description="address to listen on")
    http_port: int = Field(0, ge=0, le=65_535, description=PORT_MEANING)
    ops_port: int | None = Field(
        None,
        ge=0,
        le=65_535,
        description="port for `/health`, `/ready` and `/metrics`; HTTP_PORT then has no `/metrics`",
    )
    max_connections: int = Field(
        16_384, ge=1, le=1 << 20, description="connections served at a time"
    )
    # Longer than the 60 s of NGINX and most balancers: who keeps a connection must not be the one
    # that finds it closed under a request.
    keep_alive_s: int = Field(75, ge=1, le=3_600, description="how long an idle connection is kept")


@dataclass(frozen=True, slots=True, kw_only=True)
class Receivers:
    """Who is to learn of alerts, and the key that messages are signed with."""

    urls: Sequence[str] = ()
    secret: Callable[[], bytes] = bytes
    """As its file has it by now."""


class AlertSettings(ServiceSettings):
    """Of services that post alerts."""

    alert_urls: NodeUrls | None = Field(
        None, description="receivers of alerts, comma separated; see operators.md"
    )
    alert_secret: SecretStr | None = Field(
        None, min_length=16, description="key that alerts are signed with; needed with ALERT_URLS"
    )

    def receivers(self, prefix: str) -> Receivers:
        """Raises InvalidSetting for receivers without a key to sign what they get."""
        if self.alert_urls is None:
            return Receivers()
        if self.alert_secret is None:
            raise InvalidSetting(f"{prefix}ALERT_SECRET is not set, but {prefix}ALERT_URLS is")
        return Receivers(
            urls=urls_in(self.alert_urls), secret=lambda: self.read_again("alert_secret").encode()
        )


class TraceSettings(ServiceSettings):
    """Of services that tell a collector of their steps."""

    traces_url: NodeUrl | None = Field(
        None,
        description="OTLP/HTTP collector of traces, as `http://collector:4318/v1/traces`; "
        "none without it (needs the extra `traces`)",
    )
    traces_ratio: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of requests without a `traceparent` field that are traced",
    )

    def traces(self, prefix: str, service: str, told: Callable[[str, int], None]) -> Traces:
        """Where spans go. Raises InvalidSetting where the extra is not installed."""
        if self.traces_url is None:
            return NO_TRACES
        try:
            from corechain.service.otlp import OtlpTraces
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("opentelemetry"):
                raise
            raise InvalidSetting(
                f"{prefix}TRACES_URL needs packages that are not there: "
                "pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
            ) from None
        url = self.traces_url.get_secret_value()
        return OtlpTraces(url, self.traces_ratio, service, version("corechain"), told)


def load(
    kind: type[S],
    environment: Mapping[str, str] = os.environ,
    among: type["ServiceSettings"] | None = None,
) -> S:
    """The settings of this process, from `PREFIX_NAME`, or from the file `PREFIX_NAME_FILE` names.
    A command that needs a few of a service's settings leaves alone what else is `among` them.

    Raises InvalidSetting with one sentence, without any value.
    """
    prefix = kind.ENV_PREFIX
    try:
        made = kind(**_values(kind, prefix, environment, among or kind))  # type: ignore[arg-type]
    except ValidationError as error:
        raise InvalidSetting(sentence_of(kind, prefix, error)) from None
    made._files = _files(kind, prefix, environment)
    return made


def load_part(kind: type[S], environment: Mapping[str, str] = os.environ) -> S:
    """As `load`, of a command that needs few of a service's settings, and no key: all others are
    passed over, unread, whether they are right or wrong. Raises InvalidSetting."""
    prefix = kind.ENV_PREFIX
    fields = kind.model_fields.keys() - ServiceSettings.model_fields.keys()
    wanted = {f"{prefix}{field.upper()}{end}" for field in fields for end in ("", FILE_SUFFIX)}
    return load(kind, {name: environment[name] for name in environment if name.upper() in wanted})
