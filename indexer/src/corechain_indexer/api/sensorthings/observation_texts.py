"""Pages of readings, written as text: a page has a thousand, and a document of each costs more than
twice as much as its text. The same as `entities` says, which a test holds. Pure.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING

import msgspec

from corechain_indexer.api.rows import celled
from corechain_indexer.api.sensorthings.entities import FLAGS, Item, provenance_of_batch, shown_time

if TYPE_CHECKING:
    from asyncpg import Record

SET = "Observations"
FACTS = ["id", "time", "result", "quality", "batch", "leaf", "value", "cell", "provenance"]
_NAME = re.compile(r"%\((\w+)\)")
# Numbers and what is made here: nothing in a text needs to be escaped.
PROPERTIES: Mapping[str, str] = {
    "phenomenonTime": '"phenomenonTime":"%(time)s"',
    "resultTime": '"resultTime":null',
    "result": '"result":%(result)r',
    "resultQuality": '"resultQuality":%(quality)s',
    "parameters": (
        '"parameters":{"batch":%(batch)d,"leaf":%(leaf)d,"value":%(value)d,"cell":"%(cell)s",'
        "%(provenance)s}"
    ),
}


@lru_cache(maxsize=64)
def _quality(flag: int, finality: str) -> str:
    told = {"flag": flag, "name": FLAGS[flag], "finality": finality}
    return msgspec.json.encode(told).decode()


@lru_cache(maxsize=1_024)
def _provenance(block: int, transaction: bytes, commitment: bytes, root: bytes) -> str:
    told = provenance_of_batch(block, transaction, commitment, root)
    return msgspec.json.encode(told).decode()[1:-1]


def _of_batch(batch: "Record") -> str:
    names = ("block_number", "transaction", "commitment", "readings_root")
    return _provenance(*(batch[name] for name in names))


@dataclass(frozen=True, slots=True)
class Form:
    """How one reading is written."""

    text: str
    pick: Callable[[tuple[object, ...]], object]
    """Of the facts of a reading those that the text takes, in its order. By names, %-formatting
    takes twice as long."""

    @classmethod
    def of(cls, named: str) -> "Form":
        places = [FACTS.index(name) for name in _NAME.findall(named)]
        pick = itemgetter(*places) if places else lambda facts: ()
        return cls(_NAME.sub("%", named), pick)


def form_of(
    root: str,
    properties: Sequence[str] | None,
    links: Sequence[tuple[str, str]],
    *,
    has_id: bool,
    has_self_link: bool,
) -> Form:
    """`properties`: None for all; `links`: name and end of the address."""
    here = root.replace("%", "%%") + f"/{SET}('%(id)s')"
    parts = ['"@iot.id":"%(id)s"'] if has_id else []
    if has_self_link:
        parts.append(f'"@iot.selfLink":"{here}"')
    # A name that is chosen twice is told once, as a document would.
    shown = dict.fromkeys(PROPERTIES if properties is None else properties)
    parts += [PROPERTIES[name] for name in shown if name in PROPERTIES]
    parts += [f'"{name}":"{here}{end}"' for name, end in links]
    return Form.of("{" + ",".join(parts) + "}")


def written(items: Sequence[Item], batches: "Mapping[int, Record]", form: Form) -> msgspec.Raw:
    """Readings as a list, in their order."""
    provenances = {batch_id: _of_batch(batch) for batch_id, batch in batches.items()}
    found = []
    text, pick = form.text, form.pick
    for item in items:
        assert item.row is not None, "a reading"
        assert item.metric is not None, "a reading is of one"
        _, observed_at, batch_id, position, value, flag, cell, finality = item.row
        facts = (
            f"{batch_id}:{position}",
            shown_time(observed_at),
            item.metric.from_wire(value),
            _quality(flag, finality),
            batch_id,
            position,
            value,
            celled(cell),
            provenances.get(batch_id),
        )
        found.append(text % pick(facts))
    return msgspec.Raw(f"[{','.join(found)}]".encode())
