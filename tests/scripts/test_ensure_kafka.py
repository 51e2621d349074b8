"""The jars of Apache Kafka: what is fetched is what the lock file says, or it is not there.

given a folder of jars
  when one is missing, cut short or another one
    it is fetched anew, and only it
  when it cannot be had
    the sentence says which one and why
"""

from pathlib import Path
from types import ModuleType

import pytest
from support.loading import loaded

from corechain.devnet.errors import MissingProgram
from corechain.devnet.programs import KAFKA_LOCK, KAFKA_VARIABLE, find_jars

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = "org.pcollections:pcollections:4.0.2"


REPOSITORY_ON_DISK = """
const fs = require('fs');
for (const line of fs.readFileSync(0, 'utf8').split('\\n').filter(Boolean)) {
  const [, artifact, version] = line.split(':');
  const jar = `${artifact}-${version}.jar`;
  try {
    fs.copyFileSync(`%s/${jar}`, `${process.argv[2]}/${jar}`);
  } catch {
    console.error(`${line}: not found`);
    process.exit(1);
  }
}
"""


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    module = loaded("tools/ensure_kafka.py")
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    # The repository of these tests is what `make setup` has fetched: no test asks the network.
    script = tmp_path / "fetch.js"
    script.write_text(REPOSITORY_ON_DISK % str(module.LIB))
    monkeypatch.setattr(module, "SCRIPT", script)
    return module


def test_the_lock_file_names_each_jar_with_its_checksum(tool: ModuleType) -> None:
    wanted = tool.locked(KAFKA_LOCK.read_text())
    assert len(wanted) == 46
    assert all(len(bytes.fromhex(checksum)) == 32 for checksum in wanted.values())
    assert "org.apache.kafka:kafka_2.13:4.3.1" in wanted
    assert tool.wrong(tool.LIB, wanted) == [], "what `make setup` has fetched"


def test_a_jar_that_was_cut_short_is_fetched_again(tool: ModuleType, tmp_path: Path) -> None:
    wanted = {SMALL: tool.locked(KAFKA_LOCK.read_text())[SMALL]}
    jar = tool.jar_of(tmp_path, SMALL)
    jar.write_bytes(tool.jar_of(tool.LIB, SMALL).read_bytes()[:1000])
    assert tool.wrong(tmp_path, wanted) == [SMALL]
    assert tool.ensure(tmp_path, wanted) == ""
    assert jar.read_bytes() == tool.jar_of(tool.LIB, SMALL).read_bytes()


def test_another_jar_than_the_locked_one_is_named(tool: ModuleType, tmp_path: Path) -> None:
    said = tool.ensure(tmp_path, {SMALL: "00" * 32})
    assert SMALL in said
    assert "checksum" in said


def test_a_jar_that_nobody_has_is_named(tool: ModuleType, tmp_path: Path) -> None:
    nowhere = "org.pcollections:pcollections:0.0.0-never"
    assert tool.ensure(tmp_path, {nowhere: "00" * 32}) == f"{nowhere}: not found"


def test_without_node_nothing_is_fetched_and_that_is_said(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "node", lambda: None)
    assert tool.ensure(tmp_path, {SMALL: "00" * 32}) == "there is no node"


def test_a_folder_without_all_jars_is_no_kafka(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KAFKA_VARIABLE, str(tmp_path))
    with pytest.raises(MissingProgram, match=r"kafka_2.13-4.3.1.jar.*correct CORECHAIN_KAFKA"):
        find_jars()
