"""The capacity plan says what its figures say, and grows as loads do."""

import json
import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain_relayer.aggregator.pace import ChainPace, pace_of

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "bench"
LOADS = st.floats(1.0, 1e7)


@pytest.fixture(autouse=True)
def bench_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return tomllib.loads((BENCH / "capacity.toml").read_text())


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    return tmp_path / "prices.toml"


def ran(*args: str) -> int:
    from capacity import main

    return main(args)


def load_of(rate: float) -> Any:
    from capacity import Load

    return Load("a load", 50_000, rate, rate, 10_000)


def test_the_page_is_what_the_figures_say(data: dict[str, Any]) -> None:
    from capacity import plan

    assert (ROOT / "docs" / "capacity.md").read_text() == plan(data), "run make capacity"
    assert "<!--" not in plan(data)


def test_a_figure_that_changes_changes_the_page(data: dict[str, Any]) -> None:
    from capacity import plan

    changed = json.loads(json.dumps(data))
    changed["figures"]["gateway_list_us"]["value"] *= 10
    assert "| gateway, reports in lists | 2.40 | 5 pods |" in plan(changed)


def test_every_figure_names_its_run(data: dict[str, Any]) -> None:
    for name, figure in data["figures"].items():
        assert figure["how"] in {"measured", "loaded", "stated"}, name
        assert figure["value"] > 0, name
        assert figure["unit"], name
        assert figure["source"], name


@given(rate=LOADS)
def test_lanes_carry_what_comes(rate: float) -> None:
    from capacity import figures_of, lanes_for

    figures = figures_of(tomllib.loads((BENCH / "capacity.toml").read_text()))
    pace = figures.pace(0.25)
    lanes = lanes_for(figures, load_of(rate), 0.25)
    a_lane_per_s = pace.max_readings / pace.max_age_s
    assert (lanes - 1) * a_lane_per_s < rate <= lanes * a_lane_per_s * (1 + 1e-9)


def test_windows_are_those_of_the_relayer(data: dict[str, Any]) -> None:
    from capacity import figures_of

    assert figures_of(data).pace(2.0) == pace_of(ChainPace(2.0, 259_200, 14_400), 16)


@given(rate=LOADS)
def test_pods_have_the_room_that_was_chosen(rate: float) -> None:
    from capacity import figures_of

    figures = figures_of(tomllib.loads((BENCH / "capacity.toml").read_text()))
    cores = figures.cores("gateway_single_us", rate)
    pods = figures.pods(cores)
    assert cores <= pods * figures.chosen["busy"] * (1 + 1e-9)
    assert pods == 2 or (pods - 1) * figures.chosen["busy"] < cores


@given(stored=st.floats(0, 1e18))
def test_databases_are_a_power_of_two_and_large_enough(stored: float) -> None:
    from capacity import figures_of, shards_for

    figures = figures_of(tomllib.loads((BENCH / "capacity.toml").read_text()))
    shards = shards_for(figures, stored)
    assert math.log2(shards).is_integer()
    assert stored <= shards * figures.chosen["disk_tb"] * 1e12


def test_money_is_amounts_times_prices_and_what_is_not_priced_says_so(
    prices: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices.write_text("polygon_million_gas = 2.0\n")
    assert ran("--prices", str(prices)) == 0
    lines = capsys.readouterr().out.splitlines()
    (arbitrum, polygon) = [line.strip() for line in lines if "gas on" in line][:2]
    amount = float(arbitrum.split(": ")[1].split(" ")[0].replace(",", ""))
    assert arbitrum.endswith("× `arbitrum_million_gas` (not given)")
    assert float(polygon.split(": ")[1].split(" ")[0].replace(",", "")) == pytest.approx(2 * amount)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("beer = 3.0\n", "beer is no price of this plan"),
        ("tb_month = 'dear'\n", "tb_month has to be a number"),
        ("tb_month = -1.0\n", "tb_month has to be a number"),
        ("tb_month = \n", "Invalid value"),
    ],
)
def test_odd_prices_are_refused_by_name(
    prices: Path, text: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prices.write_text(text)
    assert ran("--prices", str(prices)) == 2
    assert sentence in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named(
    prices: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran("--prices", str(prices)) == 2
    assert "prices.toml" in capsys.readouterr().err


def test_cores_of_transactions_follow_their_cost(data: dict[str, Any]) -> None:
    from capacity import contents, figures_of, transaction_cores

    figures = figures_of(data)
    cost_us, busy = figures.measured["transaction_us"], figures.chosen["busy"]
    assert transaction_cores(figures, 1_000) == pytest.approx(cost_us / 1_000 / busy)
    data_of_dearer = json.loads(json.dumps(data))
    data_of_dearer["figures"]["transaction_us"]["value"] *= 2
    assert contents(data_of_dearer)["TRANSACTIONS"] != contents(data)["TRANSACTIONS"]
