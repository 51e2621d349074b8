"""A device with a small history, sent through a running gateway."""

from collections.abc import Iterable

import httpx

from corechain.account import account_from_key
from corechain.client import Client
from corechain.devnet.network import Network
from corechain.devnet.settings import ADMIN_KEY
from corechain.protocol.hashing import keccak
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.reading import Observation
from corechain.protocol.vocabulary import metric
from support.asking import HTTP
from support.processes import eventually

CELL = 0x872A1072BFFFFFF
NOON = 1_359_720_000
HOUR_S = 3600


def client_of(network: Network) -> Client:
    """A client of a running network, paying from the admin's account."""
    urls = network.urls
    account = account_from_key(ADMIN_KEY)
    return Client(urls.indexer, urls.relayer, urls.anvil, network.manifest, account)


def temperatures(values: Iterable[float], start: int = NOON) -> list[Observation]:
    """One air temperature (Cel) an hour."""
    kind = metric("air_temperature")
    return [
        Observation(kind.code, CELL, start + hour * HOUR_S, kind.to_wire(value))
        for hour, value in enumerate(values)
    ]


def commit(network: Network, name: str, values: Iterable[float]) -> int:
    """Sends one report of a new device called `name`; the id of the batch it is in by now."""
    key = Secp256k1Key(keccak(name.encode()))
    with client_of(network) as client:
        before = _next_batch(network)
        client.register_device(key)
        report = client.sign_report(key, 1, temperatures(values))
        (delivery,) = client.send_reports([report])
        assert delivery.accepted, delivery
        assert eventually(lambda: _is_committed(network, before)), network.check()
    return before


def _journal(network: Network, batch_id: int) -> httpx.Response:
    return HTTP.get(f"{network.urls.relayer}/v1/batches/{batch_id}")


def _next_batch(network: Network) -> int:
    number = 1
    while (status := _journal(network, number).status_code) != 404:
        number += status == 200  # 503: asked again
    return number


def _is_committed(network: Network, batch_id: int) -> bool:
    answer = _journal(network, batch_id)
    return answer.is_success and answer.json()["state"] in ("confirmed", "finalised")
