"""Writes what an image is made of as CycloneDX 1.5, from the metadata of its packages alone.

Usage: sbom.py NAME ENVIRONMENT. Python packages of the environment with version, licence and the
hash of their list of files; Debian's packages from dpkg. No date and no random number: the same
packages make the same bytes.
"""

import hashlib
import json
import re
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

STATUS = Path("/var/lib/dpkg/status")
Component = dict[str, Any]


def canonical(name: str) -> str:
    """As PEP 503 writes it, and package URLs want it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def python_component(found: Distribution) -> Component:
    name, version = canonical(found.metadata["Name"]), found.version
    component: Component = {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}",
    }
    component["bom-ref"] = component["purl"]
    licence = found.metadata.get("License-Expression")
    if licence:
        component["licenses"] = [{"expression": licence}]
    record = found.read_text("RECORD")
    if record:
        # RECORD has the hash of each file: its own hash stands for all of them.
        component["hashes"] = [
            {"alg": "SHA-256", "content": _sha256("\n".join(sorted(record.splitlines())))}
        ]
    return component


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def debian_components(text: str) -> list[Component]:
    found = []
    for paragraph in text.strip().split("\n\n"):
        fields = dict(re.findall(r"^(\S+): (.*)$", paragraph, re.MULTILINE))
        if not fields.get("Status", "").endswith(" installed"):
            continue
        name, version = fields["Package"], fields["Version"]
        purl = f"pkg:deb/debian/{name}@{version}?arch={fields['Architecture']}"
        found.append(
            {"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl}
        )
    return found


def document(name: str, components: list[Component]) -> dict[str, Any]:
    ours = next(one for one in components if one["name"] == name)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {**ours, "type": "container", "bom-ref": f"image:{name}"}},
        "components": sorted(components, key=lambda one: str(one["purl"])),
    }


def main(name: str, environment: Path) -> int:
    folders = [str(path) for path in environment.glob("lib/python3*/site-packages")]
    components = [python_component(one) for one in distributions(path=folders)]
    if STATUS.is_file():
        components += debian_components(STATUS.read_text())
    print(json.dumps(document(name, components), indent=1, sort_keys=True))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], Path(sys.argv[2])))
