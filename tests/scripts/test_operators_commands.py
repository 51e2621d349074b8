"""What operators are told to type to Kubernetes and systemd fits what is deployed.

given the pages of operators, the overlays, and the settings
  kubectl is told names, labels, ports and folders that the manifests have
  what a setting may lead to, by the port that a page shows, is let out by the network's policies
  a unit of systemd starts a command of ours, by settings that there are, with credentials it loads
  each part of deploy/ is in its README
"""

import re
import shlex
from collections.abc import Iterator
from configparser import RawConfigParser
from itertools import pairwise

import pytest
from scripts.test_docs_blocks import blocks, commands, wrong
from scripts.test_operators_book import SETTINGS
from support.manifests import KUSTOMIZE, REPOSITORY, Site

from corechain_relayer.roles import Role

BOOK = sorted((REPOSITORY / "docs" / "operators").glob("*.md"))
INSTALL = REPOSITORY / "docs" / "operators" / "install.md"
RESOURCE, POD = re.compile(r"(deploy|job|service|statefulset)/([\w-]+)"), re.compile(r"[a-z]+-\d+")
KINDS = {"deploy": "Deployment", "job": "Job", "service": "Service", "statefulset": "StatefulSet"}


def spoken() -> list[list[str]]:
    """The words of each `kubectl …`, in blocks and in sentences."""
    found = [words for page in BOOK for words in commands(page) if words[0] == "kubectl"]
    spans = (re.findall(r"(?<!`)`(kubectl [^`\n]+)`(?!`)", page.read_text()) for page in BOOK)
    return found + [shlex.split(span.replace("…", "")) for page in spans for span in page]


def test_kubectl_is_told_what_the_manifests_have() -> None:
    assert len(spoken()) > 10
    for words in spoken():
        for before, word in pairwise(words):
            _check_word(Site("public"), before, word)


def _check_word(site: Site, before: str, word: str) -> None:
    resource = RESOURCE.fullmatch(word)
    if resource:
        site.named(KINDS[resource[1]], resource[2])
    elif word.startswith("deploy/"):
        path = word.replace("overlays/mine", "overlays/public").rstrip("…")
        assert (REPOSITORY / path).exists(), word
    elif before == "-l":
        key, value = word.split("=")
        labels = (one["metadata"].get("labels", {}) for one in site.all)
        assert value in {one.get(key) for one in labels}, word
    elif before == "-n":
        assert site.named("Namespace", word)
    elif before == "scaledobject":
        assert site.named("ScaledObject", word)
    elif POD.fullmatch(before) and word.isdigit():  # port-forward
        assert int(word) in site.workload(before.rpartition("-")[0]).ports.values()


def test_jobs_that_are_deleted_are_all_that_cannot_be_changed() -> None:
    (deleted,) = [words for words in spoken() if {"delete", "job"} <= set(words)]
    jobs = {one["metadata"]["name"] for one in Site("public").of("Job")}
    assert jobs == {word for word in deleted if word.startswith("migrate-")}


def examples() -> Iterator[tuple[str, int]]:
    """(prefix of a setting, port) of what pages set settings to."""
    pages = [*BOOK, *sorted((REPOSITORY / "docs").glob("*.md"))]
    setting = re.compile(r"\b(RELAYER|INDEXER|BRIDGE)_\w+=['\"]?([a-z+0-9]+://[^\s`'\"]+)")
    for page in pages:
        for prefix, urls in setting.findall(page.read_text()):
            for port in re.findall(
                r"(?<!localhost):(\d{2,5})\b", urls.replace("127.0.0.1", "localhost")
            ):
                yield prefix.lower(), int(port)


@pytest.mark.parametrize("prefix", ["relayer", "indexer", "bridge"])
def test_what_a_page_sets_a_setting_to_is_let_out(prefix: str) -> None:
    labels = {"corechain/distribution": prefix, "app.kubernetes.io/name": prefix}
    let_out = {
        port["port"]
        for policy in Site("public").of("NetworkPolicy")
        if policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
        for rule in policy["spec"].get("egress", ())
        for port in rule["ports"]
    }
    wanted = {port for of, port in examples() if of == prefix}
    assert wanted, "the pages are worded otherwise: mend this test"
    assert wanted <= let_out


def units() -> Iterator[RawConfigParser]:
    for text in blocks(INSTALL, "ini"):
        unit = RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
        unit.optionxform = str  # type: ignore[assignment,method-assign]
        unit.read_string(text)
        yield unit


def test_a_unit_starts_a_command_of_ours_with_settings_that_there_are() -> None:
    service, drop_in = units()
    program, *words = shlex.split(service["Service"]["ExecStart"].replace("%i", "gateway"))
    assert (program, wrong(words)) == ("/opt/corechain/bin/corechain", None)
    assert service["Unit"]["StartLimitIntervalSec"] == "0", "an outage at a start may be long"
    (made,) = re.findall(r"install --directory .* (/\S+)", INSTALL.read_text())
    assert made == service["Service"]["ReadWritePaths"]
    loaded = set(re.findall(r"(?m)^LoadCredential=(\w+):", "\n".join(blocks(INSTALL, "ini"))))
    given = dict(re.findall(r"RELAYER_(\w+)=%d/(\w+)", drop_in["Service"]["Environment"]))
    assert loaded == set(given.values())
    fields = SETTINGS["RELAYER"].model_fields
    assert {name.lower().removesuffix("_file") for name in given} <= fields.keys()


def test_units_that_are_enabled_are_roles() -> None:
    enabled = re.findall(r"corechain-relayer@(\w+)", "\n".join(blocks(INSTALL, "sh")))
    assert {Role.GATEWAY, Role.AGGREGATOR, Role.SUBMITTER} <= set(map(Role, enabled))


def test_each_part_of_deploy_is_in_its_readme() -> None:
    text = (REPOSITORY / "deploy" / "README.md").read_text()
    parts = [*(REPOSITORY / "deploy").iterdir(), *(KUSTOMIZE / "components").iterdir()]
    parts += (KUSTOMIZE / "overlays").iterdir()
    names = {one.name for one in parts} - {"README.md", "kustomize", ".env"}
    assert {name for name in names if name not in text} == set()
