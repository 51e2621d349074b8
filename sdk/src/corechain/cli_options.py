"""Options that commands share, said once: where the services are, who pays, how answers are shown.

@commands.command()
@shares(*NODE, *ACCOUNT, *JSON)
def withdraw(channel_id: ChannelId, given: Given) -> None:
"""

import inspect
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corechain.key_options import Key, KeyFile, account_of
from corechain.option_checks import url_option

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from corechain.chain import Chain
    from corechain.client import Client
    from corechain.status import Places

Rpc = Annotated[
    str | None, typer.Option("--rpc-url", envvar="CORECHAIN_RPC_URL", callback=url_option)
]
Gateway = Annotated[
    str | None, typer.Option("--gateway-url", envvar="CORECHAIN_GATEWAY_URL", callback=url_option)
]
Api = Annotated[
    str | None, typer.Option("--api-url", envvar="CORECHAIN_API_URL", callback=url_option)
]
Manifest = Annotated[
    Path | None, typer.Option("--deployment", envvar="CORECHAIN_DEPLOYMENT", help="The manifest.")
]
Home = Annotated[
    Path, typer.Option("--home", envvar="CORECHAIN_HOME", help="Where `corechain up` runs.")
]
Deposit = Annotated[
    int | None,
    typer.Option(min=1, help="Pay: deposit into a channel where there is none, in base units."),
]
MaxPrice = Annotated[int | None, typer.Option(min=0, help="What a query may cost at most.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, for programs.")]
DEFAULT_HOME = Path(".corechain")

PLACES = {"rpc_url": "rpc", "gateway_url": "gateway", "api_url": "api", "deployment": "deployment"}
"""Options that name a place, and the place."""
JSON = ("as_json",)
NODE = ("home", "rpc_url", "deployment")
API = ("home", "api_url", "deployment")
PROVEN = ("home", "rpc_url", "api_url", "deployment")
"""Answers of the API that are checked against a node."""
ALL = ("home", "rpc_url", "gateway_url", "api_url", "deployment")
ACCOUNT = ("key", "key_file")
PAYMENT = ("deposit", "max_price", *ACCOUNT)
"""Of a query that may cost something."""
_KINDS: dict[str, Any] = {
    "home": Home,
    "rpc_url": Rpc,
    "gateway_url": Gateway,
    "api_url": Api,
    "deployment": Manifest,
    "key": Key,
    "key_file": KeyFile,
    "deposit": Deposit,
    "max_price": MaxPrice,
    "as_json": AsJson,
}


@dataclass(frozen=True, slots=True)
class Given:
    """What was given of the shared options; those that a command does not take stay as here."""

    home: Path = DEFAULT_HOME
    rpc_url: str | None = None
    gateway_url: str | None = None
    api_url: str | None = None
    deployment: Path | None = None
    key: str | None = None
    key_file: Path | None = None
    deposit: int | None = None
    max_price: int | None = None
    as_json: bool = False
    taken: frozenset[str] = frozenset(PLACES)
    """The options that the command takes."""

    def places(self) -> "Places":
        """Where the services are: those named, those that `corechain up` runs in `home`, or the
        usual ports."""
        from corechain.status import find_places

        named = {
            "rpc": self.rpc_url,
            "gateway": self.gateway_url,
            "api": self.api_url,
            "deployment": self.deployment,
        }
        needed = {PLACES[option] for option in self.taken if option in PLACES}
        return find_places(self.home, named, needed)

    def account(self) -> "LocalAccount":
        """Who pays. Exits with 2 where no key was given, or two, or what is none."""
        return account_of(self.key, self.key_file)

    def chain(self) -> "Chain":
        """Raises InvalidDeployment."""
        from corechain.chain import Chain
        from corechain.deployment import load_deployment

        places = self.places()
        return Chain(places.rpc, load_deployment(places.deployment))

    def client(self) -> "Client":
        """A client that asks, pays for it where a deposit was named, and is the account's where a
        key was. Exits with 2 for a deposit without a key.

        Raises InvalidDeployment, InvalidValue, and as `pay_with`."""
        from corechain.client import Client

        has_account = self.deposit is not None or self.key is not None or self.key_file is not None
        account, places = self.account() if has_account else None, self.places()
        made = Client(places.api, places.gateway, places.rpc, places.deployment, account)
        if self.deposit is not None:
            made.pay_with(self.deposit, self.max_price)
        return made


def shares(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command with these shared options behind its own; they reach it as `given`."""

    def wrapped(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command).parameters.values()
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [each.replace(kind=keyword) for each in own if each.name != "given"]
        parameters += [
            inspect.Parameter(name, keyword, default=_DEFAULTS[name], annotation=_KINDS[name])
            for name in names
        ]

        @wraps(command)
        def run(**values: Any) -> None:
            given = Given(**{name: values.pop(name) for name in names}, taken=frozenset(names))
            command(**values, given=given)

        # Typer reads a command's options from here.
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return wrapped


_DEFAULTS = {name: getattr(Given(), name) for name in _KINDS}


@contextmanager
def until_stopped() -> Iterator[None]:
    """Ctrl-C and SIGTERM are how a command that goes on for ever ends: no failure, no words."""
    # Both: a shell without job control starts what is in its background with SIGINT ignored.
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
