"""Scores of the libraries, and why the survivors do no harm."""

import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

EVERYWHERE = "*"
"""Where survivors.json explains changes of any library, by patterns."""


@dataclass(frozen=True, slots=True)
class Survivor:
    maker: str
    rule: str
    line: int
    change: str


@dataclass(slots=True)
class Score:
    library: str
    made: Counter[str] = field(default_factory=Counter)
    survivors: list[Survivor] = field(default_factory=list)

    def survived(self, maker: str) -> int:
        return sum(one.maker == maker for one in self.survivors)


def to_json(score: Score) -> dict[str, Any]:
    return {"made": score.made, "survivors": [asdict(one) for one in score.survivors]}


def from_json(library: str, found: dict[str, Any]) -> Score:
    survivors = [Survivor(**one) for one in found["survivors"]]
    return Score(library, Counter(found["made"]), survivors)


class Explained:
    """survivors.json: library → why a change does no harm → changes."""

    def __init__(self, groups: dict[str, dict[str, list[str]]]) -> None:
        self._known = {
            library: {change: why for why, changes in reasons.items() for change in changes}
            for library, reasons in groups.items()
        }

    def changes(self, library: str) -> set[str]:
        return set(self._known.get(library, {}))

    def why(self, library: str, change: str) -> str | None:
        exact = self._known.get(library, {}).get(change)
        patterns = self._known.get(EVERYWHERE, {}).items()
        return exact or next((why for part, why in patterns if re.fullmatch(part, change)), None)


def line(score: Score) -> str:
    parts = [
        f"{score.made[maker] - score.survived(maker)} of {score.made[maker]} {maker}"
        for maker in ("slither", "own")
    ]
    return f"{score.library}: caught {', '.join(parts)}"


def complaints(scores: list[Score], explained: Explained) -> list[str]:
    found = []
    for score in scores:
        alive = {one.change for one in score.survivors}
        new = sorted(change for change in alive if explained.why(score.library, change) is None)
        gone = sorted(explained.changes(score.library) - alive)
        found += [f"{score.library}: not explained: {change}" for change in new]
        found += [f"{score.library}: does not survive: {change}" for change in gone]
    return found


def page(scores: list[Score], explained: Explained) -> str:
    template = Path(__file__).with_name("mutants.template.md").read_text()
    return template.format(table=_table(scores), survivors=_survivors(scores, explained))


def _table(scores: list[Score]) -> str:
    rows = ["| library | slither made | caught | surviving | own made | caught | surviving |"]
    rows.append("|---|---:|---:|---:|---:|---:|---:|")
    for name, part in [*((one.library, [one]) for one in scores), ("**all**", scores)]:
        cells = [name]
        for maker in ("slither", "own"):
            made = sum(one.made[maker] for one in part)
            survived = sum(one.survived(maker) for one in part)
            cells += [f"{made}", f"{made - survived}", f"{survived}"]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _survivors(scores: list[Score], explained: Explained) -> str:
    rows = ["| library | changes | why no test can notice, or none needs to |", "|---|---:|---|"]
    for score in scores:
        whys = Counter(
            explained.why(score.library, one.change) or "**not explained**"
            for one in score.survivors
        )
        rows += [f"| {score.library} | {number} | {why} |" for why, number in whys.items()]
    return "\n".join(rows)
