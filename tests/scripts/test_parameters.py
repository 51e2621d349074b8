"""given a file of parameters
├── the files that we ship as examples are deployed as they are, once the roles are filled in
├── what is missing, malformed or out of range is named, all of it at once
├── on any chain: a challenge window without room for a dispute, a role of nobody, a bond beyond the
│   supply are refused by name
└── on a live network: public keys, a server's key with another role, short windows are, too
"""

from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st
from scripts._deploy.parameters import NUMBERS, PUBLIC_ACCOUNTS, ROUNDS, read_parameters

DEPLOYMENTS = Path(__file__).resolve().parents[2] / "deployments"
EXAMPLES = sorted(DEPLOYMENTS.glob("*.example.yaml"))
LOCAL = DEPLOYMENTS / "ethereum-local.yaml"
ROLES = ("admin", "submitter", "proposer", "guardian", "treasury")
MNEMONIC = "test test test test test test test test test test test junk"


def filled_in(example: Path) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(example.read_text())
    return values | {role: f"0x{number:040x}" for number, role in enumerate(ROLES, start=0xC0)}


def refusal(path: Path, values: object, is_live: bool = True) -> str:
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(click.ClickException) as refused:
        read_parameters(path, is_live)
    return refused.value.message


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "arbitrum-sepolia.yaml"


@pytest.fixture
def good() -> dict[str, Any]:
    return filled_in(EXAMPLES[0])


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_an_example_is_fit_for_a_live_network_once_it_is_filled_in(
    example: Path, path: Path
) -> None:
    path.write_text(yaml.safe_dump(filled_in(example)))
    assert read_parameters(path, is_live=True).roles["guardian"].lower().endswith("c3")


def test_an_example_that_is_not_filled_in_names_every_role_that_is_left() -> None:
    with pytest.raises(click.ClickException) as refused:
        read_parameters(EXAMPLES[0], is_live=True)
    for role in ROLES:
        assert f"{role} is still the example's '0x…'" in refused.value.message


def test_the_parameters_of_a_local_chain_are_for_a_local_chain_only() -> None:
    assert read_parameters(LOCAL, is_live=False).dispute_window_s == 2
    with pytest.raises(click.ClickException) as refused:
        read_parameters(LOCAL, is_live=True)
    for name in ("PublicKey: admin", "WindowTooShort: dispute_window_s"):
        assert name in refused.value.message


def test_the_public_accounts_are_those_of_the_test_mnemonic() -> None:
    Account.enable_unaudited_hdwallet_features()
    derived = {
        Account.from_mnemonic(MNEMONIC, account_path=f"m/44'/60'/0'/0/{n}").address.lower()
        for n in range(10)
    }
    assert derived == PUBLIC_ACCOUNTS


def test_a_file_that_is_not_there_says_which_one_to_copy(path: Path) -> None:
    with pytest.raises(click.ClickException, match=r"does not exist: copy ethereum-local\.yaml"):
        read_parameters(path)
    with pytest.raises(click.ClickException, match=r"copy arbitrum-sepolia\.example\.yaml"):
        read_parameters(DEPLOYMENTS / "arbitrum-sepolia.yaml")


@pytest.mark.parametrize("text", ["", "- 1", "just words", "a: [", "\x00"])
def test_what_is_no_file_of_parameters_is_refused(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(click.ClickException, match=r"holds no parameters|is not YAML"):
        read_parameters(path)


def test_everything_that_is_wrong_is_named_at_once(path: Path, good: dict[str, Any]) -> None:
    del good["bond"]
    said = refusal(path, good | {"gardener": 1, "salt": 7, "relay_fee_bps": 101})
    for line in (
        "MissingParameter: bond",
        "UnknownParameter: 'gardener'",
        "MalformedParameter: salt",
        "OutOfRange: relay_fee_bps is 101, must be from 0 to 100",
    ):
        assert line in said


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [True, 1.5, "1e18", "-1", None, "", "١"])
def test_nothing_is_rounded_into_a_number(
    path: Path, good: dict[str, Any], name: str, value: object
) -> None:
    assert f"MalformedParameter: {name} is " in refusal(path, good | {name: value})


@pytest.mark.parametrize("name", [name for name, (least, _) in NUMBERS.items() if least > 0])
def test_no_window_no_cap_and_no_price_is_zero(path: Path, good: dict[str, Any], name: str) -> None:
    assert f"OutOfRange: {name} is 0" in refusal(path, good | {name: 0}, is_live=False)


@pytest.mark.parametrize(
    "value", [0xC0, "0x12", "c" * 40, "0xF39fd6e51aad88F6F4ce6aB8827279cffFb92266"]
)
def test_a_role_is_an_address_with_a_right_checksum(
    path: Path, good: dict[str, Any], value: object
) -> None:
    assert "MalformedParameter: treasury" in refusal(path, good | {"treasury": value})


@pytest.mark.parametrize(("challenge", "answer"), [(259_200, 86_400), (86_400, 5_761)])
def test_a_window_without_room_for_a_dispute_is_refused(
    path: Path, good: dict[str, Any], challenge: int, answer: int
) -> None:
    windows = {"challenge_window_s": challenge, "answer_window_s": answer}
    said = refusal(path, good | windows, is_live=False)
    assert "TooFewAnswerWindows" in said
    assert f"Set answer_window_s to {challenge // ROUNDS}" in said


@given(challenge=st.integers(ROUNDS, 365 * 86_400), more=st.integers(1, 365 * 86_400))
def test_the_window_that_the_refusal_names_is_taken(
    tmp_path_factory: pytest.TempPathFactory, challenge: int, more: int
) -> None:
    path = tmp_path_factory.mktemp("parameters") / "ethereum-local.yaml"
    good = filled_in(EXAMPLES[0]) | {"challenge_window_s": challenge}
    path.write_text(yaml.safe_dump(good | {"answer_window_s": challenge // ROUNDS}))
    assert read_parameters(path).challenge_window_s == challenge
    too_long = min(challenge // ROUNDS + more, 365 * 86_400)
    assert "TooFewAnswerWindows" in refusal(path, good | {"answer_window_s": too_long}, False)


def test_a_bond_that_nobody_can_hold_is_refused(path: Path, good: dict[str, Any]) -> None:
    assert "BondExceedsSupply" in refusal(path, good | {"initial_supply": 1}, is_live=False)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_of_nobody_is_refused(path: Path, good: dict[str, Any], role: str) -> None:
    said = refusal(path, good | {role: "0x" + 40 * "0"}, is_live=False)
    assert f"RoleOfNobody: {role}" in said


@pytest.mark.parametrize("hot", ["submitter", "proposer"])
@pytest.mark.parametrize("other", ["admin", "submitter", "proposer", "guardian", "treasury"])
def test_a_key_on_a_server_has_one_role(
    path: Path, good: dict[str, Any], hot: str, other: str
) -> None:
    if hot == other:
        return
    said = refusal(path, good | {hot: good[other]})
    assert said.count("HotKeyWithAnotherRole") == 1
    assert hot in said
    assert other in said


def test_one_multisig_may_hold_every_role_that_signs_rarely(
    path: Path, good: dict[str, Any]
) -> None:
    safe = good["admin"]
    cold = {"guardian": safe, "treasury": safe, "deposit_guardian": safe}
    path.write_text(yaml.safe_dump(good | cold))
    assert (
        read_parameters(path, is_live=True).roles["treasury"]
        == read_parameters(path, is_live=True).roles["admin"]
    )
