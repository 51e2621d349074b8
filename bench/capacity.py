"""The capacity plan: what a load needs, part by part, and where each part ends.

python bench/capacity.py                     writes docs/capacity.md
python bench/capacity.py --check             only compares
python bench/capacity.py --prices FILE.toml  prints the plan with money, writes nothing

All of it follows from bench/capacity.toml (figures with their runs, choices, loads), from
tests/contracts/gas.json and from the limits that the relayer itself keeps (`aggregator/pace.py`).
Times are CPU seconds a second, which is cores.
"""

import argparse
import json
import math
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corechain_relayer.aggregator.pace import ChainPace, Pace, pace_of
from corechain_relayer.settings import Settings

HERE = Path(__file__).parent
INPUT, PLAN = HERE / "capacity.toml", HERE.parent / "docs" / "capacity.md"
GAS = HERE.parent / "tests" / "contracts" / "gas.json"
DAY_S, MONTH_DAYS = 86_400, 30
MICRO, GIGA, TERA = 1e6, 1e9, 1e12
MISSION_TRANSACTIONS = 1_000
"""A second, as the mission names them."""
FAST_BLOCKS_S = 0.25
"""Arbitrum's: where blocks bind nothing, only ring and proofs do."""
PRICES = ("core_month", "tb_month", "arbitrum_million_gas", "polygon_million_gas")
IN_FLIGHT: int = Settings.model_fields["nonces_in_flight"].default


@dataclass(frozen=True, slots=True)
class Load:
    """What the network carries: rates a second."""

    name: str
    devices: int
    messages_per_s: float
    requests_per_s: float
    subscribers: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured, and what was chosen: numbers by name."""

    measured: Mapping[str, float]
    chosen: Mapping[str, float]

    def cores(self, figure: str, rate_per_s: float) -> float:
        return self.measured[figure] * rate_per_s / MICRO

    def pods(self, cores: float) -> int:
        """So many that each is busy for no more than the share that was chosen."""
        room = self.chosen["busy"] * self.chosen["pod_cores"]
        return max(int(self.chosen["least_pods"]), math.ceil(cores / room))

    def pace(self, block_time_s: float) -> Pace:
        """The windows of a lane on a chain with such blocks, by the relayer's own rule."""
        windows = int(self.chosen["challenge_window_s"]), int(self.chosen["answer_window_s"])
        return pace_of(ChainPace(block_time_s, *windows), IN_FLIGHT)


@dataclass(frozen=True, slots=True)
class Row:
    """A part of the network at one load: cores, what it takes to have them, bytes a day."""

    part: str
    cores: float | None
    takes: str
    stores: float | None = None
    """Bytes."""


def lanes_for(figures: Figures, load: Load, block_time_s: float) -> int:
    pace = figures.pace(block_time_s)
    return math.ceil(load.messages_per_s * pace.max_age_s / pace.max_readings)


def commits_a_day(figures: Figures, load: Load, block_time_s: float) -> float:
    """Each lane seals once in its window, full or not."""
    lanes = lanes_for(figures, load, block_time_s)
    return lanes * DAY_S / figures.pace(block_time_s).max_age_s


def shards_for(figures: Figures, stored: float) -> int:
    """Databases of the chosen size, a power of two: doubling moves each device at most once."""
    needed = max(1, math.ceil(stored / (figures.chosen["disk_tb"] * TERA)))
    return 1 << (needed - 1).bit_length()


def kept_bytes(figures: Figures, load: Load) -> float:
    """Of readings in the index's Postgres once the first `keep_days` are over, archives aside."""
    fresh = figures.chosen["unpacked_days"] * figures.measured["stored_bytes"]
    packed_days = figures.chosen["keep_days"] - figures.chosen["unpacked_days"]
    per_day = load.messages_per_s * DAY_S
    return per_day * (fresh + packed_days * figures.measured["packed_bytes"])


def ingest_rows(figures: Figures, load: Load, lanes: int) -> list[Row]:
    rate = load.messages_per_s
    lists, singles = (figures.cores(f"gateway_{how}_us", rate) for how in ("list", "single"))
    aggregator = figures.cores("aggregator_us", rate)
    backlog = figures.measured["message_bytes"] * rate * 3600 * figures.chosen["backlog_hours"]
    kafka = figures.cores("kafka_us", rate)
    brokers = max(3, figures.pods(kafka))
    valkey = figures.cores("valkey_us", rate)
    return [
        Row("gateway, reports in lists", lists, f"{figures.pods(lists)} pods"),
        Row("gateway, single reports", singles, f"{figures.pods(singles)} pods"),
        Row("bus on Kafka", kafka, f"{brokers} brokers", backlog * figures.chosen["copies"]),
        Row("or on Valkey", valkey, f"{figures.pods(valkey)} servers, lanes spread", backlog),
        Row("aggregator", aggregator, f"{min(figures.pods(aggregator), max(lanes, 2))} pods"),
        Row("journal (Postgres)", figures.cores("journal_us", rate), "1 primary, 2 replicas"),
    ]


def index_rows(figures: Figures, load: Load) -> list[Row]:
    rate, stored = load.messages_per_s, kept_bytes(figures, load)
    shards = shards_for(figures, stored)
    store = figures.cores("verify_store_us", rate)
    processes = math.ceil(rate / figures.measured["verify_per_s"])
    fits = "1 process" if processes == 1 else f"{processes} processes: **see the walls**"
    points = figures.measured["point_bytes"] * rate * DAY_S
    return [
        Row("indexer: mirror and verifier", figures.cores("verify_us", rate), fits),
        Row(
            "index (Postgres), writes",
            store,
            f"{shards} × {figures.chosen['disk_tb']:g} TB, 2 replicas each",
            stored,
        ),
        Row("InfluxDB, if used", figures.cores("point_us", rate), "a day of raw points", points),
    ]


def query_rows(figures: Figures, load: Load) -> list[Row]:
    api = figures.cores("query_us", load.requests_per_s)
    store = figures.cores("query_store_us", load.requests_per_s)
    deliveries = load.subscribers * figures.chosen["events_per_s"]
    stream = figures.cores("delivery_us", deliveries)
    memory = load.subscribers * figures.measured["subscriber_bytes"]
    return [
        Row("query API", api, f"{figures.pods(api)} workers"),
        Row("its reads (Postgres replicas)", store, f"{figures.pods(store)} cores of replicas"),
        Row("subscribers", stream, f"{figures.pods(stream)} workers, {memory / GIGA:.1f} GB"),
    ]


def rows(figures: Figures, load: Load, block_time_s: float) -> list[Row]:
    lanes = lanes_for(figures, load, block_time_s)
    commits = commits_a_day(figures, load, block_time_s)
    submitters = figures.cores("commit_us", commits / DAY_S)
    files = figures.measured["file_bytes"] * load.messages_per_s * DAY_S
    chain = [
        Row("submitter", submitters, f"{lanes} lanes, a process each"),
        Row("data files", None, "a day, on each of its copies", files),
    ]
    return (
        ingest_rows(figures, load, lanes)
        + chain
        + index_rows(figures, load)
        + query_rows(figures, load)
    )


def size(stored: float | None) -> str:
    if stored is None:
        return ""
    return f"{stored / TERA:,.1f} TB" if stored >= TERA else f"{stored / GIGA:,.1f} GB"


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    ruled = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in ruled)


def parts_table(figures: Figures, load: Load, block_time_s: float) -> str:
    lines = [
        (row.part, "" if row.cores is None else f"{row.cores:,.2f}", row.takes, size(row.stores))
        for row in rows(figures, load, block_time_s)
    ]
    return table(("part", "cores busy", "takes", "bytes kept"), lines)


def chain_table(data: Mapping[str, Any], figures: Figures, loads: Sequence[Load]) -> str:
    gas, lines = commit_gas(), []
    for chain in data["chains"]:
        pace = figures.pace(chain["block_time_s"])
        for load in loads:
            commits = commits_a_day(figures, load, chain["block_time_s"])
            lanes = lanes_for(figures, load, chain["block_time_s"])
            lines.append(
                (
                    chain["name"],
                    load.name,
                    f"{pace.max_readings:,} readings, {pace.max_age_s:.1f} s",
                    f"{lanes:,}",
                    f"{commits:,.0f}",
                    f"{commits * gas / MICRO:,.1f} million",
                    f"{commits * gas / (load.messages_per_s * DAY_S):.2f}",
                )
            )
    head = (
        "chain",
        "load",
        "window of a lane",
        "lanes",
        "commits a day",
        "gas a day",
        "gas a reading",
    )
    return table(head, lines)


def money_lines(prices: Mapping[str, float], figures: Figures, load: Load) -> list[str]:
    """A line for what is priced; what is not says so."""
    every = rows(figures, load, FAST_BLOCKS_S)
    # A gateway takes lists or single reports, a bus is Kafka or Valkey: the dearer way is counted.
    cores = sum(
        row.cores or 0.0 for row in every if "lists" not in row.part and "or on" not in row.part
    )
    stored = sum(row.stores or 0.0 for row in every)
    commits = commits_a_day(figures, load, FAST_BLOCKS_S) * MONTH_DAYS * commit_gas() / MICRO
    items = {
        "core_month": ("cores", cores / figures.chosen["busy"]),
        "tb_month": ("storage of what the table keeps", stored / TERA),
        "arbitrum_million_gas": ("gas on Arbitrum", commits),
        "polygon_million_gas": ("gas on Polygon", commits),
    }
    return [
        f"{words}: {amount * prices[key]:,.2f} a month"
        if key in prices
        else f"{words}: {amount:,.2f} a month × `{key}` (not given)"
        for key, (words, amount) in items.items()
    ]


def figures_table(data: Mapping[str, Any]) -> str:
    lines = [
        (f"`{name}`", f"{item['value']:,}", item["unit"], item["how"], item["source"])
        for name, item in data["figures"].items()
    ]
    return table(("figure", "value", "unit", "how", "source"), lines)


def figures_of(data: Mapping[str, Any]) -> Figures:
    measured = {name: float(item["value"]) for name, item in data["figures"].items()}
    return Figures(measured, data["assumptions"])


def parts(figures: Figures, load: Load) -> str:
    """A load's heading and table."""
    rates = f"{load.messages_per_s:,.0f} messages/s, {load.requests_per_s:,.0f} queries/s"
    title = f"{load.name.capitalize()}: {load.devices:,} devices, {rates}"
    subscribers = f"{load.subscribers:,} subscribers"
    return f"### {title}, {subscribers}\n\n{parts_table(figures, load, FAST_BLOCKS_S)}"


def contents(data: Mapping[str, Any]) -> dict[str, str]:
    """What stands at each mark of the template."""
    figures, loads = figures_of(data), [Load(**load) for load in data["loads"]]
    machine = data["machine"]
    archived = figures.measured["archived_bytes"] * loads[0].messages_per_s * DAY_S * 365
    return {
        "PARTS": "\n".join(parts(figures, load) for load in loads),
        "CHAINS": chain_table(data, figures, loads),
        "FIGURES": figures_table(data),
        "ASSUMPTIONS": "\n".join(
            f"* `{name} = {value:g}`" for name, value in data["assumptions"].items()
        ),
        "MACHINE": f"{machine['text']}; libsecp256k1 recovers a key in {machine['floor_us']} µs",
        "ARCHIVED": size(archived),
        "GAS": f"{commit_gas():,}",
        "VALKEY": wall(figures, "valkey_us"),
        "AGGREGATOR": wall(figures, "aggregator_us"),
        "JOURNAL": wall(figures, "journal_us"),
        "TRANSACTIONS": f"{transaction_cores(figures, MISSION_TRANSACTIONS):.1f}",
    }


def transaction_cores(figures: Figures, per_s: float) -> float:
    """Cores, no busier than was chosen, for so many transactions a second over lanes."""
    return per_s * figures.measured["transaction_us"] / MICRO / figures.chosen["busy"]


def wall(figures: Figures, figure: str) -> str:
    """Messages a second of one core, no busier than was chosen."""
    return f"{round(figures.chosen['busy'] * MICRO / figures.measured[figure], -3):,.0f}"


def commit_gas() -> int:
    gas: int = json.loads(GAS.read_text())["commit_one"]
    return gas


def plan(data: Mapping[str, Any]) -> str:
    text = (HERE / "capacity.template.md").read_text()
    for mark, words in contents(data).items():
        text = text.replace(f"<!-- {mark} -->", words.rstrip("\n"))
    return text


def priced(data: Mapping[str, Any], file: Path) -> str:
    """Raises ValueError for a price that is no number, or is none of ours."""
    prices = tomllib.loads(file.read_text())
    for key, price in prices.items():
        if key not in PRICES:
            raise ValueError(f"{file}: {key} is no price of this plan; it has {', '.join(PRICES)}")
        if not isinstance(price, int | float) or price < 0:
            raise ValueError(f"{file}: {key} has to be a number of 0 or more")
    blocks = []
    for load in data["loads"]:
        lines = money_lines(prices, figures_of(data), Load(**load))
        blocks.append("\n".join([load["name"], *(f"  {line}" for line in lines)]))
    return "\n".join(blocks)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="fail when docs/capacity.md differs")
    parser.add_argument(
        "--prices", type=Path, help="a TOML file of prices: print money, write nothing"
    )
    args = parser.parse_args(arguments)
    data = tomllib.loads(INPUT.read_text())
    if args.prices is not None:
        try:
            print(priced(data, args.prices))
        except (OSError, ValueError) as error:
            print(error, file=sys.stderr)
            return 2
        return 0
    text = plan(data)
    if args.check and PLAN.read_text() != text:
        print(
            "docs/capacity.md is not what bench/capacity.toml says: run make capacity",
            file=sys.stderr,
        )
        return 1
    PLAN.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
