"""The manifest of a chain's deployment: true after every contract, whatever ends the run."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

Entry = dict[str, Any]


@dataclass
class Manifest:
    """`entries` by contract name. Each `add` is on disk when it returns."""

    path: Path
    chain_id: int
    roles: Mapping[str, str]
    rewards: Sequence[Entry]
    """Reward rules by the first epoch that they hold for."""
    entries: dict[str, Entry] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        path: Path,
        chain_id: int,
        roles: Mapping[str, str],
        addresses: Iterable[str],
        bridge_weight_bps: int,
    ) -> "Manifest":
        """Goes on with what the file says of these addresses; one about others is kept beside it.

        Raises click.ClickException for a file that is no manifest, or one of another chain.
        """
        document = _read(path, chain_id)
        wanted = {address.lower() for address in addresses}
        before: dict[str, Entry] = document.get("contracts", {})
        kept = {name: e for name, e in before.items() if str(e["address"]).lower() in wanted}
        if len(kept) < len(before):
            old = path.with_suffix(".old.json")
            os.replace(path, old)
            click.echo(f"  {path.name} was of other parameters: it is {old.name} now")
        rewards = [{"from_epoch": 1, "bridge_weight_bps": bridge_weight_bps}]
        if kept:
            # Epochs stand under these: what the parameters say now is for a later one, by hand.
            rewards = document.get("rewards", rewards)
            if rewards[-1]["bridge_weight_bps"] != bridge_weight_bps:
                click.echo(f"  rewards of {path.name} stay as they are: see docs/operators.md")
        entries = {name: entry for name, entry in kept.items() if _has_block(entry)}
        return cls(path, chain_id, roles, rewards, entries)

    def known(self, name: str, address: str) -> Entry | None:
        """What an earlier run wrote of a contract at this address."""
        entry = self.entries.get(name)
        same = entry is not None and str(entry["address"]).lower() == address.lower()
        return entry if same else None

    def add(self, name: str, entry: Entry) -> None:
        assert entry["block"] > 0, "a mirror would start at genesis"
        self.entries[name] = entry
        self._write(finished=False)

    def finish(self) -> None:
        """Nothing is left to do: whoever finds the mark need not run the script again."""
        self._write(finished=True)

    def _write(self, finished: bool) -> None:
        document = {
            "finished": finished,
            "chain_id": self.chain_id,
            "block": min(entry["block"] for entry in self.entries.values()),
            "contracts": self.entries,
            "roles": dict(self.roles),
            "rewards": list(self.rewards),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        with part.open("w") as file:
            file.write(json.dumps(document, indent=2, sort_keys=True) + "\n")
            # The transaction is paid: the file must outlive the machine, too.
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.path)


def _has_block(entry: Entry) -> bool:
    """Older scripts wrote 0 and null for contracts that they found."""
    return type(entry.get("block")) is int and entry["block"] > 0


def _read(path: Path, chain_id: int) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        document: dict[str, Any] = json.loads(path.read_text())
        found = document["chain_id"]
        for entry in document["contracts"].values():
            str(entry["address"])
        for step in document.get("rewards", ()):
            int(step["bridge_weight_bps"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise click.ClickException(
            f"{path} is no manifest ({error!r}): move it away, then run this again"
        ) from error
    if found != chain_id:
        raise click.ClickException(
            f"{path} is the manifest of chain {found}, and this is chain {chain_id}: "
            "choose another --network, or another file by DEPLOY_MANIFEST"
        )
    return document
