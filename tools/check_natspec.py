"""Every function, event and error of the deployable contracts says what it is (a notice).

Reads what forge built. The compiler's own words are in `rawMetadata`; forge's copy, `metadata`,
leaves events and errors out.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NEVER_DEPLOYED = {"interfaces", "libraries", "mocks"}
KINDS = {"function": "methods", "event": "events", "error": "errors"}


def type_of(parameter: dict[str, Any]) -> str:
    kind: str = parameter["type"]
    if not kind.startswith("tuple"):
        return kind
    inner = ",".join(type_of(component) for component in parameter["components"])
    return f"({inner}){kind.removeprefix('tuple')}"


def signature_of(entry: dict[str, Any]) -> str:
    return f"{entry['name']}({','.join(type_of(parameter) for parameter in entry['inputs'])})"


def has_notice(documented: Any) -> bool:
    """An overload of an error has a list of its own."""
    notes = documented if isinstance(documented, list) else [documented]
    return any(note and note.get("notice") for note in notes)


def missing(output: dict[str, Any]) -> Iterator[str]:
    for entry in output["abi"]:
        kind = entry["type"]
        if kind not in KINDS:
            continue
        signature = signature_of(entry)
        if not has_notice(output["userdoc"].get(KINDS[kind], {}).get(signature)):
            yield f"{kind} {signature}"


def deployable() -> Iterator[Path]:
    for source in sorted((ROOT / "contracts").rglob("*.sol")):
        artefact = ROOT / "out" / source.name / f"{source.stem}.json"
        if source.parent.name not in NEVER_DEPLOYED and artefact.exists():
            yield artefact


def is_abstract(artefact: dict[str, Any]) -> bool:
    return bool(artefact["deployedBytecode"]["object"] == "0x")


def main() -> int:
    checked, found = 0, []
    for path in deployable():
        artefact = json.loads(path.read_text())
        if is_abstract(artefact):
            continue  # its parts are in what inherits it
        output = json.loads(artefact["rawMetadata"])["output"]
        checked += len(output["abi"])
        found += [f"{path.stem}: {gap} has no @notice" for gap in missing(output)]
    if not checked:
        found.append("nothing is built: forge build")
    print("\n".join(found) if found else f"natspec: {checked} entries of the ABIs are explained")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
