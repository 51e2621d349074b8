"""Resource paths: `Things('0x…')/Datastreams/$ref`. Pure."""

import re
from dataclasses import dataclass

from corechain.protocol.errors import NotFound
from corechain_indexer.api.sensorthings.model import SETS, EntitySet, Named, named_by

ROOT = "/sensorthings/v1.1"
"""Its end is the version of the standard, as clients look for it; our own is another one."""
MAX_STEPS = 8
_STEP = re.compile(r"(?P<name>[A-Za-z]+)(?:\((?P<id>'(?:[^']|'')*'|[^')]*)\))?", re.ASCII)
REF, VALUE = "$ref", "$value"


@dataclass(frozen=True, slots=True)
class Step:
    """A link, or a set at the beginning; with an id, one entity of it."""

    link: str
    set: EntitySet
    is_many: bool
    entity: Named | None = None

    @property
    def is_list(self) -> bool:
        return self.is_many and self.entity is None


@dataclass(frozen=True, slots=True)
class Resource:
    """`steps` from a set on, then perhaps one property of the last entity (and what is in it)."""

    steps: tuple[Step, ...]
    inside: tuple[str, ...] = ()
    is_ref: bool = False
    is_value: bool = False

    @property
    def last(self) -> Step:
        return self.steps[-1]


def resource_of(text: str) -> Resource:
    """Raises NotFound for what is no path of the entity model."""
    parts = text.split("/")
    if len(parts) > MAX_STEPS:
        raise NotFound(f"a path of more than {MAX_STEPS} steps")
    end = parts.pop() if parts[-1] in (REF, VALUE) else ""
    steps: list[Step] = []
    while parts:
        step = _step(parts[0], steps[-1] if steps else None)
        if step is None:
            break
        steps.append(step)
        parts.pop(0)
    found = Resource(tuple(steps), tuple(parts), end == REF, end == VALUE)
    if not steps or not _is_whole(found):
        raise NotFound("no such resource: the sets are " + ", ".join(SETS))
    return found


def _step(text: str, before: Step | None) -> Step | None:
    """None for what is no link: a property, or nothing."""
    found = _STEP.fullmatch(text)
    if found is None:
        return None
    link = found["name"]
    if before is None:
        kind, is_many = SETS.get(link), True
    elif before.is_list:
        return None
    else:
        is_many = link in before.set.many
        kind = SETS.get(before.set.many.get(link) or before.set.one.get(link) or "")
    if kind is None:
        return None
    if found["id"] is None:
        return Step(link, kind, is_many)
    said = found["id"]
    text = said[1:-1].replace("''", "'") if said.startswith("'") else said
    entity = named_by(kind.name, text)
    if entity is None or not is_many:
        raise NotFound(f"no entity of {kind.name} has this id")
    return Step(link, kind, is_many, entity)


def _is_whole(found: Resource) -> bool:
    last, path = found.last, found.inside
    if path and (last.is_list or path[0] not in (*last.set.properties, "id")):
        return False
    if found.is_value:
        return bool(path)
    return not (found.is_ref and path)
