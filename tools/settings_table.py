"""docs/settings.md: every setting of our services, from the classes that validate them.

`--check` fails when the page is not what the classes say.
"""

import sys
from pathlib import Path
from typing import get_args

from annotated_types import Ge, Gt, Le, Lt
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from corechain.service.settings import ServiceSettings
from corechain_indexer.settings import Settings as IndexerSettings
from corechain_relayer.bridge.settings import Settings as BridgeSettings
from corechain_relayer.settings import Settings as RelayerSettings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
INTRODUCTION = """# Settings

<!-- Written by `make settings` from the settings classes; `make check` compares. -->

```sh
RELAYER_HTTP_PORT=8701 RELAYER_SUBMITTER_KEY_FILE=/run/secrets/submitter corechain relayer run
```

Settings come from the environment. Each can also be read from a file: set `NAME_FILE` to its path
(for secrets that are mounted into a container). A name that is no setting, a value out of its range
or a missing one ends the start with one line and exit code 2; all that is missing is named at once.
What Kubernetes injects for services of the same name (`RELAYER_PORT=tcp://…`,
`RELAYER_SERVICE_HOST`) is passed over.
Times are in seconds, sizes in bytes, fees in wei per gas. Values marked *secret* are never printed.
"""
_SIGNS = ((Ge, "ge", "≥"), (Gt, "gt", ">"), (Le, "le", "≤"), (Lt, "lt", "<"))


def _is_secret(field: FieldInfo) -> bool:
    kinds = (field.annotation, *get_args(field.annotation))
    return any(kind is SecretStr or SecretStr in get_args(kind) for kind in kinds)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.default
    if value is None or value == SecretStr(""):
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _range(field: FieldInfo) -> str:
    bounds = []
    for kind, name, sign in _SIGNS:
        for rule in field.metadata:
            if isinstance(rule, kind):
                bounds.append(f"{sign} {getattr(rule, name)}")
    return ", ".join(bounds)


def _row(prefix: str, name: str, field: FieldInfo) -> str:
    assert field.description, f"{prefix}{name.upper()} has no description"
    notes = field.description + (" (*secret*)" if _is_secret(field) else "")
    cells = (f"`{prefix}{name.upper()}`", _default(field), _range(field), notes)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _section(title: str, kind: type[ServiceSettings]) -> list[str]:
    prefix = kind.ENV_PREFIX
    # What has to be set first: fields of shared parts come before a service's own, by inheritance.
    fields = sorted(kind.model_fields.items(), key=lambda item: not item[1].is_required())
    rows = [_row(prefix, name, field) for name, field in fields]
    return [
        f"## {title}",
        "",
        "| setting | default | range | meaning |",
        "|---|---|---|---|",
        *rows,
    ]


def page() -> str:
    kinds = {"Relayer": RelayerSettings, "Bridge": BridgeSettings, "Indexer": IndexerSettings}
    sections = [line for title, kind in kinds.items() for line in ("", *_section(title, kind))][1:]
    return "\n".join([INTRODUCTION, *sections, ""])


def main() -> None:
    if "--check" not in sys.argv:
        PAGE.write_text(page())
    elif not PAGE.exists() or PAGE.read_text() != page():
        sys.exit("docs/settings.md is not what the settings classes say: run `make settings`")


if __name__ == "__main__":
    main()
